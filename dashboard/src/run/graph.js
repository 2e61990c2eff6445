// The flow of a run as a drawing: nodes with their states, loops and eaches as boxes around what they hold.

import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../../vendor/core.js";
import { Graph, layout } from "../../vendor/dagre.js";
import { duration } from "../format.js";
import { Icon, statusWord } from "../ui/icons.js";

const NODE = { width: 184, height: 50 };
const HEAD = 34;
const PAD = 14;
/** Nodes from which on what is inside others is folded at first. */
const FOLD_FROM = 80;
/** Room for the buttons below the drawing. */
const TOOLS = 46;
const ZOOM = { min: 0.15, max: 2.5 };

/** Places every node of a graph, the inside of each box first: `{width, height, nodes, edges}` of the outermost. */
export function place(graph, folded) {
  const inside = new Map();
  for (const node of graph.nodes) {
    const above = boxOf(node);
    if (!inside.has(above)) inside.set(above, []);
    inside.get(above).push(node);
  }
  const body = (above) => {
    const g = new Graph();
    g.setGraph({ rankdir: "TB", nodesep: 22, ranksep: 34, marginx: 0, marginy: 0 });
    g.setDefaultEdgeLabel(() => ({}));
    const boxes = new Map();
    const here = inside.get(above) ?? [];
    for (const node of here) {
      const parts = [`${node.id}`, `${node.id}/on_error`].filter((id) => inside.has(id));
      if (parts.length === 0 || folded.has(node.id)) {
        g.setNode(node.id, { ...NODE });
        continue;
      }
      const bodies = parts.map((id) => ({ id, ...body(id) }));
      const width = Math.max(NODE.width, ...bodies.map((one) => one.width)) + 2 * PAD;
      const height = HEAD + bodies.reduce((sum, one) => sum + one.height + PAD, 0);
      boxes.set(node.id, bodies);
      g.setNode(node.id, { width, height });
    }
    const known = new Set(here.map((node) => node.id));
    for (const edge of graph.edges) if (known.has(edge.from) && known.has(edge.to)) g.setEdge(edge.from, edge.to);
    layout(g);
    const nodes = here.map((node) => {
      const { x, y, width, height } = g.node(node.id);
      const bodies = boxes.get(node.id);
      let top = HEAD;
      const placed = bodies?.map((one) => {
        const at = { ...one, x: (width - one.width) / 2, y: top };
        top += one.height + PAD;
        return at;
      });
      return { node, x: x - width / 2, y: y - height / 2, width, height, bodies: placed };
    });
    const edges = g.edges().map((edge) => {
      const strict = graph.edges.find((one) => one.from === edge.v && one.to === edge.w)?.strict;
      return { key: `${edge.v}>${edge.w}`, points: g.edge(edge).points, strict };
    });
    const { width = 0, height = 0 } = g.graph();
    return { width: Math.max(0, width), height: Math.max(0, height), nodes, edges };
  };
  return body("");
}

const boxOf = (node) => node.id.slice(0, Math.max(0, node.id.lastIndexOf("/")));

/** A smooth line through the points of an edge. */
function line(points) {
  const [first, ...rest] = points;
  let text = `M${first.x},${first.y}`;
  if (rest.length === 1) return `${text}L${rest[0].x},${rest[0].y}`;
  for (let at = 0; at < rest.length - 1; at += 1) {
    const [one, next] = [rest[at], rest[at + 1]];
    const end = at === rest.length - 2 ? next : { x: (one.x + next.x) / 2, y: (one.y + next.y) / 2 };
    text += `Q${one.x},${one.y} ${end.x},${end.y}`;
  }
  return text;
}

/**
 * The drawing. `stateOf(id)` gives `{status, ms, parts?, label?}` of a node, or nothing for a flow that does not run;
 * `parts` of a box are `{index, of, onStep(by)}`.
 */
