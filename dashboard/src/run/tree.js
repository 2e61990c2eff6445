// Trees that a node built: the sets a search went through, the levels of a map and its reductions.

import { html, useMemo } from "../../vendor/core.js";

/** Nodes that are drawn at most. */
const DRAWN = 400;
const STEP = { x: 30, y: 46 };
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

function ofList(list) {
  const nodes = new Map(list.slice(0, DRAWN).map((one) => [one.id, { facts: one, children: [] }]));
  let root = null;
  for (const node of nodes.values()) {
    const parent = nodes.get(node.facts.parent);
    if (parent && parent !== node) parent.children.push(node);
    else root ??= node;
  }
  return root;
}

function ofMap(map) {
  let left = DRAWN;
  const make = (one) => {
    left -= 1;
    const { children, ...facts } = one;
    return { facts, children: (children ?? []).filter(isMap).filter(() => left > 0).map(make) };
  };
  return make(map);
}

/** Leaves side by side, each parent over the middle of its children. */
function place(root) {
  let next = 0;
  let depth = 0;
  const nodes = [];
  const visit = (node, level) => {
    depth = Math.max(depth, level);
    const children = node.children.map((child) => visit(child, level + 1));
    const x = children.length ? (children[0].x + children.at(-1).x) / 2 : (next += 1) * STEP.x;
    const at = { node, x, y: 24 + level * STEP.y, children };
    nodes.push(at);
    return at;
  };
  visit(root, 0);
  return { nodes, width: (next + 1) * STEP.x, height: 48 + depth * STEP.y };
}

const number = (facts, names) => names.map((name) => facts[name]).find((value) => typeof value === "number");

export function Tree({ tree }) {
  const drawn = useMemo(() => place(tree), [tree]);
  const values = drawn.nodes.map(({ node }) => number(node.facts, ["value", "reward", "best", "score"])).filter((value) => value !== undefined);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const tone = (facts) => {
    const value = number(facts, ["value", "reward", "best", "score"]);
    return value === undefined || high === low ? 0.5 : (value - low) / (high - low);
  };
  const says = (facts) => Object.entries(facts).filter(([, value]) => typeof value !== "object").map(([name, value]) => `${name}: ${value}`).join("\n");
  return html`<div class="tree-drawing" tabindex="0" role="img" aria-label=${`A tree of ${drawn.nodes.length} nodes`}><svg width=${drawn.width} height=${drawn.height}>
    ${drawn.nodes.flatMap((at) => at.children.map((child) => html`<path key=${`${child.x},${child.y}`} class="edge" d=${`M${at.x},${at.y}C${at.x},${at.y + 22} ${child.x},${child.y - 22} ${child.x},${child.y}`} />`))}
    ${drawn.nodes.map(({ node, x, y }) => {
      const visits = number(node.facts, ["visits", "n"]);
      return html`<g key=${`${x},${y}`} transform=${`translate(${x} ${y})`}><title>${says(node.facts)}</title>
        <circle r=${visits ? Math.min(12, 5 + Math.log2(1 + visits)) : 7} fill-opacity=${0.25 + 0.75 * tone(node.facts)} /></g>`;
    })}</svg></div>`;
}
