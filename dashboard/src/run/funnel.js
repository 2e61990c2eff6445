// What became of every chunk of a run: retrieve → filter → rerank → select → cited, stage by stage.

import { html, useMemo, useState } from "../../vendor/core.js";
import { get, path } from "../api.js";
import { many, score } from "../format.js";
import { Empty, Failure, Loading, useLoaded } from "../ui/parts.js";
import { chunksIn, isAnswer, placeOf } from "../ui/records.js";
import { nameOf, placeOf as nodeOf } from "./model.js";

/** Modules whose operators take or give chunks. */
const MODULES = new Set(["chunk", "enrich", "retrieve", "fuse", "rerank", "filter", "select", "context", "read", "verify"]);
/** Of these, those whose chunks are worth a view of their own. */
const GIVES = new Set(["chunk", "retrieve", "fuse", "rerank", "filter", "select", "context"]);
/** Ports on which chunks leave that go no further. */
const LEFT_OUT = new Set(["dropped"]);
/** Executions that are asked for at most, spread over all nodes. */
const ASKED_MAX = 32;
/** Executions up to which each is a stage by itself; of more, all of a node are one. */
const APART_MAX = 8;
/** Rows that are shown at first. */
const ROWS = 40;

const moduleOf = (node) => node.op.split(".")[0];

/** Whether a run has chunks to be looked at. */
export const hasChunks = (run) => [...run.nodes.values()].some((node) => GIVES.has(moduleOf(node)) && node.op.includes("."));

/** Executions that may be a stage, in the order of their ends. */
function candidates(run) {
  const fits = (node) => node.children.length === 0 && node.status === "succeeded" && MODULES.has(moduleOf(node));
  return [...run.nodes.values()].filter(fits).sort((a, b) => (a.ended ?? 0) - (b.ended ?? 0) || a.order - b.order);
}

/** Those of `found` that are looked at: the first of every node before the second of any. */
function spread(found) {
  const turns = new Map();
  const nth = new Map(found.map((node) => {
    const turn = turns.get(nodeOf(node.scope)) ?? 0;
    turns.set(nodeOf(node.scope), turn + 1);
    return [node, turn];
  }));
  const asked = new Set([...found].sort((a, b) => nth.get(a) - nth.get(b)).slice(0, ASKED_MAX));
  return found.filter((node) => asked.has(node));
}

/** What an execution read and gave of chunks: at which place, with which score. */
function stageOf(node, detail) {
  const ranked = (values) => {
    const found = new Map();
    for (const value of values) for (const chunk of chunksIn(value)) if (!found.has(chunk.id)) found.set(chunk.id, { rank: found.size + 1, chunk });
    return found;
  };
  const outputs = Object.entries(detail.outputs ?? {}).filter(([port]) => !LEFT_OUT.has(port)).map(([, value]) => value);
  const cited = new Map();
  for (const value of outputs) {
    const citations = isAnswer(value) ? value.citations : Array.isArray(value) ? value.filter((one) => one?.chunk_id) : [];
    for (const citation of citations) if (!cited.has(citation.chunk_id)) cited.set(citation.chunk_id, citation);
  }
  return { node, out: ranked(outputs), cited, read: ranked(Object.values(detail.inputs ?? {})) };
}

/** The executions of one node as one stage: the best place that a chunk had in any. */
function together(stages) {
  const by = new Map();
  for (const stage of stages) {
    const known = by.get(nodeOf(stage.node.scope));
    if (!known) {
      by.set(nodeOf(stage.node.scope), { ...stage, n: 1 });
      continue;
    }
    known.n += 1;
    for (const [id, one] of stage.out) if (!known.out.has(id) || one.rank < known.out.get(id).rank) known.out.set(id, one);
    for (const what of ["cited", "read"]) for (const [id, one] of stage[what]) if (!known[what].has(id)) known[what].set(id, one);
  }
  return [...by.values()];
}