export function FlowGraph({ graph, selected, onSelect, stateOf, wrong }) {
  const holders = useMemo(() => new Set(graph.nodes.map(boxOf).filter(Boolean).map((id) => id.replace(/\/on_error$/, ""))), [graph]);
  const [folded, setFolded] = useState(() => (graph.nodes.length > FOLD_FROM ? holders : new Set()));
  const drawn = useMemo(() => place(graph, folded), [graph, folded]);
  const box = useRef(null);
  const [view, setView] = useState(null);
  const drag = useRef(null);
  const fit = () => {
    // A change of size may be told of a drawing that has gone.
    if (!box.current) return;
    const clientWidth = box.current.clientWidth;
    const clientHeight = box.current.clientHeight - TOOLS;
    const scale = Math.min(1.15, Math.max(ZOOM.min, Math.min((clientWidth - 40) / drawn.width, (clientHeight - 40) / drawn.height)));
    // What does not fit is shown from its beginning, large enough to be read.
    const readable = Math.max(scale, Math.min(0.62, (clientWidth - 24) / drawn.width));
    const top = drawn.height * readable > clientHeight - 24 ? 20 : (clientHeight - drawn.height * readable) / 2;
    setView({ scale: readable, x: (clientWidth - drawn.width * readable) / 2, y: top });
  };
  useLayoutEffect(fit, [drawn]);
  useEffect(() => {
    const watch = new ResizeObserver(() => !drag.current?.moved && fit());
    watch.observe(box.current);
    return () => watch.disconnect();
  }, [drawn]);
  const zoom = (by, at) => {
    const rect = box.current.getBoundingClientRect();
    const [x, y] = at ? [at.clientX - rect.left, at.clientY - rect.top] : [rect.width / 2, rect.height / 2];
    setView((old) => {
      const scale = Math.min(ZOOM.max, Math.max(ZOOM.min, old.scale * by));
      const ratio = scale / old.scale;
      return { scale, x: x - (x - old.x) * ratio, y: y - (y - old.y) * ratio };
    });
  };
  useEffect(() => {
    const wheel = (event) => {
      event.preventDefault();
      if (event.ctrlKey || event.metaKey) zoom(Math.exp(-event.deltaY / 160), event);
      else setView((old) => ({ ...old, x: old.x - event.deltaX, y: old.y - event.deltaY }));
    };
    box.current.addEventListener("wheel", wheel, { passive: false });
    return () => box.current?.removeEventListener("wheel", wheel);
  }, []);
  const pointer = {
    onPointerDown: (event) => {
      if (event.button !== 0 || event.target.closest("[data-node], [role=button], button")) return;
      drag.current = { x: event.clientX, y: event.clientY };
      box.current.setPointerCapture(event.pointerId);
    },
    onPointerMove: (event) => {
      const from = drag.current;
      if (!from || !event.buttons) return;
      setView((old) => ({ ...old, x: old.x + event.clientX - from.x, y: old.y + event.clientY - from.y }));
      drag.current = { x: event.clientX, y: event.clientY, moved: true };
    },
  };
  const keys = (event) => {
    const node = event.target.closest("[data-node]");
    if (!node) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      onSelect?.(node.dataset.node);
      return;
    }
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const all = [...box.current.querySelectorAll("[data-node]")];
    all[all.indexOf(node) + step]?.focus();
  };
  const fold = (id) => {
    const next = new Set(folded);
    if (!next.delete(id)) next.add(id);
    setFolded(next);
  };
  const shared = { selected, onSelect, stateOf, holders, folded, fold, wrong };
  return html`<div class="graph" ref=${box} ...${pointer} onKeyDown=${keys}>
    ${view && html`<svg role="group" aria-label="Graph of the flow"><defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7"
      markerHeight="7" orient="auto-start-reverse"><path d="M0 .8 7.2 4 0 7.2z" fill="var(--edge)" /></marker></defs>
      <g transform=${`translate(${view.x} ${view.y}) scale(${view.scale})`}><${Body} body=${drawn} ...${shared} /></g></svg>`}
    <div class="graph-tools">
      <button class="btn icon small" aria-label="Zoom in" onClick=${() => zoom(1.25)}>+</button>
      <button class="btn icon small" aria-label="Zoom out" onClick=${() => zoom(0.8)}>−</button>
      <button class="btn icon small" aria-label="Fit" onClick=${fit}><${Icon} name="fit" size=${14} /></button>
    </div>
  </div>`;
}

function Body({ body, ...shared }) {
  return html`${body.edges.map((edge) => html`<path key=${edge.key} class=${`edge ${edge.strict ? "" : "loose"}`} d=${line(edge.points)} marker-end="url(#arrow)" />`)}
    ${body.nodes.map((placed) => html`<${Node} key=${placed.node.id} placed=${placed} ...${shared} />`)}`;
}

