// The form that runs a flow, made from what it takes.

import { html, useState } from "../../vendor/core.js";
import { may, post } from "../api.js";
import { go } from "../router.js";
import { blank, Fields, read, wrongOf } from "../ui/form.js";
import { Icon } from "../ui/icons.js";
import { fail } from "../ui/parts.js";

export function RunForm({ name, version, text, checked, parts }) {
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
