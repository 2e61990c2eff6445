// Another result in place of a node's: what depends on it is done again, in a new run.

import { html, useState } from "../../vendor/core.js";
import { retry } from "../jobs.js";
import { go } from "../router.js";
import { Dialog, toast } from "../ui/parts.js";

/** How a value is written to be edited: texts as they are, everything else as JSON. */
const written = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 2));

export function EditOutputs({ run, scope, outputs, onClose }) {
  const [texts, setTexts] = useState(Object.fromEntries(Object.entries(outputs).map(([name, value]) => [name, written(value)])));
  const [wrong, setWrong] = useState({});
  const [error, setError] = useState(null);
  const [isBusy, setBusy] = useState(false);
  const changed = Object.keys(outputs).filter((name) => texts[name] !== written(outputs[name]));
  const submit = async (event) => {
    event.preventDefault();
    const patch = { ...outputs };
    const bad = {};
    for (const name of changed) {
      if (typeof outputs[name] === "string") patch[name] = texts[name];
      else {
        try {
          patch[name] = JSON.parse(texts[name]);
        } catch (problem) {
          bad[name] = `no JSON: ${problem.message}`;
        }
      }
    }
    setWrong(bad);
    setError(null);
    if (Object.keys(bad).length) return;
    setBusy(true);
    try {
      const job = await retry(run.job, "failed", { [scope]: patch }).catch((problem) =>
        // Of a run in which nothing failed there is nothing to do from; the patch alone says what.
        problem.code === "conflict" ? retry(run.job, scope, { [scope]: patch }) : Promise.reject(problem),
      );
      toast(`Began a new run with another result of ${scope}`);
      go(["runs", job.id]);
    } catch (problem) {
      setBusy(false);
      const at = Object.fromEntries((problem.errors ?? []).map((one) => [one.pointer?.split("/").at(-1), one.message]));
      setWrong(at);
      setError(problem);
    }
  };
  return html`<${Dialog} title=${`Another result of ${scope}`} onClose=${onClose} wide=${true} foot=${html`
    <button class="btn" onClick=${onClose}>Close</button>
    <button class="btn primary" form="edit-outputs" disabled=${isBusy || changed.length === 0}>Run what depends on it</button>`}>
    <form id="edit-outputs" class="stack" onSubmit=${submit}>
      <p class="soft">A new run keeps every other result, takes this one as it is written here, and does again what depends on it.</p>
      ${Object.keys(outputs).map((name) => {
        const id = `out-${name}`;
        return html`<div class="field" key=${name}><label for=${id}>${name}</label>
          <textarea id=${id} class="input mono" rows=${Math.min(16, Math.max(2, texts[name].split("\n").length))} spellcheck=${typeof outputs[name] === "string"}
            aria-invalid=${Boolean(wrong[name])} value=${texts[name]} onInput=${(event) => setTexts({ ...texts, [name]: event.target.value })}></textarea>
          ${wrong[name] && html`<div class="wrong">${wrong[name]}</div>`}</div>`;
      })}
      ${error && html`<div class="note bad" role="alert"><strong>${error.message}</strong>${error.hint && html`<div class="soft">${error.hint}</div>`}</div>`}
    </form>
  <//>`;
}
