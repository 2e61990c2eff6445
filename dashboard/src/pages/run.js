// One run: its graph, its waterfall, its chunks, and whatever is chosen in them.

import { html, useEffect, useMemo, useRef, useState } from "../../vendor/core.js";
import { get, may, path, url } from "../api.js";
import { ago, cost, count, duration, exact, many, share, shortId, took, when } from "../format.js";
import { asCommand, asCurl, cancel, isOver, remove, retry } from "../jobs.js";
import { go, href, route, setQuery } from "../router.js";
import { Funnel, hasChunks } from "../run/funnel.js";
import { FlowGraph } from "../run/graph.js";
import { placeOf, Run } from "../run/model.js";
import { Panel, Ports } from "../run/panel.js";
import { indexesOf, Passage } from "../run/passage.js";
import { Wait } from "../run/wait.js";
import { Waterfall } from "../run/waterfall.js";
import { Icon, Status, statusWord } from "../ui/icons.js";
import { copy, Empty, fail, Failure, Loading, Menu, Tabs, tabOf, toast, useTitle } from "../ui/parts.js";

export default function RunPage({ id }) {
  const run = useMemo(() => new Run(id), [id]);
  const [passage, setPassage] = useState(null);
  useEffect(() => {
    run.open();
    return () => run.close();
  }, [run]);
  const version = run.version.value;
  const query = route.value.query;
  const scope = query.get("node");
  const select = (next) => setQuery({ node: next });
  const job = run.job;
  useKeys(run);
  const chunks = useMemo(() => hasChunks(run), [version]);
  useTitle(job ? `${job.preview || job.flow}, ${statusWord(job.status)}` : shortId(id));
  if (run.error.value && !job) {
    return html`<div class="page"><nav class="crumbs" aria-label="Where this is"><a href="#/runs">Runs</a> /</nav><h1>${shortId(id)}</h1>
      ${run.error.value.status === 404 ? html`<${Empty} icon="runs" title="There is no such run"><p>It was deleted, is older than the service keeps runs, or belongs to another tenant.</p><//>` : html`<${Failure} error=${run.error.value} again=${() => run.open()} />`}</div>`;
  }
  if (!job) return html`<div class="page"><${Loading} what="Loading the run" /></div>`;
  const open = (chunk, citation) => setPassage({ chunk, citation });
  const tabs = [{ id: "graph", label: "Graph" }, { id: "waterfall", label: "Waterfall", count: run.nodes.size ? exact(run.nodes.size) : undefined }];
  if (chunks) tabs.push({ id: "chunks", label: "Chunks" });
  const tab = tabOf(tabs, query.get("tab"));
  return html`<div class="page fill run-page">
    <${Head} run=${run} job=${job} />
    <div class="run-grid">
      <div class="card run-main">
        <${Tabs} tabs=${tabs} now=${tab} onPick=${(next) => setQuery({ tab: next })} label="Views of the run" panel="run-view" />
        <div class="run-view" id="run-view" role="tabpanel" aria-label=${tabs.find((one) => one.id === tab)?.label}>
          ${tab === "graph" && html`<${Drawn} run=${run} scope=${scope} onSelect=${select} />`}
          ${tab === "waterfall" && html`<${Waterfall} run=${run} selected=${scope} onSelect=${select} />`}
          ${tab === "chunks" && html`<div class="pad"><${Funnel} run=${run} onSelect=${select} onChunk=${open} /></div>`}
        </div>
      </div>
      <aside class=${`card run-side ${!scope && job.waits?.length ? "asks" : ""}`} aria-label=${scope ? "Node" : "Run"}>${scope
        ? html`<${Panel} key=${scope} run=${run} scope=${scope} onSelect=${select} onChunk=${open} onClose=${() => select(null)} />`
        : html`<${Whole} run=${run} job=${job} onChunk=${open} onSelect=${select} />`}</aside>
    </div>
    ${passage && html`<${Passage} ...${passage} indexes=${indexesOf(run.plan)} onClose=${() => setPassage(null)} />`}
  </div>`;
}