/** A text cut to a width, as far as that can be told without measuring. */
const cut = (text, chars) => (text.length > chars ? `${text.slice(0, chars - 1)}…` : text);

function Node({ placed, ...shared }) {
  const { node, x, y, width, height, bodies } = placed;
  const { selected, onSelect, stateOf, holders, folded, fold, wrong } = shared;
  const state = stateOf?.(node.id);
  const what = node.kind === "op" || node.kind === "flow" ? node.runs : node.kind;
  const holds = holders.has(node.id);
  const parts = state?.parts;
  const says = [node.name, what, state && statusWord(state.status), state?.ms !== undefined && state.ms !== null && duration(state.ms)].filter(Boolean).join(", ");
  const kind = `node ${state ? `is-${state.status}` : ""} ${bodies ? "box" : ""} ${selected === node.id ? "selected" : ""} ${wrong?.has(node.id) ? "wrong" : ""}`;
  return html`<g transform=${`translate(${x} ${y})`}>
    <g class=${kind} data-node=${node.id} tabindex="0" role="button" aria-label=${says} aria-pressed=${selected === node.id} onClick=${() => onSelect?.(node.id)}>
      <title>${node.about ?? says}</title>
      <rect width=${width} height=${height} rx="8" />
      ${state && html`<rect class="bar" width="4" height=${(bodies ? HEAD : height) - 16} x="7" y="8" rx="2" />`}
      <text class="name" x=${state ? 19 : 13} y="21">${cut(node.name, bodies && parts ? Math.floor((width - 160) / 7.5) : state?.ms !== undefined && state.ms !== null && !bodies ? 16 : 22)}</text>
      ${!bodies && html`<text class="what" x=${state ? 19 : 13} y="38">${cut(what ?? "", 25)}</text>`}
      ${state?.ms !== undefined && state.ms !== null && !parts && html`<text class="ms" x=${width - 11} y="21" text-anchor="end">${duration(state.ms)}</text>`}
      ${!bodies && state?.label && html`<text class="ms" x=${width - 11} y="38" text-anchor="end">${state.label}</text>`}
    </g>
    ${holds && html`<g class="fold" role="button" tabindex="0" aria-label=${folded.has(node.id) ? `Unfold ${node.name}` : `Fold ${node.name}`}
      onClick=${() => fold(node.id)} onKeyDown=${(event) => {
        if (event.key === "Enter") {
          event.stopPropagation();
          fold(node.id);
        }
      }} transform=${`translate(${width - (parts && bodies ? 140 : bodies ? 26 : 24)} ${bodies ? (parts ? 10 : 12) : 28})`}>${!bodies && html`<rect width="16" height="14" rx="4" />`}<path d=${folded.has(node.id) ? "M5 5l3 4 3-4" : "M5 9l3-4 3 4"} /></g>`}
    ${bodies && parts && html`<${Steps} width=${width} name=${node.name} ...${parts} />`}
    ${bodies?.map((one) => html`<g key=${one.id} transform=${`translate(${one.x} ${one.y})`}><${Body} body=${one} ...${shared} /></g>`)}
  </g>`;
}

/** Which turn or item of a box is shown, with steps to the others. */
function Steps({ width, name, word, index, at, of, onStep }) {
  const button = (by, x, icon, label) => html`<g class=${`step ${at + by < 0 || at + by >= of ? "off" : ""}`} role="button" tabindex=${at + by < 0 || at + by >= of ? -1 : 0} aria-label=${label}
    aria-disabled=${at + by < 0 || at + by >= of} transform=${`translate(${x} 8)`} onClick=${() => onStep(by)} onKeyDown=${(event) => {
      if (event.key === "Enter") {
        event.stopPropagation();
        onStep(by);
      }
    }}><rect width="18" height="18" rx="4" /><path d=${icon} /></g>`;
  return html`${button(-1, width - 118, "M11 5 7 9l4 4", `Previous ${word} of ${name}`)}
    <text class="ms" x=${width - 62} y="21" text-anchor="middle">${`${word} ${index} of ${of}`}</text>
    ${button(1, width - 26, "m7 5 4 4-4 4", `Next ${word} of ${name}`)}`;
}
