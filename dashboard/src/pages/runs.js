// Runs: the live list, newest first, with filters, search and what can be done with many at once.

import { html, useEffect, useMemo, useRef, useState } from "../../vendor/core.js";
import { all, away, get, may, me } from "../api.js";
import { ago, cost, count, duration, many, share, shortId, took, when } from "../format.js";
import { cancel, isOver, retryAll, STATUSES } from "../jobs.js";
import { usePoll } from "../poll.js";
import { go, href, route, setQuery } from "../router.js";
import { Icon, Status, statusWord } from "../ui/icons.js";
import { Empty, Failure, fail, Loading } from "../ui/parts.js";
import { Windowed } from "../ui/windowed.js";

/** Jobs of a page. */
const PAGE = 200;
/** Jobs that are still open and not on the first page which are looked at in one turn. */
const STRAGGLERS = 8;
const DAY_MS = 86_400_000;
const TIMES = [
  ["", "Any time", 0],
  ["1h", "Last hour", DAY_MS / 24],
  ["24h", "Last 24 hours", DAY_MS],
  ["7d", "Last 7 days", 7 * DAY_MS],
  ["30d", "Last 30 days", 30 * DAY_MS],
];

/** A label to be looked for, whole. */
const LABEL = /^[^=]+=/;

/** The query of the page as that of the API. */
function filterOf(query) {
  const filter = { limit: PAGE };
  for (const name of ["flow", "status", "q", "session_id", "batch_id"]) filter[name] = query.get(name);
  const span = TIMES.find(([id]) => id === query.get("time"))?.[2];
  // To the minute, so that the pages of one list agree.
  if (span) filter.created_after = new Date(Math.floor((Date.now() - span) / 60_000) * 60_000).toISOString();
  const label = query.get("label") ?? "";
  if (LABEL.test(label)) {
    const at = label.indexOf("=");
    filter[`label.${label.slice(0, at)}`] = label.slice(at + 1);
  }
  return filter;
}

