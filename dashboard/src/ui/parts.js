// Small parts that every page uses: notes, empty states, tabs, menus, dialogs, messages.

import { html, signal, useEffect, useRef, useState } from "../../vendor/core.js";
import { route } from "../router.js";
import { Icon } from "./icons.js";

/** How long a message stays, in milliseconds; those of failures stay twice as long. */
const TOAST_MS = 5_000;
/** Messages at once. */
const TOASTS_MAX = 4;

const toasts = signal([]);
let lastToast = 0;

/** Says something in passing. */
export function toast(text, { bad = false, action } = {}) {
  const one = { id: (lastToast += 1), text, bad, action };
  toasts.value = [...toasts.value.slice(1 - TOASTS_MAX), one];
  setTimeout(() => dismiss(one.id), bad ? TOAST_MS * 2 : TOAST_MS);
}

/** Says why something failed; an aborted request is no failure. */
export function fail(error) {
  if (error?.name === "AbortError") return;
  if (!error?.status && error?.code !== "unreachable") console.error(error);
  toast(error?.hint ? `${error.message}. Hint: ${error.hint}` : String(error?.message ?? error), { bad: true });
}

function dismiss(id) {
  toasts.value = toasts.value.filter((one) => one.id !== id);
}

export function Toasts() {
  return html`<div class="toasts" role="status" aria-live="polite">${toasts.value.map(
    (one) => html`<div class=${`toast ${one.bad ? "bad" : ""}`} key=${one.id}>
      <span class="grow">${one.text}</span>
      ${one.action && html`<a href=${one.action.href} onClick=${() => dismiss(one.id)}>${one.action.text}</a>`}
      <button class="btn bare icon small" aria-label="Dismiss" onClick=${() => dismiss(one.id)}><${Icon} name="close" /></button>
    </div>`,
  )}</div>`;
}

/** Puts text on the clipboard and says so. */
export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    toast(`Copied ${what}`);
  } catch {
    fail(new Error("the browser does not let this page write to the clipboard"));
  }
}

/** What is shown where there is nothing. */
export function Empty({ icon, title, children }) {
  return html`<div class="empty">${icon && html`<${Icon} name=${icon} size=${36} />`}<h2>${title}</h2>${children}</div>`;
}

/** Why a page or a part of it could not be loaded, with a way to try again. */
export function Failure({ error, again }) {
  return html`<div class="note bad" role="alert"><strong>${error.message}</strong>
    ${error.hint && html`<div class="soft">${error.hint}</div>`}
    ${error.requestId && html`<div class="dim">Request <code>${error.requestId}</code></div>`}
    ${again && html`<div class="row" style=${{ marginTop: "8px" }}><button class="btn small" onClick=${again}>Try again</button></div>`}
  </div>`;
}

export function Loading({ what = "Loading" }) {
  return html`<div class="empty" role="status"><span class="dim">${what}…</span></div>`;
}

/** The tab that is asked for; the first where there is none of that name. */
export const tabOf = (tabs, asked) => (tabs.find((tab) => tab.id === asked) ?? tabs[0])?.id;

/**
 * Tabs, each `{id, label, count?}`; arrow keys move between them. `panel` is the id of what they switch.
 */
export function Tabs({ tabs, now, onPick, label, panel }) {
  const move = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const at = tabs.findIndex((tab) => tab.id === now);
    const next = tabs[(at + step + tabs.length) % tabs.length];
    onPick(next.id);
    event.currentTarget.querySelector(`[data-tab="${CSS.escape(next.id)}"]`)?.focus();
  };
  return html`<div class="tabs" role="tablist" aria-label=${label} onKeyDown=${move}>${tabs.map(
    (tab) => html`<button role="tab" key=${tab.id} data-tab=${tab.id} aria-selected=${tab.id === now}
      aria-controls=${panel} tabindex=${tab.id === now ? 0 : -1} onClick=${() => onPick(tab.id)}>${tab.label}${
        tab.count !== undefined && html`<span class="count">${tab.count}</span>`}</button>`,
  )}</div>`;
}

