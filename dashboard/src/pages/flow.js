// One flow: its source with what is wrong as it is typed, its graph beside it, versions, and a form to run it.

import { html, useEffect, useMemo, useRef, useState } from "../../vendor/core.js";
import { call, get, may, path, post, said, send } from "../api.js";
import { ago, count, many, when } from "../format.js";
import { go, href, route, setQuery } from "../router.js";
import { FlowGraph } from "../run/graph.js";
import { Editor } from "../ui/editor.js";
import { blank, Fields, read, wrongOf } from "../ui/form.js";
import { Icon } from "../ui/icons.js";
import { confirm, Empty, fail, Failure, Loading, Tabs, toast, useLoaded } from "../ui/parts.js";
import { Value } from "../ui/value.js";

/** How long typing has to rest before the flow is checked, in milliseconds. */
const REST_MS = 280;
const NEW = "~new";
const FIRST = `flow: my_flow
about: What it is for.
inputs:
  question: { type: text, min: 1 }
nodes:
  search:
    op: retrieve.bm25
    in: { query: inputs.question }
    with: { index: docs, top_k: 8 }
  answer:
    op: read.answer
    in: { question: inputs.question, chunks: search.chunks }
outputs:
  answer: answer.answer
`;

/** The source of a version, with what names it. */
async function source(name, version, signal) {
  if (name === NEW) return { text: FIRST, version: null, etag: null };
  const response = await send("GET", path`/v1/flows/${name}`, { query: { version }, signal, headers: { accept: "application/json" } });
  if (!response.ok) throw await said(response);
  const { flow, flows, prompts, ...info } = await response.json();
  return { text: flow, parts: { flows, prompts }, etag: response.headers.get("etag"), info, version: info.version };
}

export default function FlowPage({ id }) {
  const query = route.value.query;
  const asked = query.get("version");
  const { value: loaded, error, again } = useLoaded((signal) => source(id, asked, signal), [id, asked]);
  if (error) {
    return html`<div class="page"><nav class="crumbs" aria-label="Where this is"><a href="#/flows">Flows</a> /</nav><h1>${id}</h1>
      ${error.status === 404 ? html`<${Empty} icon="flows" title="There is no such flow"><p>${error.hint ?? "It was removed, or belongs to another tenant."}</p><//>` : html`<${Failure} error=${error} again=${again} />`}</div>`;
  }
  if (!loaded) return html`<div class="page"><${Loading} what="Loading the flow" /></div>`;
  return html`<${Opened} key=${`${id} ${loaded.version}`} name=${id} loaded=${loaded} reload=${again} />`;
}