export default function Runs() {
  const query = route.value.query;
  const asked = query.toString();
  const filter = useMemo(() => filterOf(query), [asked]);
  const [list, setList] = useState({ jobs: [], isLoading: true });
  const [now, setNow] = useState(Date.now());
  const [picked, setPicked] = useState(new Set());
  const [at, setAt] = useState(0);
  const handle = useRef(null);
  const state = useRef(list);
  state.current = list;

  useEffect(() => {
    setList({ jobs: [], isLoading: true });
    setPicked(new Set());
    setAt(0);
  }, [asked]);
  usePoll(
    async (signal) => {
      try {
        const page = await get("/v1/jobs", filter, { signal });
        const jobs = await merged(state.current, page, signal);
        setList((old) => ({ jobs, next: old.jobs.length ? old.next : page.next_cursor }));
        setNow(Date.now());
        return jobs.some((job) => !isOver(job));
      } catch (error) {
        if (error.name !== "AbortError") setList((old) => ({ ...old, isLoading: false, error }));
        throw error;
      }
    },
    [asked],
  );
  const more = async () => {
    const { next, isMore } = state.current;
    if (!next || isMore) return;
    setList((old) => ({ ...old, isMore: true }));
    try {
      const page = await get("/v1/jobs", { ...filter, cursor: next });
      setList((old) => ({ jobs: [...old.jobs, ...page.items], next: page.next_cursor }));
    } catch (error) {
      setList((old) => ({ ...old, isMore: false }));
      fail(error);
    }
  };
  const { jobs } = list;
  const chosen = jobs.filter((job) => picked.has(job.id));
  const pick = (job, is) => {
    const next = new Set(picked);
    if (is ?? !next.has(job.id)) next.add(job.id);
    else next.delete(job.id);
    setPicked(next);
  };
  const move = (to) => {
    const next = Math.max(0, Math.min(jobs.length - 1, to));
    setAt(next);
    handle.current?.show(next);
    requestAnimationFrame(() => document.querySelector(`[data-row="${next}"]`)?.focus());
  };
  const keys = (event) => {
    // Everything else that has the focus has keys of its own.
    if (!event.target.closest("body > *, [data-row]") && event.target !== document.body) return;
    if (event.target.closest("input, select, a, button, dialog, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
    const job = jobs[at];
    const acts = {
      j: () => move(at + 1),
      ArrowDown: () => move(at + 1),
      k: () => move(at - 1),
      ArrowUp: () => move(at - 1),
      PageDown: () => move(at + handle.current.rows()),
      PageUp: () => move(at - handle.current.rows()),
      Home: () => move(0),
      End: () => move(jobs.length - 1),
      Enter: () => job && go(["runs", job.id]),
      x: () => job && pick(job),
      c: () => cancel(chosen.length ? chosen : job ? [job] : []),
      r: () => retryAll(chosen.length ? chosen : job ? [job] : []),
      Escape: () => setPicked(new Set()),
    };
    if (!acts[event.key]) return;
    event.preventDefault();
    acts[event.key]();
  };
  const onKeys = useRef(keys);
  onKeys.current = keys;
  useEffect(() => {
    const listen = (event) => onKeys.current(event);
    addEventListener("keydown", listen);
    return () => removeEventListener("keydown", listen);
  }, []);
  const isFiltered = [...query.keys()].length > 0;
  return html`<div class="page fill runs">
    <header>
      <div><h1>Runs</h1><p class="dim">Every job of ${me.value ? html`the tenant <code>${me.value.tenant}</code>` : "this tenant"}, newest first.</p></div>
      <div class="actions">${may("run") && html`<a class="btn primary" href=${href(["flows"])}><${Icon} name="play" />New run</a>`}</div>
    </header>
    <${Summary} />
    <${Filters} query=${query} />
    ${list.error && !(jobs.length && away.value) && html`<${Failure} error=${list.error} />`}
    <div class="card list-card grow">
      ${chosen.length > 0 && html`<div class="bulk row wrap" role="toolbar" aria-label="Selected runs">
        <strong>${many(chosen.length, "run")} selected</strong>
        <button class="btn small" disabled=${!may("run")} onClick=${() => cancel(chosen)}><${Icon} name="stop" />Cancel</button>
        <button class="btn small" disabled=${!may("run")} onClick=${() => retryAll(chosen)}><${Icon} name="retry" />Retry</button>
        ${chosen.length === 2 && html`<a class="btn small" href=${href(["diff"], { a: chosen[1].id, b: chosen[0].id })}><${Icon} name="compare" />Compare</a>`}
        <button class="btn bare small" onClick=${() => setPicked(new Set())}>Clear</button>
      </div>`}
      ${list.isLoading && jobs.length === 0 && html`<${Loading} what="Loading runs" />`}
      ${!list.isLoading && !list.error && jobs.length === 0 && html`<${None} isFiltered=${isFiltered} />`}
      ${jobs.length > 0 && html`<div class="list-wrap" role="grid" aria-label="Runs" aria-rowcount=${list.next ? -1 : jobs.length + 1} aria-multiselectable="true">
        <${Windowed} class="list" role="presentation" count=${jobs.length} height=${rowHeight()} handle=${handle} onEnd=${more}
          row=${(index) => html`<${Row} key=${jobs[index].id} job=${jobs[index]} index=${index} now=${now} isAt=${index === at}
            isPicked=${picked.has(jobs[index].id)} pick=${pick} onAt=${setAt} />`}>
          <${Head} jobs=${jobs} picked=${picked} setPicked=${setPicked} />
        <//>
      </div>`}
    </div>
    ${jobs.length > 0 && html`<div class="row dim list-foot"><span>${many(jobs.length, "run")}${list.next ? " so far, more when you scroll" : ""}</span></div>`}
  </div>`;
}

/** Rows are lower where there is room for columns. */
function rowHeight() {
  return matchMedia("(max-width: 820px)").matches ? 66 : 44;
}

/** What is shown, brought up to date with the newest page; older ones that were open are looked at one by one. */
async function merged({ jobs: old }, page, signal) {
  if (old.length === 0) return page.items;
  const fresh = new Map(page.items.map((job) => [job.id, job]));
  const known = new Set(old.map((job) => job.id));
  const oldest = page.items.at(-1)?.id;
  const stale = old.filter((job) => !fresh.has(job.id) && !isOver(job)).slice(0, STRAGGLERS);
  const looked = await Promise.all(stale.map((job) => get(`/v1/jobs/${job.id}`, {}, { signal }).catch(() => null)));
  for (const job of looked) if (job) fresh.set(job.id, job);
  // Ids begin with their time: what is newer than the page's end and no longer on it was deleted, or fits no more.
  const kept = old.filter((job) => fresh.has(job.id) || (oldest && job.id < oldest));
  return [...page.items.filter((job) => !known.has(job.id)), ...kept.map((job) => fresh.get(job.id) ?? job)];
}

function None({ isFiltered }) {
  if (isFiltered) {
    return html`<${Empty} icon="search" title="No run fits"><p>Nothing matches all of these filters.</p>
      <div class="row"><a class="btn" href="#/runs">Clear filters</a></div><//>`;
  }
  return html`<${Empty} icon="runs" title="No runs yet"><p>Start one here, or send it from anywhere:</p>
    <pre class="code">anabranch jobs submit quickstart -i question='What is a turn?'</pre>
    <div class="row"><a class="btn primary" href="#/flows"><${Icon} name="play" />Choose a flow</a><a class="btn" href="#/playground">Open the playground</a></div><//>`;
}

/** What the last day was like. */
function Summary() {
  const [sums, setSums] = useState(null);
  usePoll(
    async (signal) => {
      const report = await get("/v1/usage", { from: new Date(Date.now() - DAY_MS).toISOString() }, { signal });
      setSums(report.items[0] ?? { jobs: 0, succeeded: 0, failed: 0, usage: {} });
      return false;
    },
    [],
    { fast: 10_000, slow: 60_000 },
  );
  const { jobs = 0, succeeded = 0, failed = 0, usage = {} } = sums ?? {};
  const ended = succeeded + failed;
  const tokens = (usage.prompt_tokens ?? 0) + (usage.completion_tokens ?? 0);
  const tile = (label, value, about) => html`<div class="tile"><dt>${label}</dt><dd class="num">${sums ? value : "–"}</dd><dd class="about">${about}</dd></div>`;
  return html`<dl class="tiles" aria-label="The last 24 hours">
    ${tile("Runs, last 24 h", count(jobs), `${count(jobs - ended)} open or stopped`)}
    ${tile("Succeeded", ended ? share(succeeded, ended) : "–", failed ? `${count(failed)} failed` : "none failed")}
    ${tile("Model calls", count(usage.model_calls ?? 0), `${count(usage.encoder_calls ?? 0)} of encoders`)}
    ${tile("Tokens", count(tokens), usage.prompt_tokens ? `${share(usage.cached_tokens, usage.prompt_tokens)} of the read ones cached` : "none read")}
    ${tile("Cost", usage.cost ? cost(usage.cost) : "–", usage.cost ? `${cost(usage.cost / jobs)} a run` : "no model has a price")}
  </dl>`;
}

function Filters({ query }) {
  const [flows, setFlows] = useState([]);
  const [text, setText] = useState(query.get("q") ?? "");
  const [label, setLabel] = useState(query.get("label") ?? "");
  const timer = useRef(null);
  useEffect(() => {
    all("/v1/flows").then((items) => setFlows(items.map((flow) => flow.name)), () => {});
  }, []);
  // The page may be left and come back to with another query.
  useEffect(() => setText(query.get("q") ?? ""), [query.get("q")]);
  useEffect(() => setLabel(query.get("label") ?? ""), [query.get("label")]);
  const soon = (changes) => {
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setQuery(changes), 250);
  };
  const isHalf = label !== "" && !LABEL.test(label);
  const statuses = new Set((query.get("status") ?? "").split(",").filter(Boolean));
  const flip = (status) => {
    if (statuses.has(status)) statuses.delete(status);
    else statuses.add(status);
    setQuery({ status: STATUSES.filter((one) => statuses.has(one)).join(",") });
  };
  const flow = query.get("flow");
  const names = flow && !flows.includes(flow) ? [flow, ...flows] : flows;
  const others = ["session_id", "batch_id"].filter((name) => query.get(name));
  return html`<div class="filters" role="search" aria-label="Filter runs">
    <div class="row wrap">
      <div class="search"><${Icon} name="search" /><input class="input" type="search" data-search aria-label="Search in ids, flows, conversations and errors"
        placeholder="Search ids, flows, errors" value=${text} onInput=${(event) => {
          setText(event.target.value);
          soon({ q: event.target.value });
        }} /></div>
      <select class="input" aria-label="Flow" value=${flow ?? ""} onChange=${(event) => setQuery({ flow: event.target.value })}>
        <option value="">All flows</option>${names.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}</select>
      <select class="input" aria-label="Time" value=${query.get("time") ?? ""} onChange=${(event) => setQuery({ time: event.target.value })}>
        ${TIMES.map(([id, word]) => html`<option key=${id} value=${id}>${word}</option>`)}</select>
      <span class="label-filter"><input class="input" aria-label="Label, as name=value" placeholder="label=value" value=${label} aria-invalid=${isHalf} aria-describedby=${isHalf ? "label-half" : undefined} onInput=${(event) => {
        setLabel(event.target.value);
        soon({ label: event.target.value });
      }} />${isHalf && html`<span class="wrong" id="label-half">as name=value; not used yet</span>`}</span>
      ${others.map((name) => html`<span class="chip" key=${name}>${name.replace("_id", "")} ${shortId(query.get(name))}<button class="btn bare icon small"
        aria-label=${`Remove the filter ${name}`} onClick=${() => setQuery({ [name]: "" })}><${Icon} name="close" size=${12} /></button></span>`)}
    </div>
    <div class="row wrap statuses" role="group" aria-label="Status">${STATUSES.map((status) => html`<button key=${status} class="btn small"
      aria-pressed=${statuses.has(status)} onClick=${() => flip(status)}>${statusWord(status)}</button>`)}</div>
  </div>`;
}

function Head({ jobs, picked, setPicked }) {
  const isAll = jobs.length > 0 && jobs.every((job) => picked.has(job.id));
  return html`<div class="run-row head" role="row" aria-rowindex="1">
    <span role="columnheader"><input type="checkbox" aria-label="Select all that are loaded" checked=${isAll}
      onChange=${() => setPicked(isAll ? new Set() : new Set(jobs.map((job) => job.id)))} /></span>
    ${["Status", "Run", "Flow", "Began", "Took", "Tokens", "Cost"].map((word) => html`<span role="columnheader" key=${word} class=${`c-${word.toLowerCase()}`}>${word}</span>`)}
  </div>`;
}

function Row({ job, index, now, isAt, isPicked, pick, onAt }) {
  const { usage } = job;
  const tokens = usage.prompt_tokens + usage.completion_tokens;
  const open = (event) => {
    if (event.target.closest("a, input")) return;
    go(["runs", job.id]);
  };
  const labels = Object.entries(job.labels);
  return html`<div class=${`run-row ${isPicked ? "picked" : ""}`} role="row" aria-rowindex=${index + 2} aria-selected=${isPicked} data-row=${index}
    tabindex=${isAt ? 0 : -1} onClick=${open} onFocus=${() => onAt(index)}>
    <span role="gridcell"><input type="checkbox" tabindex="-1" aria-label=${`Select ${job.id}`} checked=${isPicked} onChange=${() => pick(job)} /></span>
    <span role="gridcell" class="c-status"><${Status} status=${job.status} /></span>
    <span role="gridcell" class="c-run"><a class="title cut" tabindex="-1" href=${href(["runs", job.id])}>${job.preview || (job.status === "failed" && job.error?.message) || job.flow}</a>
      <span class="sub cut dim"><span class="mono">${shortId(job.id)}</span>${job.retry_of ? " · retry" : ""}${labels.map(([name, value]) => ` · ${name}=${value}`)}</span></span>
    <span role="gridcell" class="c-flow cut">${job.flow}${job.version ? html`<span class="dim"> v${job.version}</span>` : ""}</span>
    <span role="gridcell" class="c-began num" title=${when(job.created_at)}>${ago(job.created_at, now)}</span>
    <span role="gridcell" class="c-took num">${job.status === "queued" ? html`<span class="dim">queued</span>` : duration(took(job, now))}</span>
    <span role="gridcell" class="c-tokens num">${tokens ? count(tokens) : html`<span class="dim">–</span>`}</span>
    <span role="gridcell" class="c-cost num">${usage.cost ? cost(usage.cost) : html`<span class="dim">–</span>`}</span>
  </div>`;
}
