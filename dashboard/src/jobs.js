// What can be done with jobs, one or many.

import { call, key, path, post } from "./api.js";
import { many } from "./format.js";
import { href } from "./router.js";
import { confirm, fail, toast } from "./ui/parts.js";

/** Requests that are under way at once where many jobs are meant. */
const AT_ONCE = 6;

export const FINAL = new Set(["succeeded", "failed", "cancelled", "timed_out"]);
export const STATUSES = ["queued", "running", "waiting", "succeeded", "failed", "cancelled", "timed_out"];

export const isOver = (job) => FINAL.has(job.status);

/** Does `work` with each of `items`, a few at a time; how many went well, and the first failure. */
export async function each(items, work) {
  const left = [...items];
  let done = 0;
  let first = null;
  const one = async () => {
    for (let item = left.shift(); item !== undefined; item = left.shift()) {
      try {
        await work(item);
        done += 1;
      } catch (error) {
        first ??= error;
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, one));
  return { done, first };
}

/** Cancels jobs; asks first when there are several. */
export async function cancel(jobs) {
  const open = jobs.filter((job) => !isOver(job));
  if (open.length === 0) return toast("Nothing to cancel: these runs have ended");
  const text = open.length === 1 ? "What is in flight is stopped; what it has done stays." : `${many(open.length, "run")} will stop.`;
  if (!(await confirm(open.length === 1 ? "Cancel this run?" : `Cancel ${many(open.length, "run")}?`, text, { yes: open.length === 1 ? "Cancel the run" : "Cancel the runs", no: open.length === 1 ? "Let it run" : "Let them run", danger: true }))) return undefined;
  const { done, first } = await each(open, (job) => post(path`/v1/jobs/${job.id}/cancel`, { mode: "now" }));
  if (done) toast(`Cancelled ${many(done, "run")}`);
  if (first) fail(first);
  return done;
}

/** Repeats a job; the new one. */
export async function retry(job, from = "failed", patch) {
  return post(path`/v1/jobs/${job.id}/retry`, { from, ...(patch ? { patch } : {}) }, { headers: { "idempotency-key": crypto.randomUUID?.() ?? String(Math.random()) } });
}

/** Repeats every job that failed or was stopped, from where it failed. */
export async function retryAll(jobs) {
  const over = jobs.filter((job) => isOver(job) && job.status !== "succeeded");
  if (over.length === 0) return toast("Nothing to retry: none of these runs failed");
  const made = [];
  const { done, first } = await each(over, async (job) => made.push(await retry(job)));
  if (done) toast(`Began ${many(done, "new run")}`, { action: made.length === 1 ? { text: "Show it", href: href(["runs", made[0].id]) } : undefined });
  if (first) fail(first);
  return done;
}

export async function remove(job) {
  if (!(await confirm("Delete this run?", "Its journal and all that it gave are gone for good.", { yes: "Delete", no: "Keep", danger: true }))) return false;
  await call("DELETE", path`/v1/jobs/${job.id}`);
  toast("Deleted the run");
  return true;
}

/** Where the API is, as others reach it. */
const root = () => new URL("..", document.baseURI).href.replace(/\/$/, "");

/** A request that does the same again. Of a flow that was never saved, only the run itself knows the text. */
export function asCurl(job) {
  const named = job.version ? { flow: `${job.flow}@${job.version}`, inputs: job.inputs ?? {}, ...asked(job) } : { from: "start" };
  const where = job.version ? `${root()}/v1/jobs` : `${root()}${path`/v1/jobs/${job.id}/retry`}`;
  const lines = [`curl ${where}`, "-H 'Content-Type: application/json'", ...(key() ? ['-H "Authorization: Bearer $ANABRANCH_KEY"'] : []), `-d ${quoted(JSON.stringify(named))}`];
  return lines.join(" \\\n  ");
}

/** The same as a command; the key stands in ANABRANCH_KEY. */
export function asCommand(job) {
  const to = `--server ${word(root())}`;
  if (!job.version) return `anabranch jobs retry ${job.id} --from start ${to}`;
  const inputs = Object.entries(job.inputs ?? {}).map(([name, value]) => `-i ${word(`${name}=${written(value)}`)}`);
  const { labels, session_id, budget } = asked(job);
  const more = Object.entries(labels ?? {}).map(([name, value]) => `--label ${word(`${name}=${value}`)}`);
  if (session_id) more.push(`--session ${word(session_id)}`);
  const limits = Object.entries(budget ?? {}).map(([name, value]) => `${name}=${value}`);
  if (limits.length) more.push(`--budget ${word(limits.join(","))}`);
  return ["anabranch jobs submit", word(`${job.flow}@${job.version}`), ...inputs, ...more, to].join(" ");
}

/** What was asked for besides the inputs, without what was left as it is. */
function asked({ labels, session_id, budget }) {
  const set = Object.fromEntries(Object.entries(budget ?? {}).filter(([, limit]) => limit !== null));
  return {
    ...(Object.keys(labels ?? {}).length ? { labels } : {}),
    ...(session_id ? { session_id } : {}),
    ...(Object.keys(set).length ? { budget: set } : {}),
  };
}

/** A value as the command line reads it: a text that begins with an `@` is no file. */
const written = (value) => (typeof value === "string" ? value.replace(/^@/, "@@") : JSON.stringify(value));

/** A text as one word of a shell, in quotes only where it needs them. */
const word = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : quoted(text));

function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
