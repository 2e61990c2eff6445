// The playground: a conversation with a flow, streamed, every answer with its sources and its run.

import { html, useEffect, useRef, useState } from "../../vendor/core.js";
import { all, get, may, path, post } from "../api.js";
import { cost, count, duration, shortId, took } from "../format.js";
import { isOver } from "../jobs.js";
import { talkWith } from "../play/talk.js";
import { href, route, setQuery } from "../router.js";
import { Ports } from "../run/panel.js";
import { indexesOf, Passage } from "../run/passage.js";
import { Wait } from "../run/wait.js";
import { blank, Fields, plain, read, wrongOf } from "../ui/form.js";
import { Dot, Icon } from "../ui/icons.js";
import { Empty, fail, Loading, useLoaded } from "../ui/parts.js";
import { Answer, isAnswer } from "../ui/records.js";

/** Where a flow takes what is said: the same rules as `/v1/chat/completions`. */
function takes(schema) {
  const inputs = Object.entries(schema.properties ?? {});
  const required = new Set(schema.required ?? []);
  const isText = (one) => plain(one).type === "string";
  const isList = (name) => schema.properties?.[name] && plain(schema.properties[name]).type === "array";
  const texts = inputs.filter(([name, one]) => required.has(name) && isText(one)).map(([name]) => name);
  const question = schema.properties?.question && isText(schema.properties.question) ? "question" : texts.length === 1 ? texts[0] : null;
  const past = isList("messages") ? "messages" : isList("history") ? "history" : null;
  return { question, past };
}