/** Keys of this page: `c` cancels, `r` retries, Escape closes the node. */
function useKeys(run) {
  useEffect(() => {
    const listen = (event) => {
      if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input, textarea, select, dialog, .menu") || !run.job) return;
      if (event.key === "Escape") setQuery({ node: null });
      if (event.key === "c" && may("run")) cancel([run.job]);
      if (event.key === "r" && may("run") && isOver(run.job)) again(run.job, run.job.status === "succeeded" ? "start" : "failed");
    };
    addEventListener("keydown", listen);
    return () => removeEventListener("keydown", listen);
  }, [run]);
}

async function again(job, from) {
  try {
    const next = await retry(job, from);
    toast(from === "start" ? "Began it anew" : "Began a new run from what failed");
    go(["runs", next.id]);
  } catch (error) {
    fail(error);
  }
}

function Head({ run, job }) {
  const [, setTick] = useState(0);
  const isOpen = !isOver(job);
  useEffect(() => {
    if (!isOpen) return undefined;
    const timer = setInterval(() => setTick((n) => n + 1), 500);
    return () => clearInterval(timer);
  }, [isOpen]);
  const { usage } = job;
  const share_ = [
    { label: "Link to this page", act: () => copy(location.href, "the link") },
    { label: "Id", about: job.id, act: () => copy(job.id, "the id") },
    { label: "curl", about: job.version ? "submits the same again" : "repeats this run", act: () => copy(asCurl(job), "the command") },
    { label: "Command line", about: job.version ? "anabranch jobs submit …" : "anabranch jobs retry …", act: () => copy(asCommand(job), "the command") },
    { label: "Everything as JSON", about: "the job, its nodes, its journal", act: () => exported(job) },
  ];
  const others = [
    { label: "Compare with the newest other run", about: `of ${job.flow}`, act: () => compare(job) },
    ...(may("run") && !isOpen ? [{ label: "Delete", act: async () => (await remove(job).catch(fail)) && go(["runs"]) }] : []),
  ];
  if (job.retry_of) others.unshift({ label: "Compare with the run it repeats", about: shortId(job.retry_of), act: () => go(["diff"], { a: job.retry_of, b: job.id }) });
  return html`<header class="run-head">
    <div class="grow">
      <nav class="crumbs" aria-label="Where this is"><a href="#/runs">Runs</a> / ${job.version ? html`<a href=${href(["flows", job.flow], { version: job.version })}>${job.flow}</a><span>v${job.version}</span>` : html`<span>${job.flow}</span><span class="chip" title="The text of the flow was run as it stood in the editor">not saved</span>`}</nav>
      <div class="row wrap"><h1 class="run-title">${job.preview || html`${job.flow} <span class="mono dim">${shortId(job.id)}</span>`}</h1><${Status} status=${job.status} />${run.state.value === "broken" && html`<span class="chip">reconnecting…</span>`}</div>
      <dl class="facts">
        <div><dt>began</dt><dd title=${when(job.started_at ?? job.created_at)}>${ago(job.started_at ?? job.created_at)}</dd></div>
        <div><dt>took</dt><dd>${job.started_at ? duration(took(job)) : "–"}</dd></div>
        ${job.queue_wait_ms > 50 && html`<div><dt>queued</dt><dd>${duration(job.queue_wait_ms)}</dd></div>`}
        <div><dt>model calls</dt><dd>${count(usage.model_calls)}</dd></div>
        ${usage.unanswered_calls > 0 && html`<div><dt>without an answer</dt><dd title="What they took is not known: the most that they can have taken is counted">${count(usage.unanswered_calls)}, at their most</dd></div>`}
        ${usage.prompt_tokens > 0 && html`<div><dt>tokens</dt><dd>${count(usage.prompt_tokens)} read (${share(usage.cached_tokens, usage.prompt_tokens)} cached), ${count(usage.completion_tokens)} written</dd></div>`}
        ${usage.cost > 0 && html`<div><dt>cost</dt><dd>${cost(usage.cost)}</dd></div>`}
        ${job.retry_of && html`<div><dt>repeats</dt><dd><a class="mono" href=${href(["runs", job.retry_of])}>${shortId(job.retry_of)}</a></dd></div>`}
        ${job.session_id && html`<div><dt>conversation</dt><dd><a href=${href(["runs"], { session_id: job.session_id })}>${shortId(job.session_id)}</a></dd></div>`}
        ${job.batch_id && html`<div><dt>batch</dt><dd><a href=${href(["runs"], { batch_id: job.batch_id })}>${shortId(job.batch_id)}</a></dd></div>`}
        ${Object.entries(job.labels).map(([name, value]) => html`<div key=${name}><dd><a class="chip" href=${href(["runs"], { label: `${name}=${value}` })}>${name}=${value}</a></dd></div>`)}
      </dl>
    </div>
    <div class="actions">
      ${isOpen && may("run") && html`<button class="btn danger" onClick=${() => cancel([job])}><${Icon} name="stop" />Cancel</button>`}
      ${!isOpen && may("run") && job.status !== "succeeded" && html`<button class="btn primary" onClick=${() => again(job, "failed")}><${Icon} name="retry" />Retry</button>`}
      ${!isOpen && may("run") && html`<button class="btn" onClick=${() => again(job, "start")}><${Icon} name="play" />Run again</button>`}
      <${Menu} label="Copy" icon="copy" items=${share_} />
      <${Menu} label="More" items=${others} />
    </div>
  </header>`;
}

