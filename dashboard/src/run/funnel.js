// What became of every chunk of a run: retrieve → filter → rerank → select → cited, stage by stage.

import { html, useMemo, useState } from "../../vendor/core.js";
import { get, path } from "../api.js";
import { many, score } from "../format.js";
import { Empty, Failure, Loading, useLoaded } from "../ui/parts.js";
import { chunksIn, isAnswer, placeOf } from "../ui/records.js";
import { nameOf, placeOf as whichNode } from "./model.js";

/** Modules whose operators take or give chunks. */
const MODULES = new Set(["retrieve", "fuse", "rerank", "filter", "select", "context", "read", "graph", "extract", "judge", "memory"]);
/** Ports on which chunks leave that go no further. */
const LEFT_OUT = new Set(["dropped"]);
/** Executions that are asked for at most. */
const STAGES_MAX = 24;
/** Rows that are shown at first. */
const ROWS = 40;

/** What a stage is called: its node, and in which turn or item. */
function wordOf(node) {
  const index = node.scope.match(/\[(\d+)\][^[]*$/)?.[1];
  return index === undefined ? nameOf(node) : `${nameOf(node)} ${index}`;
}

/** Executions that may be a stage, in the order of their ends. */
function candidates(run) {
  const fits = (node) => node.children.length === 0 && node.status === "succeeded" && MODULES.has(node.op.split(".")[0]);
  return [...run.nodes.values()].filter(fits).sort((a, b) => (a.ended ?? 0) - (b.ended ?? 0) || a.order - b.order);
}

/** The stage that an execution is: which chunks came out of it, at which place, with which score. */
function stageOf(node, detail) {
  const out = new Map();
  for (const [port, value] of Object.entries(detail.outputs ?? {})) {
    if (LEFT_OUT.has(port)) continue;
    for (const chunk of chunksIn(value)) if (!out.has(chunk.id)) out.set(chunk.id, { rank: out.size + 1, chunk });
  }
  const cited = new Map();
  for (const value of Object.values(detail.outputs ?? {})) {
    const citations = isAnswer(value) ? value.citations : Array.isArray(value) ? value.filter((one) => one?.chunk_id) : [];
    for (const citation of citations) if (!cited.has(citation.chunk_id)) cited.set(citation.chunk_id, citation);
  }
  const read = new Map();
  for (const value of Object.values(detail.inputs ?? {})) {
    for (const chunk of chunksIn(value)) if (!read.has(chunk.id)) read.set(chunk.id, { rank: read.size + 1, chunk });
  }
  return { node, out, cited, read };
}

export function Funnel({ run, onSelect, onChunk }) {
  const found = useMemo(() => candidates(run), [run.version.value]);
  const shown = found.slice(0, STAGES_MAX);
  const names = shown.map((node) => node.scope).join(" ");
  const { value: stages, error, again } = useLoaded(
    async (signal) => {
      const details = await Promise.all(shown.map((node) => get(path`/v1/jobs/${run.id}/nodes/${node.scope}`, {}, { signal }).catch(() => null)));
      return shown.map((node, at) => details[at] && stageOf(node, details[at])).filter((stage) => stage && (stage.out.size || stage.cited.size));
    },
    [names],
  );
  if (error) return html`<${Failure} error=${error} again=${again} />`;
  if (!stages) return html`<${Loading} what="Looking at the chunks" />`;
  if (stages.length === 0) return html`<${Empty} icon="indexes" title="No chunks"><p>No node of this run has given any chunks${run.state.value === "live" ? " yet" : ""}.</p><//>`;
  return html`<${Stages} stages=${stages} left=${found.length - shown.length} onSelect=${onSelect} onChunk=${onChunk} />`;
}

function Stages({ stages, left, onSelect, onChunk }) {
  const [more, setMore] = useState(ROWS);
  const columns = [];
  for (const stage of stages) {
    if (stage.out.size) columns.push({ key: stage.node.scope, stage, chunks: stage.out, word: stage.node.op.split(".")[0] });
    if (stage.cited.size) columns.push({ key: `${stage.node.scope} cited`, stage, chunks: stage.cited, word: "cited", isCited: true });
  }
  const all = new Map();
  for (const { stage, chunks } of columns) {
    for (const [id, one] of chunks) if (!all.has(id)) all.set(id, one.chunk ?? stage.read.get(id)?.chunk ?? { id, doc: one.doc, text: one.quote ?? "", lines: one.lines });
  }
  // Who came furthest stands first; among equals, whoever stood first before.
  const reach = (id) => columns.reduce((last, column, at) => (column.chunks.has(id) ? at : last), -1);
  const place = (id) => columns.find((column) => column.chunks.has(id) && !column.isCited)?.chunks.get(id).rank ?? 1e9;
  const ids = [...all.keys()].sort((a, b) => reach(b) - reach(a) || place(a) - place(b));
  const most = Math.max(...columns.map((column) => column.chunks.size));
  return html`<div class="funnel stack">
    <ol class="funnel-bars" aria-label="Chunks by stage">${columns.map((column) => html`<li key=${column.key}>
      <button class="funnel-bar" onClick=${() => onSelect(column.stage.node.scope)} title=${column.stage.node.scope}>
        <span class="num">${column.chunks.size}</span><i style=${{ height: `${Math.max(6, (72 * column.chunks.size) / most)}px` }} class=${column.isCited ? "cited" : ""}></i>
        <span class="cut">${column.isCited ? "cited" : wordOf(column.stage.node)}</span><span class="dim cut">${column.isCited ? nameOf(column.stage.node) : column.stage.node.op}</span>
      </button></li>`)}</ol>
    ${left > 0 && html`<p class="dim">The first ${STAGES_MAX} stages; ${many(left, "more execution")} can be looked at one by one.</p>`}
    <div class="scroll-x card" tabindex="0" role="region" aria-label="Chunks and the stages that kept them"><table class="plain funnel-table">
      <thead><tr><th>Chunk</th>${columns.map((column) => html`<th key=${column.key} class="n" title=${whichNode(column.stage.node.scope)}>${column.isCited ? "cited" : wordOf(column.stage.node)}</th>`)}</tr></thead>
      <tbody>${ids.slice(0, more).map((id) => {
        const chunk = all.get(id);
        return html`<tr key=${id}><td><button class="plain-link" onClick=${() => onChunk(chunk, columns.findLast((column) => column.isCited && column.chunks.has(id))?.chunks.get(id))}>${placeOf(chunk)}</button>
          <div class="dim cut chunk-line">${chunk.text}</div></td>
          ${columns.map((column, at) => html`<${Cell} key=${column.key} column=${column} id=${id} before=${columns[at - 1]} />`)}</tr>`;
      })}</tbody></table></div>
    ${ids.length > more && html`<button class="btn small" onClick=${() => setMore(more + 200)}>Show more of ${ids.length}</button>`}
  </div>`;
}

function Cell({ column, id, before }) {
  const one = column.chunks.get(id);
  if (!one) {
    const fell = before?.chunks.has(id);
    return html`<td class="n"><span class=${fell ? "fell" : "dim"}>${fell ? "dropped" : "·"}</span></td>`;
  }
  if (column.isCited) return html`<td class="n"><span class="chip good">cited</span></td>`;
  return html`<td class="n"><span class="rank-chip">${one.rank}</span>${typeof one.chunk.score === "number" && html`<span class="dim"> ${score(one.chunk.score)}</span>`}</td>`;
}