export default function Playground() {
  const { value: flows } = useLoaded(() => all("/v1/flows"), []);
  const name = route.value.query.get("flow") ?? flows?.find((flow) => flow.name === "quickstart")?.name ?? flows?.[0]?.name;
  const { value: flow, error } = useLoaded(
    async (signal) => {
      if (!name) return null;
      const [schema, plan] = await Promise.all([get(path`/v1/flows/${name}/schema`, {}, { signal }), get(path`/v1/flows/${name}/explain`, {}, { signal })]);
      return { name, schema: schema.inputs, about: plan.about, indexes: indexesOf(plan) };
    },
    [name],
  );
  if (!flows) return html`<div class="page"><h1>Playground</h1><${Loading} /></div>`;
  return html`<div class="page fill play">
    <header><div><h1>Playground</h1><p class="dim">Talk with a flow; every answer is a run.</p></div>
      <div class="actions"><label class="sr" for="play-flow">Flow</label><select id="play-flow" class="input" value=${name} onChange=${(event) => setQuery({ flow: event.target.value })}>${flows.map((one) => html`<option key=${one.name} value=${one.name}>${one.name}</option>`)}</select></div></header>
    ${error && html`<div class="note bad">${error.message}</div>`}
    ${flows.length === 0 ? html`<div class="card"><${Empty} icon="flows" title="No flows yet"><p>A conversation needs a flow to talk with.</p><div class="row"><a class="btn primary" href=${href(["flows", "~new"])}>New flow</a></div><//></div>` : flow?.name === name ? html`<${Talk} key=${name} flow=${flow} />` : html`<${Loading} />`}
  </div>`;
}

function Talk({ flow }) {
  const { question, past } = takes(flow.schema);
  const rest = { ...flow.schema, properties: Object.fromEntries(Object.entries(flow.schema.properties ?? {}).filter(([name]) => name !== question && name !== past)) };
  const [texts, setTexts] = useState(blank(rest));
  const [wrong, setWrong] = useState({});
  const [said, setSaid] = useState("");
  const [passage, setPassage] = useState(null);
  const talk = talkWith(flow.name);
  const turns = talk.turns.value;
  const { isBusy } = talk;
  const end = useRef(null);
  useEffect(() => end.current?.scrollIntoView({ block: "end" }), [turns]);
  const ask = async (event) => {
    event?.preventDefault();
    const text = said.trim();
    if (!text || isBusy) return;
    const { values, wrong: bad } = read(rest, texts);
    setWrong(bad);
    if (Object.keys(bad).length) return;
    const inputs = { ...values };
    if (question) inputs[question] = text;
    if (past) inputs[past] = past === "messages" || !question ? [...talk.past(), { role: "user", content: text }] : talk.past();
    setSaid("");
    await talk.ask(text, inputs).catch((error) => setWrong(wrongOf(error)));
  };
  const halt = async () => {
    const job = turns.at(-1)?.job;
    if (job) await post(path`/v1/jobs/${job.id}/cancel`, { mode: "now" }).catch(fail);
  };
  if (!question && !past) {
    return html`<div class="card"><${Empty} icon="playground" title=${`${flow.name} takes no conversation`}><p>It has no input for a question. It can be run from its form.</p><div class="row"><a class="btn primary" href=${href(["flows", flow.name], { tab: "run" })}>Open the form</a></div><//></div>`;
  }
  const hasRest = Object.keys(rest.properties).length > 0;
  return html`<div class=${`play-grid ${hasRest ? "" : "alone"}`}>
    <section class="card talk" aria-label="Conversation">
      <div class="turns" tabindex="0" role="log" aria-label="What was said">
        ${turns.length === 0 && html`<${Empty} icon="playground" title=${flow.name}><p>${flow.about ?? "Ask it something."}</p><//>`}
        ${turns.map((turn, at) => html`<${Turn} key=${at} turn=${turn} onChunk=${(chunk, citation) => setPassage({ chunk, citation })} />`)}
        <div ref=${end}></div>
      </div>
      <form class="ask" onSubmit=${ask}>
        <label class="sr" for="say">What you want to know</label>
        <textarea id="say" class="input" data-search rows="2" placeholder="Ask something" value=${said} onInput=${(event) => setSaid(event.target.value)} onKeyDown=${(event) => event.key === "Enter" && !event.shiftKey && !event.isComposing && ask(event)}></textarea>
        ${turns.length > 0 && !isBusy && html`<button type="button" class="btn bare" onClick=${() => talk.begin()}>New conversation</button>`}
        ${isBusy ? html`<button type="button" class="btn" onClick=${halt}><${Icon} name="stop" />Stop</button>` : html`<button class="btn primary" disabled=${!said.trim() || !may("run")}><${Icon} name="send" />Ask</button>`}
      </form>
    </section>
    ${hasRest && html`<aside class="card play-side" aria-label="Other inputs"><header><h2>Inputs</h2></header><div class="body stack"><${Fields} schema=${rest} texts=${texts} wrong=${wrong} onChange=${setTexts} prefix="play" /></div></aside>`}
    ${passage && html`<${Passage} ...${passage} indexes=${flow.indexes} onClose=${() => setPassage(null)} />`}
  </div>`;
}

function Turn({ turn, onChunk }) {
  const { job, steps } = turn;
  const answer = Object.values(turn.answer ?? {}).find(isAnswer);
  const others = Object.fromEntries(Object.entries(turn.answer ?? {}).filter(([, value]) => value !== answer));
  const shown = [...steps].slice(-6);
  const isWaiting = turn.waits.length > 0;
  return html`<article class="turn"><div class="said"><span class="sr">You: </span>${turn.said}</div>
    <div class="told">
      ${steps.size > 0 && turn.isOpen && html`<ol class="steps row wrap" aria-label="Steps">${steps.size > shown.length && html`<li class="dim">+${steps.size - shown.length}</li>`}${shown.map(([scope, step]) => html`<li key=${scope} class="row"><${Dot} status=${step.status} /><span>${scope}</span></li>`)}</ol>`}
      ${turn.isOpen && (turn.text || !isWaiting) && html`<div class="live" aria-live="polite">${turn.text ? html`<div class="value-text">${turn.text}</div>` : html`<span class="dim">${steps.size ? "" : "Waiting…"}</span>`}${!isWaiting && !turn.isBroken && html`<span class="caret" aria-hidden="true"></span>`}</div>`}
      ${turn.isOpen && turn.isBroken && html`<div><span class="chip" role="status">reconnecting…</span></div>`}
      ${turn.isOpen && turn.waits.map((wait) => html`<${Wait} key=${wait.wait} job=${job} wait=${wait} onChunk=${onChunk} />`)}
      ${answer && html`<${Answer} answer=${answer} onChunk=${onChunk} />`}
      ${turn.answer && Object.keys(others).length > 0 && (answer ? html`<details><summary class="soft">Other outputs</summary><div class="stack"><${Ports} values=${others} onChunk=${onChunk} /></div></details>` : html`<${Ports} values=${others} onChunk=${onChunk} />`)}
      ${turn.error && html`<div class="note bad" role="alert"><strong>${turn.error.code ?? "failed"}</strong> ${turn.error.message}</div>`}
      ${job && html`<div class="row wrap dim turn-foot"><a href=${href(["runs", job.id])}>Look into it <span class="mono">${shortId(job.id)}</span></a>${isOver(job) && html`<span class="num">${duration(took(job))}</span>${job.usage.completion_tokens > 0 && html`<span class="num">${count(job.usage.prompt_tokens + job.usage.completion_tokens)} tokens</span>`}${job.usage.cost > 0 && html`<span class="num">cost ${cost(job.usage.cost)}</span>`}`}</div>`}
    </div></article>`;
}