async function exported(job) {
  try {
    await copy(JSON.stringify(await get(path`/v1/jobs/${job.id}/export`), null, 2), "everything");
  } catch (error) {
    fail(error);
  }
}

async function compare(job) {
  try {
    const { items } = await get("/v1/jobs", { flow: job.flow, limit: 10 });
    const other = items.find((one) => one.id !== job.id);
    if (other) go(["diff"], { a: other.id, b: job.id });
    else toast("There is no other run of this flow");
  } catch (error) {
    fail(error);
  }
}

/** The graph, with the states of the turn or item that is looked at of each loop and each. */
function Drawn({ run, scope, onSelect }) {
  const [chosen, setChosen] = useState({});
  const version = run.version.value;
  const shown = useRef(null);
  // Whatever is chosen elsewhere is what the boxes around it show.
  useEffect(() => {
    if (!scope || shown.current === scope) return;
    shown.current = scope;
    const next = {};
    for (const found of scope.matchAll(/\[(\d+)\]/g)) next[scope.slice(0, found.index)] = Number(found[1]);
    if (Object.keys(next).length) setChosen((old) => ({ ...old, ...next }));
  }, [scope]);
  if (!run.graph) return run.state.value === "loading" ? html`<${Loading} what="Drawing" />` : html`<${Empty} icon="flows" title="No graph"><p>The flow of this run cannot be loaded any more.</p><//>`;
  const partsOf = (at) => run.nodes.get(at)?.children.filter((one) => one.scope.endsWith("]")) ?? [];
  const shownPart = (at) => {
    const parts = partsOf(at);
    if (parts.length === 0) return null;
    const index = chosen[at];
    const found = parts.findIndex((part) => part.scope === `${at}[${index}]`);
    return { parts, at: found >= 0 ? found : run.nodes.get(at).op === "loop" ? parts.length - 1 : 0 };
  };
  /** The execution of a node of the flow that is looked at. */
  const instance = (id) => {
    let at = "";
    const names = id.split("/");
    names.forEach((name, depth) => {
      at = at ? `${at}/${name}` : name;
      const part = depth < names.length - 1 ? shownPart(at) : null;
      if (part) at = part.parts[part.at].scope;
    });
    return at;
  };
  const stateOf = (id) => {
    const at = instance(id);
    const node = run.nodes.get(at);
    if (!node) return null;
    const part = shownPart(at);
    const indexOf = (one) => one.scope.slice(one.scope.lastIndexOf("[") + 1, -1);
    const usage = node.sum ?? node.usage;
    return {
      status: node.status,
      ms: node.began === null || node.status === "skipped" ? null : (node.ended ?? run.now()) - node.began,
      label: node.kept ? "kept" : usage?.completion_tokens ? `${count(usage.prompt_tokens + usage.completion_tokens)} tok` : "",
      parts: part && {
        word: node.op === "loop" ? "turn" : "item",
        index: indexOf(part.parts[part.at]),
        at: part.at,
        of: part.parts.length,
        onStep: (by) => {
          const next = part.parts[part.at + by];
          if (next) setChosen((old) => ({ ...old, [at]: Number(indexOf(next)) }));
        },
      },
    };
  };
  return html`<${FlowGraph} graph=${run.graph} selected=${scope && placeOf(scope)} onSelect=${(id) => onSelect(instance(id))} stateOf=${stateOf} version=${version} />`;
}

