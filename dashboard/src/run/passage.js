// Where a passage comes from: its chunk among the others of its document, with the cited words marked.

import { html, useEffect, useRef } from "../../vendor/core.js";
import { get, path } from "../api.js";
import { score } from "../format.js";
import { Dialog, useLoaded } from "../ui/parts.js";
import { Marked, placeOf } from "../ui/records.js";

/** Chunks of the document that are shown around the passage, on either side. */
const AROUND = 3;

/** The indexes that a flow names, the one to be asked first first. */
export function indexesOf(plan) {
  const found = new Set();
  const visit = (nodes) => {
    for (const node of nodes ?? []) {
      const name = node.with?.index;
      if (typeof name === "string" && !name.includes("${")) found.add(name);
      visit(node.nodes);
    }
  };
  visit(plan?.nodes);
  for (const name of plan?.indexes ?? []) found.add(name);
  return [...found];
}

export function Passage({ chunk, citation, indexes, onClose }) {
  const doc = chunk?.doc ?? citation.doc;
  const { value: document } = useLoaded(
    async (signal) => {
      for (const index of indexes) {
        const found = await get(path`/v1/indexes/${index}/documents/${doc}`, {}, { signal }).catch(() => null);
        if (found) return { index, ...found };
      }
      return { chunks: [] };
    },
    [doc],
  );
  const id = chunk?.id ?? citation.chunk_id;
  const all = document?.chunks ?? [];
  const at = all.findIndex((one) => one.id === id);
  const shown = chunk ?? all[at];
  const around = at < 0 ? (shown ? [shown] : []) : all.slice(Math.max(0, at - AROUND), at + AROUND + 1);
  const here = useRef(null);
  useEffect(() => here.current?.scrollIntoView({ block: "center" }), [document]);
  return html`<${Dialog} title=${placeOf(shown ?? { doc, lines: citation?.lines })} onClose=${onClose} wide=${true}>
    <div class="stack">
      <div class="row wrap">
        ${document?.index && html`<span class="chip">index ${document.index}</span>`}
        ${shown?.title && html`<span class="chip">${shown.title}</span>`}
        ${(shown?.headings ?? []).length > 0 && html`<span class="dim">${shown.headings.join(" › ")}</span>`}
        ${typeof shown?.score === "number" && html`<span class="chip num">score ${score(shown.score)}</span>`}
        ${shown?.tokens !== undefined && html`<span class="dim num">${shown.tokens} tokens</span>`}
      </div>
      ${!shown && (document ? html`<p class="dim">The document is not in an index of this service any more.</p>` : html`<p class="dim">Looking for the document…</p>`)}
      <div class="passages">${around.map((one) => html`<div key=${one.id} ref=${one.id === id ? here : undefined} class=${`passage ${one.id === id ? "here" : ""}`}>
        ${one.id === id ? html`<${Marked} chunk=${one} range=${citation?.range} quote=${citation?.quote} />` : html`<span class="value-text dim">${one.text}</span>`}</div>`)}</div>
    </div>
  <//>`;
}