export function Funnel({ run, onSelect, onChunk }) {
  const found = useMemo(() => candidates(run), [run.version.value]);
  const shown = useMemo(() => spread(found), [found]);
  const { value: stages, error, again } = useLoaded(
    async (signal) => {
      const details = await Promise.all(shown.map((node) => get(path`/v1/jobs/${run.id}/nodes/${node.scope}`, {}, { signal }).catch(() => null)));
      const all = shown.map((node, at) => details[at] && stageOf(node, details[at])).filter((stage) => stage && (stage.out.size || stage.cited.size));
      return all.length > APART_MAX ? together(all) : all;
    },
    [shown.map((node) => node.scope).join(" ")],
  );
  if (error) return html`<${Failure} error=${error} again=${again} />`;
  if (!stages) return html`<${Loading} what="Looking at the chunks" />`;
  if (stages.length === 0) return html`<${Empty} icon="indexes" title="No chunks"><p>No node of this run has given any chunks${run.state.value === "live" ? " yet" : ""}.</p><//>`;
  return html`<${Stages} stages=${stages} left=${found.length - shown.length} onSelect=${onSelect} onChunk=${onChunk} />`;
}

/** What a stage is called: its node, and in which turn or item if it is one of several. */
function wordOf({ node, n }) {
  const index = node.scope.match(/\[(\d+)\][^[]*$/)?.[1];
  return index === undefined || n > 1 ? nameOf(node) : `${nameOf(node)} ${index}`;
}

function Stages({ stages, left, onSelect, onChunk }) {
  const [more, setMore] = useState(ROWS);
  const columns = [];
  for (const stage of stages) {
    if (stage.out.size) columns.push({ key: stage.node.scope, stage, chunks: stage.out });
    if (stage.cited.size) columns.push({ key: `${stage.node.scope} cited`, stage, chunks: stage.cited, isCited: true });
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
    <ol class="funnel-bars" aria-label="Chunks by stage" tabindex="0">${columns.map((column) => html`<li key=${column.key}>
      <button class="funnel-bar" onClick=${() => onSelect(column.stage.node.scope)} title=${column.stage.node.scope}>
        <span class="num">${column.chunks.size}</span><i style=${{ height: `${Math.max(6, (72 * column.chunks.size) / most)}px` }} class=${column.isCited ? "cited" : ""}></i>
        <span class="cut">${column.isCited ? "cited" : wordOf(column.stage)}</span><span class="dim cut">${column.isCited ? nameOf(column.stage.node) : column.stage.node.op}</span>
        ${column.stage.n > 1 && html`<span class="dim">${many(column.stage.n, "time")}</span>`}
      </button></li>`)}</ol>
    ${left > 0 && html`<p class="dim">Of ${many(left + stages.reduce((sum, stage) => sum + (stage.n ?? 1), 0), "execution")} the first of each node; the others can be looked at one by one.</p>`}
    <div class="scroll-x card funnel-scroll" tabindex="0" role="region" aria-label="Chunks and the stages that kept them"><table class="plain funnel-table">
      <thead><tr><th>Chunk</th>${columns.map((column) => html`<th key=${column.key} class="n" title=${nodeOf(column.stage.node.scope)}>${column.isCited ? "cited" : wordOf(column.stage)}</th>`)}</tr></thead>
      <tbody>${ids.slice(0, more).map((id) => {
        const chunk = all.get(id);
        return html`<tr key=${id}><td><button class="plain-link cut" title=${placeOf(chunk)} onClick=${() => onChunk(chunk, columns.findLast((column) => column.isCited && column.chunks.has(id))?.chunks.get(id))}>${placeOf(chunk)}</button>
          <div class="dim cut chunk-line">${chunk.text}</div></td>
          ${columns.map((column) => html`<${Cell} key=${column.key} column=${column} id=${id} />`)}</tr>`;
      })}</tbody></table></div>
    ${ids.length > more && html`<button class="btn small" onClick=${() => setMore(more + 200)}>Show more of ${ids.length}</button>`}
  </div>`;
}

/** A chunk in a stage. Only who came in can be dropped: two searches side by side drop nothing of one another. */
function Cell({ column, id }) {
  const one = column.chunks.get(id);
  if (!one) {
    const cameIn = column.stage.read.has(id);
    if (!cameIn) return html`<td class="n"><span class="dim" title="It did not come here">·</span></td>`;
    return column.isCited ? html`<td class="n"><span class="dim">read</span></td>` : html`<td class="n"><span class="fell">dropped</span></td>`;
  }
  if (column.isCited) return html`<td class="n"><span class="chip good">cited</span></td>`;
  return html`<td class="n"><span class="rank-chip">${one.rank}</span>${typeof one.chunk.score === "number" && html`<span class="dim"> ${score(one.chunk.score)}</span>`}</td>`;
}