/** A button with a list of things to do: `items` are `{label, about?, act}`. */
export function Menu({ label, icon, items, small = false }) {
  const [isOpen, setOpen] = useState(false);
  const box = useRef(null);
  useEffect(() => {
    if (!isOpen) return undefined;
    box.current.querySelector("ul button")?.focus();
    const outside = (event) => {
      if (!box.current?.contains(event.target)) setOpen(false);
    };
    addEventListener("pointerdown", outside);
    return () => removeEventListener("pointerdown", outside);
  }, [isOpen]);
  const keys = (event) => {
    if (event.key === "Escape" && isOpen) {
      event.stopPropagation();
      setOpen(false);
      box.current.querySelector("button").focus();
    }
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || !isOpen) return;
    event.preventDefault();
    const all = [...box.current.querySelectorAll("ul button")];
    const at = all.indexOf(document.activeElement);
    all[(at + step + all.length) % all.length]?.focus();
  };
  return html`<div class="menu" ref=${box} onKeyDown=${keys}>
    <button class=${`btn ${small ? "small" : ""}`} aria-haspopup="true" aria-expanded=${isOpen} onClick=${() => setOpen(!isOpen)}>
      ${icon && html`<${Icon} name=${icon} />`}${label}<${Icon} name="down" size=${13} />
    </button>
    ${isOpen && html`<ul>${items.map((item) => html`<li key=${item.label}><button onClick=${() => {
      setOpen(false);
      item.act();
    }}>${item.label}${item.about && html`<span class="dim">${item.about}</span>`}</button></li>`)}</ul>`}
  </div>`;
}

/** Names the page in the browser's tab and history. */
export function useTitle(title) {
  useEffect(() => {
    document.title = title ? `${title} · Anabranch` : "Anabranch";
  }, [title]);
}

/** A dialog over the page. The browser keeps the focus inside and gives it back. It goes with the place that it is about. */
export function Dialog({ title, onClose, children, foot, wide = false }) {
  const element = useRef(null);
  const place = useRef(route.value);
  useEffect(() => {
    if (route.value !== place.current) onClose();
  }, [route.value]);
  useEffect(() => {
    const shown = element.current;
    shown.showModal();
    return () => shown.close();
  }, []);
  return html`<dialog ref=${element} class=${wide ? "wide" : ""} aria-label=${title} onCancel=${(event) => {
    event.preventDefault();
    onClose();
  }} onClick=${(event) => event.target === element.current && onClose()}>
    <header><h2>${title}</h2><button class="btn bare icon small" aria-label="Close" onClick=${onClose}><${Icon} name="close" /></button></header>
    <div class="body" tabindex="-1">${children}</div>
    ${foot && html`<footer>${foot}</footer>`}
  </dialog>`;
}

const asked = signal(null);

/** Asks whether something is meant: resolves to true or false. */
export function confirm(title, text, { yes = "Yes", no = "No", danger = false } = {}) {
  return new Promise((answer) => {
    asked.value = { title, text, yes, no, danger, answer };
  });
}

export function Confirm() {
  const now = asked.value;
  if (!now) return null;
  const done = (is) => {
    asked.value = null;
    now.answer(is);
  };
  return html`<${Dialog} title=${now.title} onClose=${() => done(false)} foot=${html`
    <button class="btn" onClick=${() => done(false)} autofocus=${now.danger}>${now.no}</button>
    <button class=${`btn ${now.danger ? "danger" : "primary"}`} onClick=${() => done(true)} autofocus=${!now.danger}>${now.yes}</button>`}>
    <p class="soft">${now.text}</p>
  <//>`;
}

/** What became of a promise that is made again whenever `inputs` change: `{value, error, isLoading, again}`. */
export function useLoaded(load, inputs) {
  const [state, setState] = useState({ isLoading: true });
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    const stop = new AbortController();
    setState((old) => ({ ...old, isLoading: true }));
    Promise.resolve(load(stop.signal)).then(
      (value) => !stop.signal.aborted && setState({ value, isLoading: false }),
      (error) => !stop.signal.aborted && setState({ error, isLoading: false }),
    );
    return () => stop.abort();
  }, [...inputs, turn]);
  return { ...state, again: () => setTurn((n) => n + 1) };
}
