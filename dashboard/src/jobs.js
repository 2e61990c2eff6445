// What can be done with jobs, one or many.

import { call, path, post } from "./api.js";
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
  if (!(await confirm(open.length === 1 ? "Cancel this run?" : `Cancel ${many(open.length, "run")}?`, text, { yes: "Cancel", danger: true }))) return undefined;
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
  if (!(await confirm("Delete this run?", "Its journal and all that it gave are gone for good.", { yes: "Delete", danger: true }))) return false;
  await call("DELETE", path`/v1/jobs/${job.id}`);
  toast("Deleted the run");
  return true;
}

/** The inputs as a line: what tells one run from another. */
export function asCurl(job) {
  const body = JSON.stringify({ flow: job.version ? `${job.flow}@${job.version}` : job.flow, inputs: job.inputs ?? {} });
  const where = new URL("../v1/jobs", document.baseURI);
  return `curl ${where} -H 'Content-Type: application/json'${""} \\\n  -d ${quoted(body)}`;
}

export function asCommand(job) {
  const inputs = Object.entries(job.inputs ?? {}).map(([name, value]) => {
    const text = typeof value === "string" ? value : JSON.stringify(value);
    return `-i ${quoted(`${name}=${text}`)}`;
  });
  return ["anabranch jobs submit", job.flow, ...inputs].join(" ");
}

/** A text as one word of a shell. */
function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