/** How far it is, by what is known here. */
function underWay(run) {
  const leaves = [...run.nodes.values()].filter((node) => node.children.length === 0);
  const open = leaves.filter((node) => node.status === "running").length;
  return `${many(leaves.length - open, "node execution")} ended, ${open} under way.`;
}

/** What there is to say of the run as a whole. */
function Whole({ run, job, onChunk, onSelect }) {
  const texts = [...run.texts].filter(([scope]) => run.nodes.get(scope)?.status === "running");
  const absent = Object.entries(job.absent ?? {});
  return html`<section class="panel" aria-label="Run">
    <div class="panel-body stack">
      ${job.error && html`<div class=${`note ${job.status === "cancelled" ? "" : "bad"}`} role="alert"><strong>${job.error.code}</strong><div>${job.error.message}</div>
        ${job.error.scope && html`<button class="btn small" onClick=${() => onSelect(job.error.scope)}>Show ${job.error.scope}</button>`}</div>`}
      ${(job.waits ?? []).map((wait) => html`<${Wait} key=${wait.wait} job=${job} wait=${wait} onChunk=${onChunk} />`)}
      ${texts.map(([scope, text]) => html`<div class="port" key=${scope}><div class="row"><h2 class="small">${scope}</h2><span class="dim">is writing</span></div><div class="live"><div class="value-text">${text.slice(-4_000)}</div><span class="caret" aria-hidden="true"></span></div></div>`)}
      ${job.outputs && Object.keys(job.outputs).length > 0 && html`<h2>Outputs</h2><${Ports} values=${job.outputs} onChunk=${onChunk} />`}
      ${absent.map(([name, why]) => html`<div class="port" key=${name}><h2 class="small">${name}</h2><p class="dim">Absent: ${typeof why === "string" ? why : (why?.why ?? JSON.stringify(why))}</p></div>`)}
      ${job.inputs && Object.keys(job.inputs).length > 0 && html`<h2>Inputs</h2><${Ports} values=${job.inputs} onChunk=${onChunk} />`}
      ${!isOver(job) && texts.length === 0 && !(job.waits ?? []).length && html`<p class="dim">${job.status === "queued" ? "It waits for a free place." : underWay(run)}</p>`}
      <details class="about-run"><summary class="soft">About this run</summary><dl class="pairs">
        <dt>Id</dt><dd class="mono">${job.id}</dd>
        <dt>Trace</dt><dd class="mono">${job.trace_id ?? "–"}</dd>
        <dt>Submitted</dt><dd>${when(job.created_at)}</dd>
        <dt>By</dt><dd>${job.created_by ?? "this machine"}</dd>
        <dt>Priority</dt><dd>${job.priority}</dd>
        ${job.deadline && html`<dt>Deadline</dt><dd>${when(job.deadline)}</dd>`}
        ${job.budget && html`<dt>Budget</dt><dd>${Object.entries(job.budget).filter(([, limit]) => limit !== null).map(([name, limit]) => `${name.replaceAll("_", " ")} ${typeof limit === "number" ? exact(limit) : limit}`).join(", ")}</dd>`}
        <dt>API</dt><dd><a href=${url(path`/v1/jobs/${job.id}`).href}>${`/v1/jobs/${shortId(job.id)}`}</a></dd>
      </dl></details>
    </div>
  </section>`;
}
