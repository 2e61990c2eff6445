// When everything of a run happened: an overview of all of it, and below it a row for every node execution.

import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../../vendor/core.js";
import { duration, many, tick } from "../format.js";
import { Dot, Icon } from "../ui/icons.js";
import { Windowed } from "../ui/windowed.js";
import { nameOf } from "./model.js";

const ROW = 26;
/** Executions up to which everything is unfolded at first. */
const UNFOLDED = 300;
/** Room that a word on the axis takes, in pixels. */
const TICK_PX = 76;
const TICKS_MAX = 8;
/** Least part of a run that can be looked at, in milliseconds. */
const SPAN_MIN = 0.5;

/** What an execution is counted as, for its colour. */
export function kindOf(node) {
  if (node.status === "failed") return "bad";
  if (node.op === "wait") return "wait";
  if (node.children.length) return "group";
  if (node.usage?.model_calls) return "model";
  if (node.usage?.encoder_calls) return "encoder";
  return "plain";
}

/** The rows of the tree, what is folded left out. */
function rowsOf(run, open, words) {
  const rows = [];
  const fits = (node) => node.scope.toLowerCase().includes(words) || node.op.includes(words);
  const visit = (node) => {
    if (words) {
      if (fits(node) && !node.isPart) rows.push(node);
      node.children.forEach(visit);
      return;
    }
    rows.push(node);
    if (open.has(node.scope)) node.children.forEach(visit);
  };
  run.roots.forEach(visit);
  return rows;
}

