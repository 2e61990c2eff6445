// One node execution of a run: what it read and gave, how it is set, what it asked, each attempt, what it cost.

import { html, useMemo, useState } from "../../vendor/core.js";
import { get, may, path } from "../api.js";
import { cost, count, duration, exact, share } from "../format.js";
import { isOver, retry } from "../jobs.js";
import { go, href } from "../router.js";
import { Icon, Status } from "../ui/icons.js";
import { fail, Failure, Tabs, tabOf, toast, useLoaded } from "../ui/parts.js";
import { Messages } from "../ui/records.js";
import { LongText, Value } from "../ui/value.js";
import { EditOutputs } from "./edit.js";
import { nameOf, parentOf } from "./model.js";
import { Tree, treeIn } from "./tree.js";

/** The executions from the outermost to the one that is looked at. */
function Trail({ run, scope, onSelect }) {
  const above = [];
  for (let at = parentOf(scope); at; at = parentOf(at)) above.unshift(at);
  return above.length > 0 && html`<nav class="crumbs" aria-label="Inside of">${above.map((one) => html`<span key=${one}><button class="plain-link" onClick=${() => onSelect(one)}>${run.nodes.has(one) ? nameOf(run.nodes.get(one)) : one}</button> /</span>`)}</nav>`;
}

