// The records that travel on ports: chunks, answers, messages.

import { html, useState } from "../../vendor/core.js";
import { score } from "../format.js";
import { Prose } from "./prose.js";

/** Chunks that are shown at first. */
const CHUNKS = 20;

const isMap = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

export const isChunk = (value) => isMap(value) && typeof value.id === "string" && typeof value.text === "string" && "doc" in value && "range" in value;
export const isAnswer = (value) => isMap(value) && typeof value.text === "string" && Array.isArray(value.citations) && "grounded" in value;
export const isCitation = (value) => isMap(value) && typeof value.chunk_id === "string" && "doc" in value;
export const isMessage = (value) => isMap(value) && typeof value.role === "string" && typeof value.content === "string";

/** The chunks in a value: itself, or what its lists hold. */
export function chunksIn(value) {
  if (isChunk(value)) return [value];
  if (Array.isArray(value)) return value.flatMap(chunksIn);
  return [];
}

/** Where a chunk is from: `docs/guide.md:12–18`. */
export function placeOf(chunk) {
  const { first, last } = chunk.lines ?? {};
  const lines = first ? (first === last ? `:${first}` : `:${first}–${last}`) : "";
  return `${chunk.doc}${lines}`;
}

/** The text of a chunk with the passage between these bytes of its source marked. */
export function Marked({ chunk, range, quote }) {
  const at = passage(chunk, range, quote);
  if (!at) return html`<span class="value-text">${chunk.text}</span>`;
  const [from, to] = at;
  return html`<span class="value-text">${chunk.text.slice(0, from)}<mark>${chunk.text.slice(from, to)}</mark>${chunk.text.slice(to)}</span>`;
}

/** From where to where in the text of a chunk a citation is, in UTF-16 units; null if it is all of it. */
export function passage(chunk, range, quote) {
  if (quote) {
    const from = chunk.text.indexOf(quote);
    if (from >= 0) return [from, from + quote.length];
  }
  if (!range || !chunk.range) return null;
  const bytes = new TextEncoder().encode(chunk.text);
  // Only where the text is that of the source, byte for byte, does the range say where in it.
  if (bytes.length !== chunk.range.end - chunk.range.start) return null;
  const [from, to] = [range.start - chunk.range.start, range.end - chunk.range.start];
  if (from < 0 || to > bytes.length || from >= to || (from === 0 && to === bytes.length)) return null;
  const units = (end) => new TextDecoder().decode(bytes.slice(0, end)).length;
  return [units(from), units(to)];
}

export function Chunks({ chunks, onChunk }) {
  const [more, setMore] = useState(CHUNKS);
  const best = Math.max(...chunks.map((chunk) => chunk.score ?? 0));
  return html`<ol class="chunks">${chunks.slice(0, more).map((chunk, at) => html`<li key=${`${at}${chunk.id}`} class="chunk">
    <button class="chunk-head" onClick=${() => onChunk?.(chunk)}>
      <span class="rank num">${at + 1}</span>
      <span class="grow cut">${chunk.title ? html`<b>${chunk.title}</b> ` : ""}<span class="dim">${placeOf(chunk)}</span></span>
      ${typeof chunk.score === "number" && html`<span class="num score" title="Score">${score(chunk.score)}</span>`}
    </button>
    ${typeof chunk.score === "number" && best > 0 && html`<div class="score-bar" aria-hidden="true"><i style=${{ width: `${Math.max(2, (100 * Math.max(0, chunk.score)) / best)}%` }}></i></div>`}
    <p class="chunk-text">${chunk.text}</p>
  </li>`)}</ol>
  ${chunks.length > more && html`<button class="btn small" onClick=${() => setMore(more + 100)}>Show more of ${chunks.length}</button>`}`;
}

/** An answer with its citations as buttons: `[1]` in the text where it stands there, else in a row below it. */
export function Answer({ answer, onChunk }) {
  const n = answer.citations.length;
  const cite = (mark) => {
    const citation = answer.citations[mark - 1];
    return html`<button class="cite" title=${placeOf(citation)} aria-label=${`Source ${mark}: ${placeOf(citation)}`}
      onClick=${() => onChunk?.(null, citation)}>${mark}</button>`;
  };
  const { seen } = cited(answer.text, n);
  const left = answer.citations.map((_, at) => at + 1).filter((mark) => !seen.has(mark));
  return html`<div class="answer">
    <${Prose} text=${answer.text} inline=${(text) => cited(text, n).parts.map((part) => (typeof part === "number" ? cite(part) : part))} />
    <div class="row wrap answer-foot">
      ${left.map(cite)}
      <span class=${`chip ${answer.grounded ? "good" : ""}`} title="Whether every citation names a passage that was given">${answer.grounded ? "grounded" : "not grounded"}</span>
      ${answer.by && html`<span class="dim">by ${answer.by}</span>`}
    </div>
  </div>`;
}

/** Citations by themselves, each a way to its passage. */
export function Citations({ citations, onChunk }) {
  return html`<ol class="citations">${citations.map((citation, at) => html`<li key=${at}><button class="cite" aria-label=${`Source ${at + 1}: ${placeOf(citation)}`} onClick=${() => onChunk?.(null, citation)}>${at + 1}</button>
    <span>${placeOf(citation)}${citation.quote && html`<span class="dim cut-2">${citation.quote}</span>`}</span></li>`)}</ol>`;
}

/** A text cut at its marks: `["See ", 1, "."]`, and which marks there are. */
export function cited(text, n) {
  const parts = [];
  const seen = new Set();
  let from = 0;
  for (const found of text.matchAll(/\[(\d{1,3})\]/g)) {
    const mark = Number(found[1]);
    if (mark < 1 || mark > n) continue;
    parts.push(text.slice(from, found.index), mark);
    seen.add(mark);
    from = found.index + found[0].length;
  }
  parts.push(text.slice(from));
  return { parts, seen };
}

export function Messages({ messages }) {
  return html`<ol class="messages">${messages.map((message, at) => html`<li key=${at} class=${`message ${message.role}`}>
    <div class="label">${message.role}</div><div class="value-text">${message.content}</div></li>`)}</ol>`;
}
