// Models: the servers behind them as this process sees them, and what was used over time.

import { html, useMemo, useState } from "../../vendor/core.js";
import { get } from "../api.js";
import { cost, count, duration, share } from "../format.js";
import { usePoll } from "../poll.js";
import { href } from "../router.js";
import { Chart } from "../ui/chart.js";
import { Empty, Failure, Loading, useLoaded } from "../ui/parts.js";

const DAY_S = 86_400;
const SPANS = [[7, "7 days"], [30, "30 days"], [90, "90 days"]];
const POLICIES = { round_robin: "in turn", least_loaded: "least loaded", prefix_affinity: "by prefix", session: "by conversation", external: "a router of its own" };

export default function Models() {
  return html`<div class="page"><header><div><h1>Models</h1><p class="dim">Who answers, how busy they are, and what it cost.</p></div></header><${Servers} /><${Used} /></div>`;
}

function Servers() {
  const [state, setState] = useState({});
  usePoll(
    async (signal) => {
      try {
        const value = await get("/v1/backends", {}, { signal });
        setState({ value });
        return value.items.some((one) => one.queue.interactive + one.queue.batch > 0 || one.replicas.some((replica) => replica.in_flight > 0));
      } catch (error) {
        if (error.name === "AbortError") return false;
        // An older service does not tell.
        if (error.status === 404) setState({ isUntold: true });
        else setState((old) => (old.value ? old : { error }));
        return false;
      }
    },
    [],
    { fast: 1_000, slow: 8_000 },
  );
  const { value, error, isUntold } = state;
  if (isUntold) return html`<div class="note dim">This service does not tell how its model servers are.</div>`;
  if (error) return html`<${Failure} error=${error} />`;
  if (!value) return html`<${Loading} what="Asking after the servers" />`;
  if (value.items.length === 0) {
    return html`<div class="card"><${Empty} icon="models" title="No models on servers"><p>Readers select sentences by themselves until <code>anabranch.yaml</code> names a server:</p>
      <pre class="code">models:
  default: { url: "http://localhost:8000" }</pre><//></div>`;
  }
  return html`<section class="stack" aria-label="Models on servers">${value.items.map((model) => html`<${Model} key=${model.model} model=${model} />`)}
    <p class="dim">As the process <code>${value.worker}</code> sees them, since it began.</p></section>`;
}

function Model({ model }) {
  const { queue, refused, retries } = model;
  const waiting = queue.interactive + queue.batch;
  const turned = refused.full + refused.late + refused.down;
  const moved = retries.overloaded + retries.timed_out + retries.unavailable + retries.garbled;
  return html`<article class="card"><header><h2>${model.model}</h2><span class="chip">${POLICIES[model.policy] ?? model.policy}</span><span class="end dim num">${model.replicas.length === 1 ? "one server" : `${model.replicas.length} servers`}</span></header>
    <dl class="facts model-facts">
      <div><dt>waiting</dt><dd>${count(waiting)}${queue.batch > 0 ? ` (${count(queue.batch)} of batches)` : ""}</dd></div>
      ${queue.wait.count > 0 && html`<div><dt>waited</dt><dd>${duration(queue.wait.p50_ms)} median, ${duration(queue.wait.p95_ms)} p95</dd></div>`}
      <div><dt>cached</dt><dd>${model.cached_share === null ? "–" : share(model.cached_share, 1)}</dd></div>
      ${turned > 0 && html`<div><dt>refused</dt><dd class="bad-text">${count(turned)}</dd></div>`}
      ${moved > 0 && html`<div><dt>sent again elsewhere</dt><dd>${count(moved)}</dd></div>`}
      ${shared(model.sharing).map(([what, how]) => html`<div key=${what}><dt>${what}</dt><dd>${how}</dd></div>`)}
    </dl>
    <div class="scroll-x" tabindex="0" role="region" aria-label=${`Servers of ${model.model}`}><table class="plain"><thead><tr><th>Server</th><th>State</th><th>Load</th><th class="n">Answered</th><th class="n">Failed</th><th class="n">Median</th><th class="n">p95</th><th class="n">Tokens/s</th><th class="n">Cached</th></tr></thead>
      <tbody>${model.replicas.map((replica) => html`<${Replica} key=${replica.index} replica=${replica} />`)}</tbody></table></div></article>`;
}

/** How calls were spared or made cheaper by others, as far as they were. */
function shared(sharing) {
  if (!sharing) return []; // An older service does not tell.
  const { single_flight, cache, warmup, hedges } = sharing;
  const kept = cache ? cache.hits + cache.disk_hits : 0;
  return [
    kept > 0 && ["answered from the cache", `${count(kept)} (${share(kept, kept + cache.misses)})`],
    single_flight > 0 && ["answered with an identical call", count(single_flight)],
    warmup.followed > 0 && ["let one go first", `${count(warmup.followed)} behind ${count(warmup.led)}`],
    hedges.sent > 0 && ["asked twice for being late", `${count(hedges.sent)}, the second was faster ${count(hedges.won)} times`],
  ].filter(Boolean);
}

const BREAKERS = { closed: ["succeeded", "up"], half_open: ["waiting", "being tried"], open: ["failed", "down"] };