export function Panel({ run, scope, onSelect, onChunk, onClose }) {
  const node = run.nodes.get(scope);
  const version = run.version.value;
  // Asked again when it moves on, not with every event of the run.
  const moved = node ? `${node.status} ${node.attempts}` : "";
  const { value: detail, error, again } = useLoaded(
    (signal) => (node?.isPart || !node ? null : get(path`/v1/jobs/${run.id}/nodes/${scope}`, {}, { signal })),
    [run.id, scope, moved],
  );
  const [tab, setTab] = useState(null);
  const [isEditing, setEditing] = useState(false);
  const text = run.texts.get(scope);
  const tree = useMemo(() => detail && treeIn(detail.outputs), [detail]);
  const tabs = [];
  const add = (id, label, is, n) => is && tabs.push({ id, label, count: n });
  const outs = Object.keys(detail?.outputs ?? {});
  const ins = Object.keys(detail?.inputs ?? {});
  add("live", node?.status === "running" ? "Text" : "Text so far", text && outs.length === 0 && node?.status !== "succeeded");
  add("outputs", "Outputs", outs.length > 0, outs.length);
  add("tree", "Tree", Boolean(tree));
  add("parts", node?.op === "loop" ? "Turns" : "Items", node?.children.length > 0, node?.children.length);
  add("inputs", "Inputs", ins.length > 0, ins.length);
  add("prompt", "Prompt", detail?.usage?.model_calls > 0 || detail?.plan?.with?.model || (node?.status === "failed" && node?.op.includes(".")));
  add("settings", "Settings", Boolean(detail?.plan?.name));
  add("attempts", "Attempts", detail?.tries?.length > 0, detail?.tries?.length);
  const now = tabOf(tabs, tab);
  if (!node) {
    return html`<section class="panel" aria-label="Node"><${PanelHead} title=${scope} onClose=${onClose} />
      <div class="panel-body"><p class="dim">${run.state.value === "over" ? "This node did not run." : "This node has not begun."}</p></div></section>`;
  }
  const usage = node.sum ?? detail?.usage ?? node.usage;
  const ms = node.began === null ? null : (node.ended ?? run.now()) - node.began;
  const canRepeat = may("run") && run.job && isOver(run.job);
  const again_ = async () => {
    try {
      const job = await retry(run.job, scope);
      toast(`Began a new run from ${scope}`);
      go(["runs", job.id]);
    } catch (problem) {
      fail(problem);
    }
  };
  return html`<section class="panel" aria-label=${`Node ${scope}`} data-version=${version > 0}>
    <${PanelHead} title=${nameOf(node)} onClose=${onClose}><${Trail} run=${run} scope=${scope} onSelect=${onSelect} /><//>
    <div class="panel-facts stack tight">
      <div class="row wrap"><${Status} status=${node.status} />${node.op.includes(".") ? html`<a href=${href(["operators", node.op])} class="chip">${node.op}</a>` : html`<span class="chip">${node.isPart ? node.part === "loop" ? "turn" : "item" : node.op}</span>`}
        ${node.kept && html`<span class="chip" title="Its result was kept from the run that this one repeats, or was put there">kept</span>`}</div>
      ${detail?.plan?.about && html`<p class="soft">${detail.plan.about}</p>`}
      <dl class="facts">
        ${ms !== null && html`<div><dt>${node.op === "wait" ? (node.status === "waiting" ? "waits for" : "waited") : "took"}</dt><dd>${duration(ms)}</dd></div>`}
        ${node.queued > 1 && html`<div><dt>queued</dt><dd>${duration(node.queued)}</dd></div>`}
        ${node.began !== null && html`<div><dt>began at</dt><dd>${duration(node.began)}</dd></div>`}
        ${node.attempts > 1 && html`<div><dt>${node.children.length ? (node.op === "loop" ? "turns" : "items") : "attempts"}</dt><dd>${node.attempts}</dd></div>`}
        ${usage?.model_calls > 0 && html`<div><dt>model calls</dt><dd>${count(usage.model_calls)}</dd></div>`}
        ${usage?.encoder_calls > 0 && html`<div><dt>encoder calls</dt><dd>${count(usage.encoder_calls)}</dd></div>`}
        ${usage?.prompt_tokens > 0 && html`<div><dt>read</dt><dd title=${`${exact(usage.cached_tokens)} of them from the server's cache`}>${count(usage.prompt_tokens)} tokens, ${share(usage.cached_tokens, usage.prompt_tokens)} cached</dd></div>`}
        ${usage?.completion_tokens > 0 && html`<div><dt>wrote</dt><dd>${count(usage.completion_tokens)} tokens</dd></div>`}
        ${usage?.cost > 0 && html`<div><dt>cost</dt><dd>${cost(usage.cost)}</dd></div>`}
      </dl>
      ${(node.error || detail?.error) && html`<div class="note bad"><strong>${(node.error ?? detail.error).code}</strong><div>${(node.error ?? detail.error).message}</div></div>`}
      ${node.skipped && html`<div class="note">Skipped: ${node.skipped}</div>`}
      ${run.notes.get(scope) && node.status === "running" && html`<p class="dim">${run.notes.get(scope)}</p>`}
      ${canRepeat && html`<div class="row wrap">
        <button class="btn small" onClick=${again_}><${Icon} name="retry" size=${14} />Retry from here</button>
        ${outs.length > 0 && html`<button class="btn small" onClick=${() => setEditing(true)}><${Icon} name="edit" size=${14} />Edit output</button>`}
      </div>`}
    </div>
    ${error && html`<div class="panel-body"><${Failure} error=${error} again=${again} /></div>`}
    ${tabs.length > 0 && html`<${Tabs} tabs=${tabs} now=${now} onPick=${setTab} label="About the node" panel="node-panel" />`}
    <div class="panel-body stack" id="node-panel" role=${tabs.length ? "tabpanel" : undefined} aria-label=${tabs.length ? tabs.find((one) => one.id === now)?.label : undefined} tabindex=${tabs.length ? 0 : undefined}>
      ${now === "live" && html`<div class="live"><${LongText} text=${text} />${node.status === "running" && html`<span class="caret" aria-hidden="true"></span>`}</div>`}
      ${now === "outputs" && html`<${Ports} values=${detail.outputs} onChunk=${onChunk} />`}
      ${now === "inputs" && html`<${Ports} values=${detail.inputs} reads=${detail.plan?.in} onChunk=${onChunk} />`}
      ${now === "tree" && html`<${Tree} tree=${tree} />`}
      ${now === "parts" && html`<${Parts} node=${node} now=${run.now()} onSelect=${onSelect} />`}
      ${now === "prompt" && html`<${Prompt} run=${run} scope=${scope} />`}
      ${now === "settings" && html`<${Settings} detail=${detail} />`}
      ${now === "attempts" && html`<${Attempts} tries=${detail.tries} />`}
    </div>
    ${isEditing && html`<${EditOutputs} run=${run} scope=${scope} outputs=${detail.outputs} onClose=${() => setEditing(false)} />`}
  </section>`;
}

function PanelHead({ title, onClose, children }) {
  return html`<header><div class="grow">${children}<h2 class="cut">${title}</h2></div>
    <button class="btn bare icon small" aria-label="Close the node" onClick=${onClose}><${Icon} name="close" /></button></header>`;
}

