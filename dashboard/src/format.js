// How times, counts and money are written.

const number = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const percent = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });

/** `184 ms`, `2.4 s`, `3 m 12 s`, `5 h 04 m`. */
export function duration(ms) {
  if (ms === null || ms === undefined || Number.isNaN(ms)) return "–";
  if (ms < 1) return ms <= 0 ? "0 ms" : `${ms.toFixed(2)} ms`;
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  const seconds = ms / 1_000;
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(2) : seconds.toFixed(1)} s`;
  const minutes = Math.floor(seconds / 60);
  const two = (n) => String(Math.floor(n)).padStart(2, "0");
  if (minutes < 60) return `${minutes} m ${two(seconds % 60)} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${two(minutes % 60)} m` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** A point on the axis of a waterfall: short, and exact enough for its step. */
export function tick(ms, step) {
  if (step >= 3_600_000) return `${number.format(ms / 3_600_000)} h`;
  if (step >= 60_000) return `${number.format(ms / 60_000)} m`;
  if (step >= 1_000 || ms >= 10_000) return `${number.format(ms / 1_000)} s`;
  return `${number.format(ms)} ms`;
}

/** `just now`, `4 m ago`, `Nov 3, 14:02:11`. */
export function ago(text, now = Date.now()) {
  const then = Date.parse(text);
  if (Number.isNaN(then)) return "–";
  const seconds = (now - then) / 1_000;
  if (seconds < -60) return `in ${duration(-seconds * 1_000)}`;
  if (seconds < 5) return "just now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} m ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)} h ago`;
  return `${day.format(then)}, ${clock.format(then)}`;
}

/** The time in full, for titles. */
export function when(text) {
  const then = Date.parse(text);
  return Number.isNaN(then) ? "" : full.format(then);
}

export const count = (n) => (n === null || n === undefined ? "–" : n < 10_000 ? number.format(n) : compact.format(n));
export const exact = (n) => number.format(n);
export const share = (part, whole) => (whole ? percent.format(part / whole) : "–");
/** A score with the digits that tell scores apart. */
export const score = (n) => (Math.abs(n) >= 100 ? n.toFixed(1) : Math.abs(n) >= 1 ? n.toFixed(3) : n.toFixed(4));

/** Money of the price table, which names no currency. */
export function cost(n) {
  if (!n) return "0";
  return n < 0.0001 ? n.toExponential(1) : n < 1 ? n.toFixed(4) : number.format(n);
}

/** `job_019…7f3a`: enough of an id to know it by. */
export function shortId(id) {
  return id.length > 16 ? `${id.slice(0, 4)}…${id.slice(-8)}` : id;
}

/** `1 run`, `2 runs`. */
export const many = (n, word) => `${count(n)} ${word}${n === 1 ? "" : "s"}`;

/** How long a job took, or has taken so far. */
export function took(job, now = Date.now()) {
  if (!job.started_at) return null;
  const end = job.finished_at ? Date.parse(job.finished_at) : now;
  return Math.max(0, end - Date.parse(job.started_at));
}
