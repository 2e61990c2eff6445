// Values of ports: texts as texts, records as what they are, everything else as a tree. Nothing is ever taken for HTML.

import { html, useState } from "../../vendor/core.js";
import { exact } from "../format.js";
import { Answer, Chunks, Citations, isAnswer, isChunk, isCitation, isMessage, Messages } from "./records.js";

/** Entries of a list or map that are shown at first. */
const ENTRIES = 50;
/** Longest text of a tree that is shown at once, in characters. */
const TEXT_CHARS = 4_000;
/** Longest text by itself that is shown at once. */
const WHOLE_CHARS = 40_000;

/** The value of a port. `onChunk(chunk, citation?)` opens a passage. */
export function Value({ value, onChunk }) {
  if (typeof value === "string") return html`<${LongText} text=${value} max=${WHOLE_CHARS} />`;
  if (isAnswer(value)) return html`<${Answer} answer=${value} onChunk=${onChunk} />`;
  if (Array.isArray(value) && value.length > 0) {
    if (value.every(isChunk)) return html`<${Chunks} chunks=${value} onChunk=${onChunk} />`;
    if (value.every(isCitation)) return html`<${Citations} citations=${value} onChunk=${onChunk} />`;
    if (value.every(isMessage)) return html`<${Messages} messages=${value} />`;
  }
  return html`<div class="tree"><${Node} value=${value} isOpen=${true} /></div>`;
}

/** A text with its line breaks; of a very long one the beginning, until the rest is asked for. */
export function LongText({ text, max = WHOLE_CHARS }) {
  const [isWhole, setWhole] = useState(false);
  const isLong = text.length > max && !isWhole;
  if (text === "") return html`<span class="dim">empty text</span>`;
  return html`<div class="value-text long" tabindex=${text.length > 600 ? 0 : undefined}>${isLong ? text.slice(0, max) : text}${
    isLong && html`<button class="btn small" onClick=${() => setWhole(true)}>Show ${exact(text.length - max)} more characters</button>`}</div>`;
}

function Node({ name, value, isOpen = false }) {
  const [more, setMore] = useState(ENTRIES);
  const key = name !== undefined && html`<span class="key">${name}: </span>`;
  if (value === null || typeof value !== "object") return html`<div>${key}<${Leaf} value=${value} /></div>`;
  const entries = Array.isArray(value) ? value.map((item, at) => [at, item]) : Object.entries(value);
  const size = Array.isArray(value) ? `[${entries.length}]` : `{${entries.length}}`;
  if (entries.length === 0) return html`<div>${key}${Array.isArray(value) ? "[]" : "{}"}</div>`;
  return html`<${Fold} isOpen=${isOpen} head=${html`${key}<span class="dim">${size}</span>`} body=${() => html`<ul>
    ${entries.slice(0, more).map(([at, item]) => html`<li key=${at}><${Node} name=${at} value=${item} isOpen=${entries.length < 6 && depthOf(item) < 3} /></li>`)}
    ${entries.length > more && html`<li><button class="btn small" onClick=${() => setMore(more + 500)}>Show more of ${exact(entries.length)}</button></li>`}
  </ul>`} />`;
}

/** Folded parts are not made before they are opened: values can be large. */
function Fold({ head, body, isOpen }) {
  const [is, setIs] = useState(isOpen);
  return html`<details open=${is} onToggle=${(event) => setIs(event.currentTarget.open)}><summary>${head}</summary>${is && body()}</details>`;
}

function Leaf({ value }) {
  if (typeof value === "string") {
    const cut = value.length > TEXT_CHARS ? `${value.slice(0, TEXT_CHARS)}…` : value;
    return html`<span class="text">${cut === "" ? '""' : cut}</span>`;
  }
  if (typeof value === "number") return html`<span class="number">${String(value)}</span>`;
  return html`<span class="word">${String(value)}</span>`;
}

function depthOf(value, most = 3) {
  if (value === null || typeof value !== "object" || most === 0) return 0;
  return 1 + Math.max(0, ...Object.values(value).slice(0, 20).map((item) => depthOf(item, most - 1)));
}
