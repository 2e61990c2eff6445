// A run as the dashboard knows it: its job, and what became of every node execution, kept up to date by its events.

import { signal } from "../../vendor/core.js";
import { get, path } from "../api.js";
import { isOver } from "../jobs.js";
import { follow } from "../stream.js";

/** Shortest time between two drawings of a run that moves, in milliseconds. */
const DRAW_MS = 120;
/** Longest text of a node that is kept while it is written, in characters. */
const TEXT_CHARS = 200_000;

/** The path without its turns and items: which node of the flow this is an execution of. */
export const placeOf = (scope) => scope.replace(/\[\d+\]/g, "");

/** The path that a path is directly inside of: `fan[2]/read` is in `fan[2]`, which is in `fan`. */
export function parentOf(scope) {
  if (scope.endsWith("]")) return scope.slice(0, scope.lastIndexOf("["));
  const at = scope.lastIndexOf("/");
  return at < 0 ? "" : scope.slice(0, at);
}

/** Which turn or item a path is; the branch for errors stands last. */
const indexOf = (scope) => (scope.endsWith("]") ? Number(scope.slice(scope.lastIndexOf("[") + 1, -1)) : Infinity);

/** The last part of a path, as it is shown: `read`, `turn 2`, `item 17`. */
export function nameOf(node) {
  if (!node.isPart) return node.scope.slice(node.scope.lastIndexOf("/") + 1);
  if (node.scope.endsWith("/on_error")) return "on error";
  const index = node.scope.slice(node.scope.lastIndexOf("[") + 1, -1);
  return node.part === "loop" ? `turn ${index}` : `item ${index}`;
}

export class Run {
  constructor(id) {
    this.id = id;
    this.job = null;
    this.error = signal(null);
    /** Grows whenever something has changed: what is drawn reads it. */
    this.version = signal(0);
    /** `live`, `broken`, `over`, or `loading`. */
    this.state = signal("loading");
    this.graph = null;
    this.plan = null;
    this.nodes = new Map();
    this.roots = [];
    this.texts = new Map();
    this.notes = new Map();
    this.stop = new AbortController();
    // How old the run was at a time of our own clock: what runs grows from there. Its age here is that of the wall's
    // clock; `rested` is how much of it no process had the run, which the service leaves out of its times.
    this.clock = { elapsed: 0, at: performance.now() };
    this.rested = 0;
  }

  async open() {
    try {
      await this.load();
      const graph = await get(path`/v1/jobs/${this.id}/graph`, { states: false }, { signal: this.stop.signal }).catch(() => null);
      this.graph = graph?.graph ?? null;
      this.plan = graph?.flow ?? null;
      this.changed();
      if (isOver(this.job)) this.state.value = "over";
      else this.watch();
    } catch (error) {
      if (error.name !== "AbortError") this.error.value = error;
    }
  }

  close() {
    this.stop.abort();
    clearTimeout(this.timer);
  }

  /** Reads everything anew. */
  async load() {
    const options = { signal: this.stop.signal };
    const [job, timeline] = await Promise.all([
      get(path`/v1/jobs/${this.id}`, {}, options),
      get(path`/v1/jobs/${this.id}/timeline`, {}, options),
    ]);
    this.job = job;
    this.upto = timeline.upto;
    const rests = timeline.rests ?? [];
    const wall = (ms, isAfter) => (ms === undefined ? null : rests.reduce((all, rest) => ((isAfter ? rest.at_ms <= ms : rest.at_ms < ms) ? all + rest.rested_ms : all), ms));
    this.rested = rests.reduce((all, rest) => all + rest.rested_ms, 0);
    this.clock = { elapsed: timeline.elapsed_ms + this.rested, at: performance.now() };
    this.nodes = new Map();
    this.roots = [];
    for (const item of timeline.items) {
      Object.assign(this.node(item.node), {
        op: item.op,
        status: item.status,
        attempts: item.attempts,
        kept: item.kept ?? false,
        began: wall(item.began_ms),
        // A wait ends with the rest that it caused.
        ended: wall(item.ended_ms, item.op === "wait"),
        queued: item.queued_ms,
        skipped: item.skipped,
        error: item.error,
        usage: item.usage,
      });
    }
    this.changed(true);
  }

  watch() {
    this.state.value = "live";
    follow(path`/v1/jobs/${this.id}/events`, {
      after: this.upto,
      signal: this.stop.signal,
      onEvent: ({ data }) => this.happened(data),
      onState: (state, error) => {
        this.state.value = state;
        if (state === "over" && error) this.error.value = error;
      },
    });
  }

  /** Now, in milliseconds after the run's begin. */
  now() {
    const { elapsed, at } = this.clock;
    return this.job && !isOver(this.job) ? elapsed + performance.now() - at : elapsed;
  }

  /** The node execution at a path; made with all that it is inside of if it is new. */
  node(scope) {
    const known = this.nodes.get(scope);
    if (known) return known;
    const isPart = scope.endsWith("]") || scope.endsWith("/on_error");
    const node = { scope, isPart, op: "", status: "running", attempts: 0, began: null, ended: null, queued: 0, children: [], order: this.nodes.size };
    this.nodes.set(scope, node);
    const above = parentOf(scope);
    if (above === "") {
      node.depth = 0;
      this.roots.push(node);
    } else {
      const parent = this.node(above);
      node.depth = parent.depth + 1;
      parent.children.push(node);
      if (isPart) node.part = parent.op || "each";
    }
    return node;
  }

