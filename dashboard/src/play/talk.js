// A conversation with a flow: every turn is a run that is followed to its end, whichever page is shown and whatever breaks.

import { signal } from "../../vendor/core.js";
import { get, path, post } from "../api.js";
import { isAnswer } from "../ui/records.js";
import { follow } from "../stream.js";

/** Turns of a conversation that are handed on to a flow that takes them. */
const TURNS_MAX = 40;

/** The conversations of this tab, by flow. */
const talks = new Map();

/** The conversation with a flow; what was said stays while the page is elsewhere. */
export function talkWith(flow) {
  if (!talks.has(flow)) talks.set(flow, new Talk(flow));
  return talks.get(flow);
}

/** The answer in words: what is handed on as said. */
function textOf(outputs) {
  const values = Object.values(outputs ?? {});
  return values.find(isAnswer)?.text ?? values.find((value) => typeof value === "string") ?? JSON.stringify(outputs);
}

class Talk {
  constructor(flow) {
    this.flow = flow;
    /** `{said, isOpen, job?, text, writer?, steps, waits, answer?, error?, isBroken?}`, oldest first. */
    this.turns = signal([]);
    this.begin();
  }

  /** Forgets what was said. A run that is under way goes on, and is in the list of runs. */
  begin() {
    this.stop?.abort();
    this.stop = new AbortController();
    this.session = `play-${crypto.randomUUID?.() ?? Math.random().toString(36).slice(2)}`;
    this.turns.value = [];
  }

  get isBusy() {
    return Boolean(this.turns.value.at(-1)?.isOpen);
  }

  /** What was said before, as messages. */
  past() {
    const told = this.turns.value.filter((turn) => turn.answer);
    return told.flatMap((turn) => [{ role: "user", content: turn.said }, { role: "assistant", content: textOf(turn.answer) }]).slice(-TURNS_MAX);
  }

  /** Submits a turn and follows it. A refusal is thrown. */
  async ask(said, inputs) {
    const { signal: stop } = this.stop;
    const at = this.turns.value.length;
    const change = (by) => {
      if (stop.aborted) return;
      this.turns.value = this.turns.value.map((turn, index) => (index === at ? { ...turn, ...by(turn) } : turn));
    };
    this.turns.value = [...this.turns.value, { said, isOpen: true, text: "", steps: new Map(), waits: [] }];
    try {
      const job = await post("/v1/jobs", { flow: this.flow, inputs, session_id: this.session, labels: { from: "playground" } }, { signal: stop });
      change(() => ({ job }));
      await follow(path`/v1/jobs/${job.id}/events`, {
        signal: stop,
        onEvent: ({ data }) => change((turn) => happened(turn, data)),
        onState: (state, error) => change(() => ({ isBroken: state === "broken", ...(state === "over" && error ? { isOpen: false, error } : {}) })),
      });
      // The end may have come while nobody heard it.
      if (!stop.aborted && this.turns.value[at]?.isOpen) {
        const ended = await get(path`/v1/jobs/${job.id}`, {}, { signal: stop });
        change(() => over(ended));
      }
    } catch (error) {
      if (error.name === "AbortError") return;
      change(() => ({ isOpen: false, error }));
      throw error;
    }
  }
}

const over = (job) => ({ isOpen: false, waits: [], job, answer: job.outputs, error: job.error ?? null });

/** What an event makes of a turn. */
function happened(turn, event) {
  const steps = new Map(turn.steps);
  const step = (status, op) => ({ steps: steps.set(event.node, { op: op ?? steps.get(event.node)?.op, status }) });
  switch (event.type) {
    case "snapshot": {
      const text = (event.texts ?? []).findLast((one) => one.node === turn.writer || !turn.writer);
      return { job: event.job, waits: event.job.waits ?? [], ...(text ? { writer: text.node, text: text.text } : {}) };
    }
    case "node_started":
      return { ...step("running", event.op), ...(turn.writer === event.node ? { text: "" } : {}) };
    case "node_ended":
      return step(event.error ? "failed" : "succeeded", event.op);
    case "wait_opened":
      return step("waiting", "wait");
    case "wait_shown":
      return { waits: [...turn.waits.filter((wait) => wait.wait !== event.wait.wait), event.wait] };
    case "wait_answered":
      return { ...step("succeeded"), waits: turn.waits.filter((wait) => wait.wait !== event.node) };
    case "delta":
      return { writer: event.node, text: (turn.writer === event.node ? turn.text : "") + event.text };
    case "job_ended":
      return over(event.job);
    default:
      return {};
  }
}
