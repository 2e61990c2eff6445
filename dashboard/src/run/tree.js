// Trees that a node built: the sets a search went through, the levels of a map and its reductions. The root stands at the
// left, since labels are wide and panels narrow.

import { html, useLayoutEffect, useMemo, useRef, useState } from "../../vendor/core.js";
import { exact, many, score } from "../format.js";

/** Nodes that are drawn at most. */
const DRAWN = 400;
/** Nodes up to which everything is unfolded at first; of more, what was chosen. */
const UNFOLDED = 60;
const NODE = { width: 176, height: 40 };
const STEP = { x: 216, y: 48 };
const PAD = 8;
const isMap = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

/** The first tree among the outputs of a node: a list of `{id, parent}`, or maps that hold `children`. */
export function treeIn(outputs, depth = 3) {
  for (const value of Object.values(outputs ?? {})) {
    if (Array.isArray(value) && value.length > 1 && value.every((one) => isMap(one) && "id" in one && "parent" in one)) return ofList(value);
    if (isMap(value) && Array.isArray(value.children) && value.children.length) return ofMap(value);
    if (isMap(value) && depth > 0) {
      const inner = treeIn(value, depth - 1);
      if (inner) return inner;
    }
  }
  return null;
}

/** `{root, left}`: what is drawn, and how many nodes are not. Whatever has no parent that is there hangs on the root. */
function ofList(list) {
  const nodes = new Map(list.slice(0, DRAWN).map((one, at) => [one.id, { facts: one, key: String(at), children: [] }]));
  const roots = [];
  for (const node of nodes.values()) {
    const parent = nodes.get(node.facts.parent);
    if (parent && parent !== node) parent.children.push(node);
    else roots.push(node);
  }
  const root = roots.length === 1 ? roots[0] : { facts: { label: "all" }, key: "all", children: roots };
  return roots.length ? { root, left: list.length - nodes.size } : null;
}

function ofMap(map) {
  let n = 0;
  let left = 0;
  const make = (one) => {
    const { children, ...facts } = one;
    const node = { facts, key: String((n += 1)), children: [] };
    for (const child of (children ?? []).filter(isMap)) {
      if (n >= DRAWN) left += 1;
      else node.children.push(make(child));
    }
    return node;
  };
  return { root: make(map), left };
}

const chosen = (facts) => facts.chosen === true;
const number = (facts, names) => names.map((name) => facts[name]).find((value) => typeof value === "number");
const worth = (facts) => number(facts, ["value", "reward", "confidence", "best", "score"]);
const labelOf = (facts) => String(facts.label ?? facts.name ?? facts.text ?? facts.id ?? "");

/** The second line of a node: what it counts for. */
function line(facts) {
  const visits = number(facts, ["visits", "n"]);
  const names = ["value", "reward", "confidence", "best", "score"].filter((name) => typeof facts[name] === "number");
  return [facts.kind, facts.dropped && "dropped", visits !== undefined && many(visits, "visit"), names[0] && `${names[0]} ${score(facts[names[0]])}`].filter(Boolean).join(" · ");
}

/** A node in words, for those who do not see it. */
const says = ({ facts, children }) => [labelOf(facts), line(facts), chosen(facts) && "chosen", children.length > 0 && many(children.length, "child").replace("childs", "children")].filter(Boolean).join(", ");

/** Every node below `node`, with how deep it stands; what is folded is left out. */
function walk(node, folded, visit, depth = 0, parent = null) {
  visit(node, depth, parent);
  if (!folded?.has(node.key)) for (const child of node.children) walk(child, folded, visit, depth + 1, node);
}

/** Leaves one below the other, each parent beside the middle of its children. */
function place(root, folded) {
  let next = 0;
  let depth = 0;
  const placed = [];
  const put = (node, level, parent) => {
    depth = Math.max(depth, level);
    const at = { node, level, parent, children: [] };
    placed.push(at);
    if (!folded.has(node.key)) at.children = node.children.map((child) => put(child, level + 1, at));
    at.x = PAD + level * STEP.x;
    at.y = at.children.length ? (at.children[0].y + at.children.at(-1).y) / 2 : PAD + (next++) * STEP.y;
    return at;
  };
  put(root, 0, null);
  return { placed, width: 2 * PAD + depth * STEP.x + NODE.width, height: 2 * PAD + (next - 1) * STEP.y + NODE.height };
}

/** Of a large tree, everything that holds nothing chosen is folded. */
function foldedAtFirst(root) {
  let n = 0;
  walk(root, null, () => (n += 1));
  const folded = new Set();
  if (n <= UNFOLDED) return folded;
  const look = (node) => {
    const isKept = node.children.map(look).some(Boolean) || chosen(node.facts);
    if (!isKept && node !== root && node.children.length) folded.add(node.key);
    return isKept;
  };
  look(root);
  return folded;
}

const cut = (text, chars) => (text.length > chars ? `${text.slice(0, chars - 1)}…` : text);