export function Waterfall({ run, selected, onSelect }) {
  const version = run.version.value;
  const [open, setOpen] = useState(null);
  const [words, setWords] = useState("");
  const [range, setRange] = useState(null);
  const [at, setAt] = useState(0);
  const [, setTick] = useState(0);
  const handle = useRef(null);
  const isLive = run.state.value === "live";
  useEffect(() => {
    if (!isLive) return undefined;
    const timer = setInterval(() => setTick((n) => n + 1), 400);
    return () => clearInterval(timer);
  }, [isLive]);
  const holders = () => [...run.nodes.values()].filter((node) => node.children.length).map((node) => node.scope);
  const unfolded = open ?? new Set(run.nodes.size <= UNFOLDED ? holders() : []);
  const rows = useMemo(() => rowsOf(run, unfolded, words.trim().toLowerCase()), [version, open, words]);
  const end = useMemo(() => Math.max(1, ...[...run.nodes.values()].map((node) => node.ended ?? 0)), [version]);
  const whole = [0, Math.max(end, isLive ? run.now() : 0) * 1.02];
  const [from, to] = range ?? whole;
  const zoom = (by, center = (from + to) / 2) => {
    const half = Math.max(SPAN_MIN, (to - from) * by) / 2;
    const next = [Math.max(0, center - half), Math.min(whole[1], center + half)];
    setRange(next[0] <= 0 && next[1] >= whole[1] ? null : next);
  };
  const flip = (node) => {
    const next = new Set(unfolded);
    if (!next.delete(node.scope)) next.add(node.scope);
    setOpen(next);
  };
  const move = (to_) => {
    const next = Math.max(0, Math.min(rows.length - 1, to_));
    setAt(next);
    handle.current.show(next);
    requestAnimationFrame(() => handle.current?.element().querySelector(`[data-row="${next}"]`)?.focus());
  };
  const keys = (event) => {
    const node = rows[at];
    const isOpen = node && unfolded.has(node.scope);
    const acts = {
      ArrowDown: () => move(at + 1),
      j: () => move(at + 1),
      ArrowUp: () => move(at - 1),
      k: () => move(at - 1),
      PageDown: () => move(at + handle.current.rows()),
      PageUp: () => move(at - handle.current.rows()),
      Home: () => move(0),
      End: () => move(rows.length - 1),
      ArrowRight: () => node.children.length && !isOpen && flip(node),
      ArrowLeft: () => (node.children.length && isOpen ? flip(node) : move(rows.findLastIndex((row, index) => index < at && row.depth < node.depth))),
      Enter: () => onSelect(node.scope),
      " ": () => onSelect(node.scope),
    };
    if (!acts[event.key] || !event.target.closest("[data-row]") || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    acts[event.key]();
  };
  const n = run.nodes.size;
  return html`<div class="waterfall">
    <div class="row wrap fall-tools">
      <div class="search"><${Icon} name="search" /><input class="input" type="search" data-search placeholder="Find a node or operator" aria-label="Find a node or operator" value=${words} onInput=${(event) => setWords(event.target.value)} /></div>
      <span class="dim">${many(n, "execution")}</span>
      <span class="grow"></span>
      <button class="btn small" onClick=${() => setOpen(new Set(holders()))}>Unfold all</button>
      <button class="btn small" onClick=${() => setOpen(new Set())}>Fold all</button>
      <button class="btn icon small" aria-label="Look closer" onClick=${() => zoom(0.5)}>+</button>
      <button class="btn icon small" aria-label="Look from further away" onClick=${() => zoom(2)}>−</button>
      <button class="btn icon small" aria-label="Show all of the time" disabled=${!range} onClick=${() => setRange(null)}><${Icon} name="fit" size=${14} /></button>
    </div>
    <${Overview} run=${run} whole=${whole} range=${range} setRange=${setRange} version=${version} />
    <div class="fall" role="treegrid" aria-label="Node executions over time" aria-rowcount=${rows.length + 1} onKeyDown=${keys}>
      <div class="fall-row head" role="row" aria-rowindex="1"><span role="columnheader" class="fall-name">Node</span><span role="columnheader" class="fall-time"><${Axis} from=${from} to=${to} /></span></div>
      <${Windowed} class="fall-rows" role="presentation" count=${rows.length} height=${ROW} handle=${handle}
        row=${(index) => html`<${Row} key=${rows[index].scope} node=${rows[index]} index=${index} from=${from} to=${to} now=${run.now()} isAt=${index === at}
          isOpen=${rows[index].children.length ? unfolded.has(rows[index].scope) : undefined} isSelected=${selected === rows[index].scope} isFlat=${Boolean(words)}
          flip=${flip} onSelect=${onSelect} onAt=${setAt} />`} />
      ${rows.length === 0 && html`<p class="dim fall-none">${n ? "No node of this name." : "Nothing has run yet."}</p>`}
    </div>
    <ul class="legend row wrap dim" aria-label="Colours">${[["model", "calls a model"], ["encoder", "calls an encoder"], ["plain", "computes"], ["wait", "waits for an answer"], ["bad", "failed"]].map(
      ([kind, word]) => html`<li key=${kind}><i class=${`swatch k-${kind}`}></i>${word}</li>`)}<li><i class="swatch queue"></i>queued</li></ul>
  </div>`;
}

function Axis({ from, to }) {
  const [n, setN] = useState(TICKS_MAX);
  const room = useRef(null);
  useLayoutEffect(() => {
    const look = () => room.current && setN(Math.max(1, Math.min(TICKS_MAX, Math.floor(room.current.parentElement.clientWidth / TICK_PX))));
    look();
    const watch = new ResizeObserver(look);
    watch.observe(room.current.parentElement);
    return () => watch.disconnect();
  }, []);
  const step = stepFor((to - from) / n);
  const ticks = [];
  for (let ms = Math.ceil(from / step) * step; ms <= to && ticks.length < 20; ms += step) ticks.push(ms);
  // One that would be cut off at the end is left out.
  return html`<b hidden ref=${room}></b>${ticks.filter((ms) => (ms - from) / (to - from) < 0.9).map((ms) => html`<i key=${ms} style=${{ left: `${(100 * (ms - from)) / (to - from)}%` }}>${tick(Math.round(ms * 1000) / 1000, step)}</i>`)}`;
}

/** Steps of the clock from a minute on, in milliseconds. */
const CLOCK = [1, 2, 5, 10, 15, 30, 60, 120, 360, 720, 1_440].map((minutes) => minutes * 60_000);

/** 1, 2 or 5 of some power of ten, or what a clock shows. */
function stepFor(least) {
  if (least > 20_000) return CLOCK.find((step) => step >= least) ?? Math.ceil(least / CLOCK.at(-1)) * CLOCK.at(-1);
  const power = 10 ** Math.floor(Math.log10(Math.max(least, 1e-3)));
  return [1, 2, 5, 10].find((n) => n * power >= least) * power;
}

function Row({ node, index, from, to, now, isAt, isOpen, isSelected, isFlat, flip, onSelect, onAt }) {
  const name = isFlat ? node.scope : nameOf(node);
  const kind = kindOf(node);
  const began = node.began;
  const ended = node.ended ?? (node.status === "running" || node.status === "waiting" ? Math.max(now, began ?? 0) : began);
  const percent = (ms) => (100 * (ms - from)) / (to - from);
  const isIn = began !== null && ended >= from && began <= to;
  const [left, right] = [Math.max(0, percent(began)), Math.min(100, percent(ended))];
  const ms = began === null ? null : ended - began;
  const width = Math.max(0, right - left);
  const queue = node.queued && ms > 0 ? Math.min(100, (100 * node.queued) / ms) : 0;
  return html`<div class=${`fall-row ${isSelected ? "selected" : ""}`} role="row" aria-rowindex=${index + 2} aria-level=${node.depth + 1} aria-expanded=${isOpen}
    aria-selected=${isSelected} data-row=${index} data-scope=${node.scope} tabindex=${isAt ? 0 : -1} onFocus=${() => onAt(index)} onClick=${() => onSelect(node.scope)}>
    <span class="fall-name" role="gridcell" style=${{ paddingLeft: `${8 + (isFlat ? 0 : Math.min(node.depth, 8) * 14)}px` }}>
      <span class="twist" onClick=${(event) => {
        if (isOpen === undefined) return;
        event.stopPropagation();
        flip(node);
      }}>${isOpen !== undefined && html`<${Icon} name=${isOpen ? "down" : "right"} size=${12} />`}</span>
      <${Dot} status=${node.status} /><span class="cut">${name}</span>${node.op && !node.isPart && html`<span class="dim cut op">${node.op}</span>`}
      ${isOpen === false && html`<span class="dim num">${node.inside}</span>`}
    </span>
    <span class="fall-time" role="gridcell">
      ${node.skipped && began === null && html`<span class="dim cut fall-why" title=${node.skipped}>skipped: ${node.skipped}</span>`}
      ${isIn && html`<span class=${`bar k-${kind} ${node.status === "running" ? "open" : ""}`} style=${{ left: `${left}%`, width: `max(2px, ${width}%)` }}>${queue > 1 && html`<i style=${{ width: `${queue}%` }}></i>`}</span>
        <span class=${`fall-ms num ${right > 82 && width > 20 ? (kind === "group" ? "over" : "on") : ""}`} style=${right <= 82 ? { left: `calc(${right}% + 6px)` } : width > 20 ? { right: `calc(${100 - right}% + 6px)` } : { right: `calc(${100 - left}% + 6px)` }}>${node.kept ? "kept" : duration(ms)}${node.attempts > 1 && !node.children.length ? ` · ${node.attempts} tries` : ""}</span>`}
    </span>
  </div>`;
}

/** All of the run at once; a part of it is chosen by dragging. */
function Overview({ run, whole, range, setRange, version }) {
  const canvas = useRef(null);
  const drag = useRef(null);
  const [from, to] = range ?? whole;
  useLayoutEffect(() => {
    const draw = () => canvas.current && paint(canvas.current, run, whole);
    draw();
    const watch = new ResizeObserver(draw);
    watch.observe(canvas.current);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", draw);
    return () => {
      watch.disconnect();
      dark.removeEventListener("change", draw);
    };
  }, [version, whole[1]]);
  const at = (event) => {
    const { left, width } = canvas.current.getBoundingClientRect();
    return whole[1] * Math.min(1, Math.max(0, (event.clientX - left) / width));
  };
  return html`<div class="overview" onPointerDown=${(event) => {
    drag.current = at(event);
    event.currentTarget.setPointerCapture(event.pointerId);
  }} onPointerMove=${(event) => {
    if (drag.current === null || !event.buttons) return;
    const [a, b] = [drag.current, at(event)].sort((x, y) => x - y);
    if (b - a > Math.max(SPAN_MIN, whole[1] / 300)) setRange([a, b]);
  }} onPointerUp=${() => (drag.current = null)} onDblClick=${() => setRange(null)}>
    <canvas ref=${canvas} role="img" aria-label="Overview of all node executions over time"></canvas>
    ${range && html`<span class="shade" style=${{ left: 0, width: `${(100 * from) / whole[1]}%` }}></span><span class="shade" style=${{ right: 0, width: `${100 - (100 * to) / whole[1]}%` }}></span>`}
  </div>`;
}

const COLOURS = { model: "--accent", encoder: "--run", plain: "--edge", wait: "--wait", bad: "--bad" };

function paint(canvas, run, [, end]) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const dots = devicePixelRatio || 1;
  canvas.width = width * dots;
  canvas.height = height * dots;
  const pen = canvas.getContext("2d");
  pen.scale(dots, dots);
  const style = getComputedStyle(canvas);
  // `light-dark()` is worked out by the browser only for properties that are colours.
  const colour = (kind) => {
    canvas.style.color = `var(${COLOURS[kind]})`;
    return style.color;
  };
  const colours = Object.fromEntries(Object.keys(COLOURS).map((kind) => [kind, colour(kind)]));
  const leaves = [...run.nodes.values()].filter((node) => node.children.length === 0 && node.began !== null);
  const lane = Math.min(6, Math.max(1, (height - 8) / Math.max(1, leaves.length)));
  leaves.forEach((node, index) => {
    const y = 4 + ((height - 8 - lane) * index) / Math.max(1, leaves.length - 1);
    const ended = node.ended ?? run.now();
    const x = (width * node.began) / end;
    pen.fillStyle = colours[kindOf(node)] ?? colours.plain;
    pen.fillRect(x, y, Math.max(1, (width * (ended - node.began)) / end), Math.max(1, lane - 1));
  });
}
