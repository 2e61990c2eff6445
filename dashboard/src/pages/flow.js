// One flow: its source with what is wrong as it is typed, its graph beside it, versions, and a form to run it.

import { html, useEffect, useMemo, useRef, useState } from "../../vendor/core.js";
import { call, get, may, path, post, said, send } from "../api.js";
import { About } from "../flow/about.js";
import { drafts, keep } from "../flow/drafts.js";
import { RunForm } from "../flow/form.js";
import { Tests } from "../flow/tests.js";
import { Versions } from "../flow/versions.js";
import { many } from "../format.js";
import { go, href, route, setQuery } from "../router.js";
import { FlowGraph } from "../run/graph.js";
import { Editor } from "../ui/editor.js";
import { Icon } from "../ui/icons.js";
import { Empty, fail, Failure, Loading, Tabs, tabOf, toast, useLoaded } from "../ui/parts.js";

/** How long typing has to rest before the flow is checked, in milliseconds. */
const REST_MS = 280;
const NEW = "~new";
/** What a new flow begins with: of an index that there is, or, without any, of texts that are given. */
const first = (index) => `flow: my_flow
about: What it is for.
inputs:
  question: { type: text, min: 1, about: What you want to know. }
${index ? "" : "  chunks: list<chunk>\n"}nodes:
${index ? `  search:
    op: retrieve.bm25
    in: { query: inputs.question }
    with: { index: ${index}, top_k: 8 }
` : ""}  answer:
    op: read.answer
    in: { question: inputs.question, chunks: ${index ? "search" : "inputs"}.chunks }
outputs:
  answer: answer.answer
`;

/** The source of a version, with what names it. */
async function source(name, version, signal) {
  if (name === NEW) {
    const indexes = await get("/v1/indexes", {}, { signal }).catch(() => null);
    return { text: first(indexes?.items[0]?.name), version: null, etag: null };
  }
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
  // An old version is looked at as it is; what is typed belongs to the newest.
  const isOld = Boolean(route.value.query.get("version")) && !loaded.info?.active;
  const draft = isOld ? undefined : drafts.value.get(name);
  const [text, setText] = useState(draft?.text ?? loaded.text);
  const begun = useRef(text).current;
  const etag = draft?.etag ?? loaded.etag;
  const checked = useChecked(text, loaded.parts);
  const editor = useRef(null);
  const [isBusy, setBusy] = useState(false);
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
      const headers = same && loaded.info?.active ? { "if-match": etag } : same ? {} : { "if-none-match": "*" };
      const done = await call("PUT", path`/v1/flows/${checked.name}`, { body: { flow: text, ...loaded.parts }, headers });
      keep(name, null);
      toast(`Saved ${done.name} as version ${done.version}`);
      if (done.name !== name || route.value.query.get("version")) go(["flows", done.name], { tab });
      else reload();
    } catch (error) {
      setBusy(false);
      if (error.status === 412) fail(new Error("Somebody saved another version meanwhile, or a flow of this name is there. Your text stays here; the versions show the other."));
      else fail(error);
    }
  };
  const typed = (next) => {
    setText(next);
    if (!isOld) keep(name, next === loaded.text ? null : { text: next, etag });
  };
  const tabs = [{ id: "graph", label: "Graph" }, { id: "run", label: "Run" }, ...(isNew ? [] : [{ id: "versions", label: "Versions" }]), { id: "tests", label: "Tests" }, { id: "ports", label: "Takes and gives" }];
  const tab = tabOf(tabs, route.value.query.get("tab"));
  return html`<div class="page fill flow-page">
    <header><div class="grow"><nav class="crumbs" aria-label="Where this is"><a href="#/flows">Flows</a> /</nav>
      <div class="row wrap"><h1>${isNew ? "New flow" : name}</h1>${loaded.version && html`<span class="chip">v${loaded.version}${loaded.info.active ? ", active" : ""}</span>`}${isChanged && html`<span class="chip" title="It stays in this tab until you save or discard it">not saved</span>`}</div>
      ${loaded.info?.about && html`<p class="soft">${loaded.info.about}</p>`}</div>
      <div class="actions">
        ${isChanged && html`<button class="btn" onClick=${() => editor.current.set(loaded.text)}>Discard</button>`}
        ${may("edit") && html`<button class="btn" disabled=${!canSave} onClick=${save} title="Ctrl+S in the editor">Save as new version</button>`}
        ${!isNew && html`<a class="btn" href=${href(["runs"], { flow: name })}>Show runs</a>`}
        ${may("run") && html`<button class="btn primary" onClick=${() => setQuery({ tab: "run" })}><${Icon} name="play" />Run</button>`}
      </div></header>
    <div class="flow-grid">
      <section class="card flow-source" aria-label="Source">
        <${Editor} text=${begun} problems=${problems.filter((one) => isHere(one, checked))} onChange=${typed} onSave=${save} label="Source of the flow" handle=${editor} readOnly=${!may("edit") && !may("run")} />
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
          ${tab === "tests" && html`<div class="pad"><${Tests} name=${name} text=${text} parts=${loaded.parts} checked=${checked} onShow=${(line) => editor.current.show(line)} /></div>`}
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