/** What is wrong with `text`, asked for when typing rests. */
function useChecked(text, parts) {
  const [checked, setChecked] = useState(null);
  const last = useRef({ graph: null, schema: null });
  useEffect(() => {
    const stop = new AbortController();
    const timer = setTimeout(async () => {
      try {
        const body = { flow: text, flows: parts?.flows ?? {}, prompts: parts?.prompts ?? {} };
        const answer = await post("/v1/flows/check", body, { query: { include: "graph,schema" }, signal: stop.signal });
        if (answer.valid) last.current = { graph: answer.graph, schema: answer.schema };
        setChecked({ ...answer, text, lastGraph: last.current.graph, lastSchema: last.current.schema });
      } catch (error) {
        if (error.name !== "AbortError") setChecked({ valid: false, text, diagnostics: [{ message: error.message, severity: "error" }], lastGraph: last.current.graph });
      }
    }, checked ? REST_MS : 0);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [text]);
  return checked;
}

function Opened({ name, loaded, reload }) {
  const [text, setText] = useState(loaded.text);
  const checked = useChecked(text, loaded.parts);
  const editor = useRef(null);
  const [isBusy, setBusy] = useState(false);
  const tab = route.value.query.get("tab") ?? "graph";
  const isNew = name === NEW;
  const isChanged = text !== loaded.text;
  const problems = checked?.diagnostics ?? [];
  const n = (severity) => problems.filter((problem) => (problem.severity ?? "error") === severity).length;
  const canSave = may("edit") && checked?.valid && checked.text === text && (isChanged || isNew) && !isBusy;
  const save = async () => {
    if (!canSave) return;
    setBusy(true);
    try {
      const same = checked.name === name;
      const headers = same && loaded.info?.active ? { "if-match": loaded.etag } : same ? {} : { "if-none-match": "*" };
      const done = await call("PUT", path`/v1/flows/${checked.name}`, { body: { flow: text, ...loaded.parts }, headers });
      toast(`Saved ${done.name} as version ${done.version}`);
      if (done.name !== name || route.value.query.get("version")) go(["flows", done.name], { tab });
      else reload();
    } catch (error) {
      setBusy(false);
      if (error.status === 412) fail(new Error("Somebody saved another version meanwhile, or a flow of this name is there. Load it again to see it; your text stays here until you leave."));
      else fail(error);
    }
  };
  useEffect(() => {
    const leave = (event) => isChanged && event.preventDefault();
    addEventListener("beforeunload", leave);
    return () => removeEventListener("beforeunload", leave);
  }, [isChanged]);
  const tabs = [{ id: "graph", label: "Graph" }, { id: "run", label: "Run" }, ...(isNew ? [] : [{ id: "versions", label: "Versions" }]), { id: "ports", label: "Takes and gives" }];
  return html`<div class="page fill flow-page">
    <header><div class="grow"><nav class="crumbs" aria-label="Where this is"><a href="#/flows">Flows</a> /</nav>
      <div class="row wrap"><h1>${isNew ? "New flow" : name}</h1>${loaded.version && html`<span class="chip">v${loaded.version}${loaded.info.active ? ", active" : ""}</span>`}${isChanged && html`<span class="chip">changed</span>`}</div>
      ${loaded.info?.about && html`<p class="soft">${loaded.info.about}</p>`}</div>
      <div class="actions">
        ${isChanged && html`<button class="btn" onClick=${() => editor.current.set(loaded.text)}>Discard</button>`}
        ${may("edit") && html`<button class="btn" disabled=${!canSave} onClick=${save} title="Ctrl+S in the editor">Save as new version</button>`}
        ${!isNew && html`<a class="btn" href=${href(["runs"], { flow: name })}>Show runs</a>`}
        ${may("run") && html`<button class="btn primary" onClick=${() => setQuery({ tab: "run" })}><${Icon} name="play" />Run</button>`}
      </div></header>
    <div class="flow-grid">
      <section class="card flow-source" aria-label="Source">
        <${Editor} text=${loaded.text} problems=${problems.filter((one) => isHere(one, checked))} onChange=${setText} onSave=${save} label="Source of the flow" handle=${editor} readOnly=${!may("edit") && !may("run")} />
        <${Problems} checked=${checked} n=${n} onShow=${(span) => editor.current.show(span.line, span.column)} />
      </section>
      <section class="card flow-side" aria-label="About the flow">
        <${Tabs} tabs=${tabs} now=${tab} onPick=${(next) => setQuery({ tab: next })} label="About the flow" panel="flow-view" />
        <div class="flow-view" id="flow-view" role="tabpanel" aria-label=${tabs.find((one) => one.id === tab)?.label}>
          ${tab === "graph" && html`<${Drawn} checked=${checked} onShow=${(id) => {
            const line = lineOf(text, id);
            if (line) editor.current.show(line);
          }} />`}
          ${tab === "run" && html`<div class="pad"><${RunForm} name=${name} version=${loaded.version} text=${isChanged || isNew ? text : null} checked=${checked} parts=${loaded.parts} /></div>`}
          ${tab === "versions" && html`<div class="pad"><${Versions} name=${name} shown=${loaded.version} reload=${reload} /></div>`}
          ${tab === "ports" && html`<div class="pad"><${About} name=${name} version=${loaded.version} checked=${checked} /></div>`}
        </div>
      </section>
    </div>
  </div>`;
}

/** Whether a mistake is in this text, and not in a flow that it uses. */
function isHere(problem, checked) {
  const files = (checked?.diagnostics ?? []).map((one) => one.span?.file).filter(Boolean);
  return problem.span && (files.every((file) => file === files[0]) || /^(flow|[a-z0-9_]+)(\.ya?ml)?$/.test(problem.span.file));
}

/** The line on which a node is written: the path of its id is followed downwards. */
function lineOf(text, id) {
  const lines = text.split("\n");
  let at = lines.findIndex((line) => /^nodes:/.test(line));
  for (const part of id.split("/")) {
    const word = new RegExp(`^\\s+${part.replace(/[^\w]/g, "\\$&")}:`);
    const next = lines.findIndex((line, index) => index > at && word.test(line));
    if (next >= 0) at = next;
  }
  return at + 1;
}

function Problems({ checked, n, onShow }) {
  if (!checked) return html`<div class="problems"><span class="dim">Checking…</span></div>`;
  const [errors, warnings] = [n("error"), n("warning")];
  const head = checked.diagnostics.length === 0 ? html`<span class="ok-text">No problems</span>` : [errors > 0 && many(errors, "error"), warnings > 0 && many(warnings, "warning")].filter(Boolean).join(", ");
  return html`<div class="problems" role="status" aria-label="Problems"><h2>${head}</h2>
    <ul>${checked.diagnostics.map((one, at) => html`<li key=${at}><button class="problem" disabled=${!one.span} onClick=${() => onShow(one.span)}>
      <span class=${one.severity === "warning" ? "wait-text" : "bad-text"}>${one.code ?? "error"}</span> ${one.message}${one.span && html`<span class="dim"> ${one.span.line}:${one.span.column}</span>`}
      ${one.hint && html`<span class="hint">hint: ${one.hint}</span>`}</button></li>`)}</ul></div>`;
}

function Drawn({ checked, onShow }) {
  const [selected, setSelected] = useState(null);
  const graph = checked?.graph ?? checked?.lastGraph;
  const wrong = useMemo(() => {
    const names = new Set((checked?.diagnostics ?? []).filter((one) => one.severity !== "warning").flatMap((one) => [...one.message.matchAll(/node `([^`]+)`/g)].map((found) => found[1])));
    return new Set((graph?.nodes ?? []).filter((node) => names.has(node.name)).map((node) => node.id));
  }, [checked]);
  if (!checked) return html`<${Loading} what="Drawing" />`;
  if (!graph) return html`<${Empty} icon="flows" title="Nothing to draw yet"><p>The graph is drawn as soon as the flow loads.</p><//>`;
  return html`${!checked.valid && html`<p class="stale dim">As it was when it last loaded.</p>`}<${FlowGraph} graph=${graph} selected=${selected} wrong=${wrong} onSelect=${(id) => {
    setSelected(id);
    onShow(id);
  }} />`;
}

function RunForm({ name, version, text, checked, parts }) {
  const schema = checked?.schema?.inputs ?? checked?.lastSchema?.inputs;
  const [texts, setTexts] = useState(null);
  const [wrong, setWrong] = useState({});
  const [label, setLabel] = useState("");
  const [fresh, setFresh] = useState(false);
  const [isBusy, setBusy] = useState(false);
  const now = texts ?? (schema ? blank(schema) : {});
  if (!schema) return html`<p class="dim">${checked ? "The flow has to load before it can run." : "Checking…"}</p>`;
  const hasParts = parts && (Object.keys(parts.flows).length || Object.keys(parts.prompts).length);
  const submit = async (event) => {
    event.preventDefault();
    const { values, wrong: bad } = read(schema, now);
    setWrong(bad);
    if (Object.keys(bad).length) return;
    const labels = Object.fromEntries(label.split(",").map((pair) => pair.trim().split("=")).filter(([key, value]) => key && value !== undefined));
    const request = { ...(text === null ? { flow: name, version } : { flow_yaml: text }), inputs: values, labels, ...(fresh ? { cache: false } : {}) };
    setBusy(true);
    try {
      const job = await post("/v1/jobs", request);
      go(["runs", job.id]);
    } catch (error) {
      setBusy(false);
      const found = wrongOf(error);
      setWrong(found);
      if (Object.keys(found).length === 0) fail(error);
    }
  };
  return html`<form class="stack" onSubmit=${submit} aria-label="Run the flow">
    ${text !== null && html`<div class="note">Runs the text as it stands here, unsaved${hasParts ? "; sub-flows and prompts are those that are active" : ""}.</div>`}
    ${Object.keys(schema.properties ?? {}).length === 0 && html`<p class="dim">It takes no inputs.</p>`}
    <${Fields} schema=${schema} texts=${now} wrong=${wrong} onChange=${setTexts} />
    <details><summary class="soft">More</summary><div class="stack" style=${{ marginTop: "10px" }}>
      <div class="field"><label for="run-label">Labels</label><input id="run-label" class="input" placeholder="team=search, try=2" value=${label} onInput=${(event) => setLabel(event.target.value)} /></div>
      <label class="check"><input type="checkbox" checked=${fresh} onChange=${(event) => setFresh(event.target.checked)} />Do not use results that were kept</label></div></details>
    <div><button class="btn primary" disabled=${isBusy || !checked?.valid || !may("run")}><${Icon} name="play" />Run</button></div>
  </form>`;
}

function Versions({ name, shown, reload }) {
  const { value, error, again } = useLoaded((signal) => get(path`/v1/flows/${name}/versions`, {}, { signal }), [name, shown]);
  const activate = async (version) => {
    if (!(await confirm(`Activate version ${version}?`, "New runs take it from now on. Runs that were taken in keep theirs.", { yes: "Activate" }))) return;
    try {
      await post(path`/v1/flows/${name}/activate`, { version });
      toast(`Version ${version} is active`);
      again();
      reload();
    } catch (problem) {
      fail(problem);
    }
  };
  if (error) return html`<${Failure} error=${error} again=${again} />`;
  if (!value) return html`<p class="dim">Loading…</p>`;
  return html`<table class="plain"><thead><tr><th>Version</th><th>Saved</th><th class="n">Open runs</th><th><span class="sr">What can be done</span></th></tr></thead><tbody>${value.items.map((one) => html`<tr key=${one.version}>
    <td><a href=${href(["flows", name], { version: one.version, tab: "versions" })} aria-current=${one.version === shown ? "true" : undefined}>v${one.version}</a>${one.active ? html` <span class="chip good">active</span>` : ""}</td>
    <td title=${when(one.created_at)}>${ago(one.created_at)}${one.created_by ? html`<div class="dim mono">${one.created_by}</div>` : ""}</td><td class="n">${count(one.in_flight)}</td>
    <td class="n">${!one.active && may("edit") && html`<button class="btn small" onClick=${() => activate(one.version)}>Activate</button>`}</td></tr>`)}</tbody></table>`;
}

function About({ name, version, checked }) {
  const schema = checked?.schema ?? checked?.lastSchema;
  const { value: plan } = useLoaded((signal) => (name === NEW ? null : get(path`/v1/flows/${name}/explain`, { version }, { signal })), [name, version]);
  const ports = (one) => html`<table class="plain"><thead><tr><th>Name</th><th>Type</th><th>About</th></tr></thead><tbody>${Object.entries(one?.properties ?? {}).map(([port, kind]) => html`<tr key=${port}>
    <td class="mono">${port}${(one.required ?? []).includes(port) ? "" : html`<span class="dim"> ?</span>`}</td><td>${kind.title ?? kind.type ?? (kind.anyOf ? `${kind.anyOf[0].title ?? kind.anyOf[0].type ?? "any"}?` : "any")}</td><td class="soft">${kind.description ?? ""}</td></tr>`)}</tbody></table>`;
  return html`<div class="stack">${schema && html`<h2 class="small">Takes</h2>${ports(schema.inputs)}<h2 class="small">Gives</h2>${ports(schema.outputs)}`}
    ${plan?.worst_case && html`<h2 class="small">At most</h2><${Value} value=${plan.worst_case} />`}
    ${plan?.budget && Object.values(plan.budget).some((one) => one !== null) && html`<h2 class="small">Budget</h2><${Value} value=${plan.budget} />`}</div>`;
}