function Replica({ replica }) {
  const { calls, answers } = replica;
  const [tone, word] = replica.paused ? ["waiting", "asked for a pause"] : (BREAKERS[replica.breaker] ?? ["queued", replica.breaker]);
  const failed = calls.overloaded + calls.timed_out + calls.unavailable + calls.rejected + calls.garbled;
  const full = replica.limit ? replica.in_flight / replica.limit : 0;
  return html`<tr><td class="mono nowrap">${replica.address ?? `server ${replica.index + 1}`}</td><td><span class=${`status is-${tone}`}>${word}</span></td>
    <td><div class="load" role="meter" aria-label="Calls in flight" aria-valuemin="0" aria-valuemax=${replica.limit} aria-valuenow=${replica.in_flight} title=${`${replica.in_flight} of ${replica.limit} in flight, at most ${replica.max_in_flight}`}><i style=${{ width: `${Math.min(100, 100 * full)}%` }} class=${full >= 1 ? "full" : ""}></i></div><span class="num dim">${replica.in_flight}/${replica.limit}${replica.waiting_there ? `, ${replica.waiting_there} wait there` : ""}</span></td>
    <td class="n">${count(calls.answered)}</td><td class="n">${failed ? html`<span class="bad-text">${count(failed)}</span>` : 0}</td><td class="n">${answers.count ? duration(answers.p50_ms) : "–"}</td><td class="n">${answers.count ? duration(answers.p95_ms) : "–"}</td>
    <td class="n">${count(replica.prompt_tokens_per_sec + replica.completion_tokens_per_sec)}</td><td class="n">${replica.cached_share === null ? "–" : share(replica.cached_share, 1)}</td></tr>`;
}

/** What jobs used, day by day and flow by flow. */
function Used() {
  const [days, setDays] = useState(30);
  const { value, error, again } = useLoaded(
    async (signal) => {
      const from = new Date(Date.now() - days * DAY_S * 1_000).toISOString();
      const [byDay, byFlow] = await Promise.all(["day", "flow"].map((group_by) => get("/v1/usage", { from, group_by }, { signal })));
      return { byDay, byFlow };
    },
    [days],
  );
  const drawn = useMemo(() => value && filled(value.byDay, days), [value]);
  const sum = (key) => (value?.byDay.items ?? []).reduce((all, item) => all + item.usage[key], 0);
  return html`<section class="card" aria-label="Used over time"><header><h2>Used over time</h2><div class="end row" role="group" aria-label="Time">${SPANS.map(([n, word]) => html`<button key=${n} class="btn small" aria-pressed=${days === n} onClick=${() => setDays(n)}>${word}</button>`)}</div></header>
    <div class="body stack">${error && html`<${Failure} error=${error} again=${again} />`}${!value && !error && html`<${Loading} />`}
      ${drawn && html`<dl class="facts"><div><dt>model calls</dt><dd>${count(sum("model_calls"))}</dd></div><div><dt>tokens</dt><dd>${count(sum("prompt_tokens"))} read, ${count(sum("completion_tokens"))} written</dd></div><div><dt>cached</dt><dd>${share(sum("cached_tokens"), sum("prompt_tokens"))}</dd></div><div><dt>cost</dt><dd>${cost(sum("cost"))}</dd></div></dl>
        <div class="charts">${sum("cost") > 0 && html`<${Chart} title="Cost a day" times=${drawn.times} series=${drawn.cost} />`}<${Chart} title="Tokens a day" times=${drawn.times} series=${drawn.tokens} /><${Chart} title="Runs a day" times=${drawn.times} series=${drawn.runs} /><${Chart} title="Share of the read tokens that were cached" times=${drawn.times} series=${drawn.cached} /></div>
        <${Flows} items=${value.byFlow.items} />`}</div></section>`;
}

/** Every day of the time, those without any job too. */
function filled(report, days) {
  const by = new Map(report.items.map((item) => [item.group, item]));
  const last = Math.floor(Date.now() / 1_000 / DAY_S) * DAY_S;
  const times = Array.from({ length: days }, (_, at) => last - (days - 1 - at) * DAY_S);
  const of = (read) => times.map((time) => read(by.get(new Date(time * 1_000).toISOString().slice(0, 10))));
  const use = (key) => of((item) => item?.usage[key] ?? 0);
  return {
    times,
    cost: [{ label: "cost", values: use("cost"), tone: "--accent", write: cost, bars: true }],
    tokens: [{ label: "read", values: use("prompt_tokens"), tone: "--accent", write: count }, { label: "written", values: use("completion_tokens"), tone: "--run", write: count }],
    runs: [{ label: "succeeded", values: of((item) => item?.succeeded ?? 0), tone: "--ok", write: count }, { label: "failed", values: of((item) => item?.failed ?? 0), tone: "--bad", write: count }],
    cached: [{ label: "cached", values: of((item) => (item?.usage.prompt_tokens ? item.usage.cached_tokens / item.usage.prompt_tokens : 0)), tone: "--accent", write: (n) => share(n, 1) }],
  };
}

function Flows({ items }) {
  if (items.length === 0) return null;
  return html`<div class="scroll-x" tabindex="0" role="region" aria-label="Used by flow"><table class="plain"><thead><tr><th>Flow</th><th class="n">Runs</th><th class="n">Failed</th><th class="n">Model calls</th><th class="n">Tokens read</th><th class="n">Cached</th><th class="n">Written</th><th class="n">Cost</th><th class="n">Cost a run</th></tr></thead>
    <tbody>${items.map(({ group, jobs, failed, usage }) => html`<tr key=${group}><td><a href=${href(["runs"], { flow: group })}>${group}</a></td><td class="n">${count(jobs)}</td><td class="n">${count(failed)}</td><td class="n">${count(usage.model_calls)}</td><td class="n">${count(usage.prompt_tokens)}</td><td class="n">${share(usage.cached_tokens, usage.prompt_tokens)}</td><td class="n">${count(usage.completion_tokens)}</td><td class="n">${cost(usage.cost)}</td><td class="n">${cost(usage.cost / jobs)}</td></tr>`)}</tbody></table></div>`;
}
