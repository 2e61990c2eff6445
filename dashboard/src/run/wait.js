// A run that waits for somebody: what it asks, and the answer.

import { html, useState } from "../../vendor/core.js";
import { may, path, post } from "../api.js";
import { when } from "../format.js";
import { blank, Fields, read } from "../ui/form.js";
import { fail, toast } from "../ui/parts.js";
import { Ports } from "./panel.js";

const ANSWERS = { text: { type: "string" }, label: { type: "string" }, bool: { type: "boolean" }, int: { type: "integer" }, float: { type: "number" } };

/** A question to somebody: what is asked, the form for the answer, and what there is to see. */
export function Wait({ job, wait, onChunk }) {
  const kind = ANSWERS[wait.type.replace(/\?$/, "")] ?? {};
  const schema = { properties: { answer: kind }, required: ["answer"] };
  const [texts, setTexts] = useState(blank(schema));
  const [wrong, setWrong] = useState({});
  const [isBusy, setBusy] = useState(false);
  const send = async (value) => {
    setBusy(true);
    try {
      await post(path`/v1/jobs/${job.id}/resume`, { wait: wait.wait, value });
      toast("Answered");
    } catch (error) {
      setBusy(false);
      fail(error);
    }
  };
  const submit = (event) => {
    event.preventDefault();
    const { values, wrong: bad } = read(schema, texts);
    setWrong(bad);
    if (Object.keys(bad).length === 0) send(values.answer);
  };
  return html`<div class="note wait stack"><div><h2 class="small">${wait.about ?? `${wait.wait} waits for an answer`}</h2><div class="dim">Until ${when(wait.until)}</div></div>
    ${kind.type === "boolean"
      ? html`<div class="row"><button class="btn primary" disabled=${isBusy || !may("run")} onClick=${() => send(true)}>Yes</button><button class="btn" disabled=${isBusy || !may("run")} onClick=${() => send(false)}>No</button></div>`
      : html`<form class="stack" onSubmit=${submit}><${Fields} schema=${schema} texts=${texts} wrong=${wrong} onChange=${setTexts} prefix=${`wait-${wait.wait}`} /><div><button class="btn primary" disabled=${isBusy || !may("run")}>Answer</button></div></form>`}
    ${Object.keys(wait.shown ?? {}).length > 0 && html`<div class="stack wait-shown"><${Ports} values=${wait.shown} onChunk=${onChunk} /></div>`}
  </div>`;
}