  happened(event) {
    const age = event.elapsed_ms;
    // It goes on: what has passed since the last word of it, it rested.
    if (event.type === "job_taken_up" && age !== undefined && this.nodes.size > 0) this.rested = Math.max(this.rested, this.now() - age);
    const elapsed = age === undefined ? undefined : age + this.rested;
    if (elapsed !== undefined) this.clock = { elapsed, at: performance.now() };
    const handle = this[`on_${event.type}`];
    if (!handle) return;
    handle.call(this, event, elapsed ?? this.now());
    this.changed();
  }

  on_snapshot({ job, texts }) {
    this.job = job;
    for (const { node, text } of texts ?? []) this.texts.set(node, text);
  }

  on_node_started({ node, op, attempt }, now) {
    const one = this.node(node);
    Object.assign(one, { op, attempts: attempt, status: "running", ended: null, error: undefined });
    one.began ??= now;
    this.texts.delete(node);
  }

  on_node_ended({ node, op, attempt, error, usage, queued_ms, ran_ms }, now) {
    const one = this.node(node);
    const before = one.usage;
    Object.assign(one, { op, attempts: attempt, status: error ? "failed" : "succeeded", error, ended: now });
    if (one.began === null || attempt === 1) one.began = Math.max(0, now - ran_ms - queued_ms);
    one.queued += queued_ms;
    one.usage = before ? sum(before, usage) : usage;
    this.job = { ...this.job, usage: sum(this.job.usage, usage) };
  }

  on_node_aborted({ node, usage }, now) {
    const one = this.node(node);
    Object.assign(one, { status: "cancelled", ended: now, usage: sum(one.usage, usage) });
  }

  on_node_given({ node, error }, now) {
    Object.assign(this.node(node), { status: error ? "failed" : "succeeded", error, kept: true, began: now, ended: now });
  }

  on_node_skipped({ node, why }) {
    Object.assign(this.node(node), { status: "skipped", skipped: why });
  }

  on_wait_opened({ node }, now) {
    Object.assign(this.node(node), { op: "wait", status: "waiting", began: now });
    this.reloadJob();
  }

  on_wait_answered({ node }, now) {
    Object.assign(this.node(node), { status: "succeeded", ended: now });
    this.job = { ...this.job, waits: (this.job.waits ?? []).filter((wait) => wait.wait !== node) };
  }

  on_scope_opened({ node, kind, bound }) {
    Object.assign(this.node(node), { op: kind, status: "running", bound });
  }

  on_part_started({ node, index }) {
    this.node(`${node}[${index}]`);
  }

  on_scope_closed({ node, parts, error }) {
    Object.assign(this.node(node), { status: error ? "failed" : "succeeded", error, attempts: parts });
  }

  on_delta({ node, text }) {
    const all = (this.texts.get(node) ?? "") + text;
    this.texts.set(node, all.length > TEXT_CHARS ? all.slice(-TEXT_CHARS) : all);
  }

  on_note({ node, text }) {
    this.notes.set(node, text);
  }

  on_lagged() {
    this.load().catch(() => {});
  }

  on_job_ended({ job }) {
    this.job = job;
    // What was skipped or only told live is exact in the journal.
    this.load().catch(() => {});
  }

  async reloadJob() {
    this.job = await get(path`/v1/jobs/${this.id}`, {}, { signal: this.stop.signal }).catch(() => this.job);
    this.changed();
  }

  /** Has everything drawn again, soon. */
  changed(atOnce = false) {
    const draw = () => {
      this.timer = null;
      this.settle();
      this.version.value += 1;
    };
    if (atOnce) draw();
    else this.timer ??= setTimeout(draw, DRAW_MS);
  }

  /** Works out the times and states of what only holds others. */
  settle() {
    const isEnded = this.job && isOver(this.job);
    const visit = (node) => {
      node.inside = node.children.length;
      if (node.children.length === 0) return;
      // In the order of the turns and items, not of their ends.
      if (node.children[0].isPart) node.children.sort((a, b) => indexOf(a.scope) - indexOf(b.scope));
      let [began, ended, isOpen, isBad, isStopped, all] = [Infinity, -Infinity, false, false, false, "skipped"];
      for (const child of node.children) {
        visit(child);
        node.inside += child.inside;
        if (child.began !== null) began = Math.min(began, child.began);
        if (child.ended !== null) ended = Math.max(ended, child.ended);
        if (child.status === "running" || child.status === "waiting") isOpen = true;
        if (child.status === "failed") isBad = true;
        if (child.status === "cancelled") isStopped = true;
        if (child.status !== "skipped") all = "succeeded";
      }
      if (!node.op.includes(".")) node.began = began === Infinity ? null : began;
      if (node.isPart) node.status = isOpen && !isEnded ? "running" : isBad ? "failed" : isStopped ? "cancelled" : all;
      const isRunning = node.status === "running" || node.status === "waiting";
      node.ended = ended === -Infinity || isRunning ? null : ended;
      node.sum = node.children.reduce((all_, child) => sum(all_, child.sum ?? child.usage), node.op.includes(".") ? node.usage : undefined);
    };
    for (const root of this.roots) visit(root);
  }
}

/** Two usages together. */
export function sum(a, b) {
  if (!a || !b) return a ?? b;
  const all = {};
  for (const name of ["model_calls", "unanswered_calls", "encoder_calls", "prompt_tokens", "cached_tokens", "completion_tokens", "cost"]) all[name] = (a[name] ?? 0) + (b[name] ?? 0);
  return all;
}
