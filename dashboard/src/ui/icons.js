// Drawings of 16 by 16, in the colour of the text around them.

import { html } from "../../vendor/core.js";

const PATHS = {
  runs: "M3 4h10M3 8h10M3 12h6",
  flows: "M4 2.5v3.2c0 2.3 8 2.3 8 4.6v3.2M12 2.5v3.2c0 2.3-8 2.3-8 4.6v3.2",
  operators: "M2.5 5.5 8 2.5l5.5 3-5.5 3zM2.5 8.5 8 11.5l5.5-3M2.5 11 8 14l5.5-3",
  indexes: "M3 4c0-1 2.2-1.8 5-1.8S13 3 13 4s-2.2 1.8-5 1.8S3 5 3 4zm0 0v8c0 1 2.2 1.8 5 1.8s5-.8 5-1.8V4M3 8c0 1 2.2 1.8 5 1.8S13 9 13 8",
  models: "M4.5 4.5h7v7h-7zM6.5 2v2.5M9.5 2v2.5M6.5 11.5V14M9.5 11.5V14M2 6.5h2.5M2 9.5h2.5M11.5 6.5H14M11.5 9.5H14",
  playground: "M2.5 3.5h11v7.5H8l-3 2.5V11H2.5z",
  eval: "M2.5 13.5h11M4.5 11V8M8 11V3.5M11.5 11V6",
  search: "M7 11.5a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9zm3.3-1.2 3.2 3.2",
  close: "m4 4 8 8m0-8-8 8",
  down: "m4 6 4 4 4-4",
  right: "m6 4 4 4-4 4",
  left: "m10 4-4 4 4 4",
  play: "M5 3.5v9l7-4.5z",
  stop: "M4.5 4.5h7v7h-7z",
  retry: "M13 8a5 5 0 1 1-1.6-3.7M13 2.5v2.8h-2.8",
  copy: "M5.5 5.5h7.5V13H5.5zM3 10.5V3h7.5",
  compare: "M5 3v10M11 3v10M2.5 6 5 3l2.5 3M8.5 10l2.5 3 2.5-3",
  edit: "m3 13 .7-3L11 2.7l2.3 2.3L6 12.3z",
  plus: "M8 3v10M3 8h10",
  sun: "M8 11a3 3 0 1 0 0-6 3 3 0 0 0 0 6zM8 1.5v1.3M8 13.2v1.3M1.5 8h1.3M13.2 8h1.3M3.4 3.4l.9.9M11.7 11.7l.9.9M3.4 12.6l.9-.9M11.7 4.3l.9-.9",
  moon: "M13 9.5A5.5 5.5 0 0 1 6.5 3a5.5 5.5 0 1 0 6.5 6.5z",
  key: "M6 12.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5zm1.8-4.3L13 3m-2 2 2 2",
  fit: "M2.5 6V2.5H6M10 2.5h3.5V6M13.5 10v3.5H10M6 13.5H2.5V10",
  trash: "M3 4.5h10M6.5 4.5v-2h3v2M4.5 4.5l.6 9h5.8l.6-9",
  book: "M3 3h4a1.5 1.5 0 0 1 1 .5A1.5 1.5 0 0 1 9 3h4v9.5H9a1.5 1.5 0 0 0-1 .5 1.5 1.5 0 0 0-1-.5H3zM8 3.5V13",
  send: "M2.5 8 13.5 3l-4 10.5L7.5 9z",
};

/** The drawing called `name`. It says nothing by itself: a label stands beside it or on its button. */
export function Icon({ name, size = 16 }) {
  return html`<svg width=${size} height=${size} viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width="1.4"
    stroke-linecap="round" stroke-linejoin="round" aria-hidden="true"><path d=${PATHS[name]} /></svg>`;
}

export function Logo() {
  return html`<svg viewBox="0 0 32 32" aria-hidden="true"><rect width="32" height="32" rx="8" fill="#0b7285" /><path
    d="M16 4v5c0 4-7 4-7 8s7 4 7 8v3M16 9c0 4 7 4 7 8s-7 4-7 8" fill="none" stroke="#fff" stroke-width="2.6"
    stroke-linecap="round" /></svg>`;
}

const SHAPES = {
  succeeded: html`<svg viewBox="0 0 12 12" aria-hidden="true"><circle cx="6" cy="6" r="5.5" fill="currentColor" /><path
    d="m3.5 6.2 1.8 1.8 3.3-3.8" fill="none" stroke="var(--surface)" stroke-width="1.5" /></svg>`,
  failed: html`<svg viewBox="0 0 12 12" aria-hidden="true"><circle cx="6" cy="6" r="5.5" fill="currentColor" /><path
    d="m4 4 4 4m0-4L4 8" fill="none" stroke="var(--surface)" stroke-width="1.5" /></svg>`,
  running: html`<svg class="spinner" viewBox="0 0 12 12" aria-hidden="true"><circle cx="6" cy="6" r="4.7" fill="none"
    stroke="currentColor" stroke-opacity=".3" stroke-width="1.6" /><path d="M6 1.3A4.7 4.7 0 0 1 10.7 6" fill="none"
    stroke="currentColor" stroke-width="1.6" /></svg>`,
  waiting: html`<svg viewBox="0 0 12 12" aria-hidden="true"><circle cx="6" cy="6" r="4.8" fill="none" stroke="currentColor"
    stroke-width="1.4" /><path d="M6 3.2V6l1.8 1.2" fill="none" stroke="currentColor" stroke-width="1.4" /></svg>`,
  queued: html`<svg viewBox="0 0 12 12" aria-hidden="true"><circle cx="6" cy="6" r="4.8" fill="none" stroke="currentColor"
    stroke-width="1.4" stroke-dasharray="2.4 1.8" /></svg>`,
  cancelled: html`<svg viewBox="0 0 12 12" aria-hidden="true"><circle cx="6" cy="6" r="4.8" fill="none"
    stroke="currentColor" stroke-width="1.4" /><path d="M3.8 6h4.4" stroke="currentColor" stroke-width="1.4" /></svg>`,
  timed_out: html`<svg viewBox="0 0 12 12" aria-hidden="true"><circle cx="6" cy="6" r="5.5" fill="currentColor" /><path
    d="M6 3v3l1.8 1.2" fill="none" stroke="var(--surface)" stroke-width="1.5" /></svg>`,
  skipped: html`<svg viewBox="0 0 12 12" aria-hidden="true"><path d="M3 2.5 6.5 6 3 9.5M6.5 2.5 10 6 6.5 9.5" fill="none"
    stroke="currentColor" stroke-width="1.4" /></svg>`,
};

const WORDS = { timed_out: "timed out" };

/** What a status is called. */
export const statusWord = (status) => WORDS[status] ?? status;

/** Where a job or a node is: shape and word. */
export function Status({ status, word }) {
  return html`<span class=${`status is-${status}`}>${SHAPES[status] ?? SHAPES.queued}${word ?? statusWord(status)}</span>`;
}

/** The shape alone, with the word for those who do not see it. */
export function Dot({ status }) {
  return html`<span class=${`dot is-${status}`} title=${statusWord(status)}>${SHAPES[status] ?? SHAPES.queued}<span
    class="sr">${statusWord(status)}</span></span>`;
}