export function Tree({ tree: { root, left } }) {
  const [folded, setFolded] = useState(() => foldedAtFirst(root));
  const [at, setAt] = useState(root.key);
  const box = useRef(null);
  const drawn = useMemo(() => place(root, folded), [root, folded]);
  const all = useMemo(() => {
    const found = [];
    walk(root, null, (node, depth, parent) => found.push({ node, depth, parent }));
    return found;
  }, [root]);
  const values = all.map(({ node }) => worth(node.facts)).filter((value) => value !== undefined);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const tone = (facts) => (worth(facts) === undefined ? 0 : high === low ? 1 : (worth(facts) - low) / (high - low));
  const here = drawn.placed.find((one) => one.node.key === at) ?? drawn.placed[0];
  const flip = (node, is) => {
    if (node.children.length === 0) return;
    const next = new Set(folded);
    if (is ?? !next.has(node.key)) next.add(node.key);
    else next.delete(node.key);
    setFolded(next);
  };
  const go = (one) => {
    if (!one) return;
    setAt(one.node.key);
    const element = box.current.querySelector(`[data-key="${CSS.escape(one.node.key)}"]`);
    element?.focus({ preventScroll: true });
    element?.scrollIntoView({ block: "nearest", inline: "nearest" });
  };
  const keys = (event) => {
    const order = drawn.placed;
    const index = order.indexOf(here);
    const acts = {
      ArrowDown: () => go(order[index + 1]),
      ArrowUp: () => go(order[index - 1]),
      ArrowRight: () => (here.children.length ? go(here.children[0]) : flip(here.node, false)),
      ArrowLeft: () => (here.children.length ? flip(here.node, true) : go(here.parent)),
      Home: () => go(order[0]),
      End: () => go(order.at(-1)),
      Enter: () => flip(here.node),
      " ": () => flip(here.node),
    };
    if (!acts[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    acts[event.key]();
  };
  // The root stands beside the middle of a drawing that may be tall.
  useLayoutEffect(() => {
    box.current.scrollTop = drawn.placed[0].y + NODE.height / 2 - box.current.clientHeight / 2;
  }, [root]);
  const nChosen = all.filter(({ node }) => chosen(node.facts)).length;
  return html`<div class="stack tree-view">
    <p class="dim">${exact(all.length)} nodes${nChosen ? html`, <span class="tree-key chosen">chosen</span> ${exact(nChosen)} of them` : ""}${left > 0 ? `; ${exact(left)} more are not drawn` : ""}. Arrow keys walk through it, Enter folds.</p>
    <div class="tree-drawing" ref=${box} tabindex="-1"><svg role="tree" aria-label="Tree" width=${drawn.width} height=${drawn.height} onKeyDown=${keys}>
      <g role="presentation">${drawn.placed.filter((one) => one.parent).map(({ node, parent, x, y }) => {
        const [fromX, fromY, toY] = [parent.x + NODE.width, parent.y + NODE.height / 2, y + NODE.height / 2];
        const middle = (fromX + x) / 2;
        return html`<path key=${node.key} class=${`edge ${chosen(node.facts) ? "chosen" : ""} ${node.facts.dropped ? "dropped" : ""}`} d=${`M${fromX},${fromY}C${middle},${fromY} ${middle},${toY} ${x},${toY}`} />`;
      })}</g>
      ${drawn.placed.map(({ node, level, x, y }) => html`<g key=${node.key} role="treeitem" data-key=${node.key} aria-level=${level + 1} aria-label=${says(node)} aria-selected=${node.key === here.node.key}
        aria-expanded=${node.children.length ? !folded.has(node.key) : undefined} tabindex=${node.key === here.node.key ? 0 : -1} transform=${`translate(${x} ${y})`}
        class=${`tree-node ${chosen(node.facts) ? "chosen" : ""} ${node.facts.dropped ? "dropped" : ""} ${node.key === here.node.key ? "here" : ""}`}
        onClick=${() => (node.key === here.node.key ? flip(node) : setAt(node.key))} onFocus=${() => setAt(node.key)}>
        <title>${says(node)}</title><rect width=${NODE.width} height=${NODE.height} rx="7" /><rect class="worth" x="6" y=${NODE.height - 5} height="2.5" rx="1" width=${Math.max(0, (NODE.width - 12) * tone(node.facts))} />
        <text class="name" x="10" y="16">${cut(labelOf(node.facts), folded.has(node.key) ? 18 : 23)}</text><text class="what" x="10" y="31">${cut(line(node.facts), 27)}</text>
        ${folded.has(node.key) && html`<text class="what" x=${NODE.width - 9} y="16" text-anchor="end">+${node.children.length}</text>`}
      </g>`)}</svg></div>
    <div class="port"><h3>${labelOf(here.node.facts)}</h3><dl class="pairs">${Object.entries(here.node.facts).filter(([name, value]) => name !== "label" && value !== null && typeof value !== "object").map(([name, value]) => html`<dt key=${name}>${name}</dt><dd>${typeof value === "number" ? exact(value) : String(value)}</dd>`)}</dl></div>
    <details><summary class="soft">As a table</summary><div class="scroll-x" tabindex="0" role="region" aria-label="The tree as a table"><table class="plain"><thead><tr><th>Node</th><th>Inside of</th><th>About</th></tr></thead>
      <tbody>${all.map(({ node, depth, parent }) => html`<tr key=${node.key}><td style=${{ paddingLeft: `${12 + 12 * Math.min(depth, 8)}px` }}>${chosen(node.facts) ? html`<strong>${labelOf(node.facts)}</strong>` : labelOf(node.facts)}</td><td class="soft">${parent ? labelOf(parent.facts) : "–"}</td><td class="soft">${[line(node.facts), chosen(node.facts) && "chosen"].filter(Boolean).join(" · ")}</td></tr>`)}</tbody></table></div></details>
  </div>`;
}