export function Ports({ values, reads, onChunk }) {
  return Object.entries(values).map(([name, value]) => html`<div class="port" key=${name}>
    <div class="row wrap"><h3>${name}</h3>${reads?.[name] && html`<code class="dim">${reads[name]}</code>`}</div>
    <${Value} value=${value} onChunk=${onChunk} />
  </div>`);
}

/** Turns and items; of thousands, the first. */
function Parts({ node, now, onSelect }) {
  const [more, setMore] = useState(100);
  return html`<ul class="part-list">${node.children.slice(0, more).map((part) => html`<li key=${part.scope}><button onClick=${() => onSelect(part.scope)}>
    <${Status} status=${part.status} /><span class="grow cut">${nameOf(part)}</span><span class="num dim">${part.began === null ? "" : duration((part.ended ?? now) - part.began)}</span></button></li>`)}</ul>
  ${node.children.length > more && html`<button class="btn small" onClick=${() => setMore(more + 500)}>Show more of ${exact(node.children.length)}</button>`}`;
}

function Prompt({ run, scope }) {
  const { value, error, again } = useLoaded((signal) => get(path`/v1/jobs/${run.id}/prompts/${scope}`, {}, { signal }), [run.id, scope]);
  if (error) return html`<${Failure} error=${error} again=${again} />`;
  if (!value) return html`<p class="dim">Working it out…</p>`;
  if (value.items.length === 0) return html`<p class="dim">Nothing to show: ${value.why_none}.</p>`;
  return html`<p class="dim">Worked out again from what the node read: what it asks before any answer.</p>
    ${value.items.map(({ model, request: { messages, ...rest } }, at) => html`<div class="port" key=${at}>
      <div class="row wrap"><h3>${value.items.length > 1 ? `Request ${at + 1}` : "Request"}</h3><span class="chip">model ${model}</span>${Object.entries(rest).map(
        ([name, set]) => typeof set !== "object" && html`<span class="chip" key=${name}>${name} ${String(set)}</span>`)}</div>
      <${Messages} messages=${messages} />
      ${rest.response_schema && html`<details><summary class="soft">Schema of the answer</summary><${Value} value=${rest.response_schema} /></details>`}
    </div>`)}`;
}

function Settings({ detail }) {
  const { with: set, in: reads, when, on_error, attempts, needs, budget } = detail.plan;
  const lines = [
    ["Runs when", when],
    ["Waits for", needs?.map((need) => need.node).join(", ")],
    ["If it fails", on_error && on_error !== "fail" ? JSON.stringify(on_error) : null],
    ["Attempts at most", attempts > 1 ? attempts : null],
    ["Budget", budget && Object.values(budget).some((value) => value !== null) ? JSON.stringify(budget) : null],
  ].filter(([, value]) => value);
  const has = set && Object.keys(set).length > 0;
  return html`${has ? html`<div class="port"><h3>Settings</h3><dl class="pairs">${Object.entries(set).map(([name, value]) => html`<dt key=${name}>${name}</dt><dd>${
    typeof value === "object" ? html`<${Value} value=${value} />` : html`<code>${String(value)}</code>`}</dd>`)}</dl></div>` : html`<p class="dim">Every setting has its default.</p>`}
    ${reads && Object.keys(reads).length > 0 && html`<div class="port"><h3>Reads</h3><dl class="pairs">${Object.entries(reads).map(([name, source]) => html`<dt key=${name}>${name}</dt><dd><code>${source}</code></dd>`)}</dl></div>`}
    ${lines.length > 0 && html`<div class="port"><h3>In the flow</h3><dl class="pairs">${lines.map(([name, value]) => html`<dt key=${name}>${name}</dt><dd><code>${value}</code></dd>`)}</dl></div>`}`;
}

function Attempts({ tries }) {
  return html`<div class="scroll-x"><table class="plain"><thead><tr><th>Attempt</th><th>Ended</th><th class="n">Queued</th><th class="n">Ran</th><th class="n">Tokens</th></tr></thead>
    <tbody>${tries.map((one) => html`<tr key=${one.attempt}><td>${one.attempt}</td><td>${one.aborted ? "stopped" : one.error ? html`<span class="bad-text">${one.error.code}</span><div class="dim">${one.error.message}</div>` : "well"}</td>
      <td class="n">${duration(one.queued_ms)}</td><td class="n">${duration(one.ran_ms)}</td><td class="n">${count(one.usage.prompt_tokens + one.usage.completion_tokens)}</td></tr>`)}</tbody></table></div>`;
}
