// Two runs side by side: in what they differ, node by node.

import { html } from "../../vendor/core.js";
import { get } from "../api.js";
import { cost, count, duration, many, shortId, took, when } from "../format.js";
import { href } from "../router.js";
import { Icon, Status } from "../ui/icons.js";
import { Empty, Failure, Loading, useLoaded } from "../ui/parts.js";
import { Value } from "../ui/value.js";

export default function Diff({ a, b }) {
  const { value: diff, error, again } = useLoaded((signal) => get("/v1/jobs/diff", { a, b }, { signal }), [a, b]);
  const crumbs = html`<nav class="crumbs" aria-label="Where this is"><a href="#/runs">Runs</a> / Compare</nav>`;
  if (error) return html`<div class="page"><div>${crumbs}<h1>Compare two runs</h1></div><${Failure} error=${error} again=${again} /></div>`;
  if (!diff) return html`<div class="page"><${Loading} what="Comparing" /></div>`;
  const isSame = diff.nodes.length === 0 && diff.inputs.length === 0 && diff.outputs.length === 0;
  return html`<div class="page diff">
    <header><div>${crumbs}<h1>Compare two runs</h1><p class="dim">${`${diff.same_flow ? "Both run the same flow, word for word." : "The flows are not the same."} Of ${many(diff.n_same + diff.nodes.length, "node execution")}, ${count(diff.nodes.length)} differ.`}</p></div>
      <div class="actions"><a class="btn" href=${href(["diff"], { a: b, b: a })}><${Icon} name="compare" />Swap</a></div></header>
    <div class="pair">${[["A", diff.a], ["B", diff.b]].map(([side, job]) => html`<section class="card" key=${side}><header><span class="side-mark">${side}</span>
      <a class="cut grow" href=${href(["runs", job.id])}>${job.preview || shortId(job.id)}</a><${Status} status=${job.status} /></header>
      <div class="body"><dl class="facts"><div><dt>flow</dt><dd>${job.flow}${job.version ? ` v${job.version}` : ""}</dd></div><div><dt>began</dt><dd>${when(job.started_at ?? job.created_at)}</dd></div>
        <div><dt>took</dt><dd>${duration(took(job))}</dd></div><div><dt>model calls</dt><dd>${count(job.usage.model_calls)}</dd></div>
        <div><dt>tokens</dt><dd>${count(job.usage.prompt_tokens + job.usage.completion_tokens)}</dd></div>${job.usage.cost > 0 && html`<div><dt>cost</dt><dd>${cost(job.usage.cost)}</dd></div>`}</dl></div></section>`)}</div>
    ${isSame && html`<div class="card"><${Empty} icon="compare" title="No difference"><p>Inputs, outputs and every node execution are the same.</p><//></div>`}
    <${Fields} title="Inputs" fields=${diff.inputs} /><${Fields} title="Outputs" fields=${diff.outputs} />
    ${diff.nodes.length > 0 && html`<section class="stack"><h2>Nodes</h2>${diff.nodes.map((node) => html`<${Node} key=${node.node} diff=${diff} node=${node} />`)}</section>`}
  </div>`;
}

function Fields({ title, fields }) {
  if (fields.length === 0) return null;
  return html`<section class="card"><header><h2>${title}</h2></header><div class="body stack">${fields.map((field) => html`<div key=${field.name} class="stack tight"><h3>${field.name}</h3>
    <div class="pair">${["a", "b"].map((side) => html`<${Side} key=${side} side=${side}>${field[side] === undefined ? html`<span class="dim">not there</span>` : html`<${Value} value=${field[side]} />`}<//>`)}</div></div>`)}</div></section>`;
}

function Side({ side, children }) {
  return html`<div class="side-box"><span class="side-mark">${side.toUpperCase()}</span><div class="grow">${children}</div></div>`;
}

const FOUND = { only_a: "only in A", only_b: "only in B" };

function Node({ diff, node }) {
  const ports = (side, what) => Object.entries(node[side]?.[what] ?? {});
  const names = [...new Set(["a", "b"].flatMap((side) => ["outputs", "inputs"].flatMap((what) => ports(side, what).map(([name]) => `${what}.${name}`))))];
  const words = node.found === "both" ? node.changed.join(", ") : FOUND[node.found];
  return html`<details class="card diff-node" open=${diff.nodes.length <= 6}><summary><strong class="mono">${node.node}</strong><span class="dim">${(node.a ?? node.b).op}</span><span class="chip">${words}</span>
    <span class="grow"></span>${["a", "b"].map((side) => node[side] && html`<span key=${side} class="dim num">${side.toUpperCase()} ${duration(node[side].ran_ms)}</span>`)}</summary>
    <div class="body stack"><div class="row wrap">${["a", "b"].map((side) => node[side] && html`<a key=${side} class="btn small" href=${href(["runs", diff[side].id], { node: node.node })}>Open in ${side.toUpperCase()}</a>`)}</div>
      ${["a", "b"].some((side) => node[side]?.error || node[side]?.skipped) && html`<div class="pair">${["a", "b"].map((side) => html`<${Side} key=${side} side=${side}>${
      node[side]?.error ? html`<span class="bad-text">${node[side].error.code}: ${node[side].error.message}</span>` : node[side]?.skipped ? html`<span class="dim">skipped: ${node[side].skipped}</span>` : html`<span class="dim">–</span>`}<//>`)}</div>`}
      ${names.map((name) => {
        const [what, ...rest] = name.split(".");
        const port = rest.join(".");
        return html`<div key=${name} class="stack tight"><h3>${what === "inputs" ? "input" : "output"} ${port}</h3><div class="pair">${["a", "b"].map((side) => {
          const value = node[side]?.[what]?.[port];
          return html`<${Side} key=${side} side=${side}>${value === undefined ? html`<span class="dim">not there</span>` : html`<${Value} value=${value} />`}<//>`;
        })}</div></div>`;
      })}</div></details>`;
}
