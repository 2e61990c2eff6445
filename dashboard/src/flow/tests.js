// The tests that a flow carries, run as `anabranch test` runs them: nothing outside is asked.

import { html, useEffect, useRef, useState } from "../../vendor/core.js";
import { may, post } from "../api.js";
import { duration, many } from "../format.js";
import { Icon, Status } from "../ui/icons.js";
import { Empty, Failure } from "../ui/parts.js";

export function Tests({ text, parts, checked, onShow }) {
  const [found, setFound] = useState(null);
  const [error, setError] = useState(null);
  const [isBusy, setBusy] = useState(false);
  const stop = useRef(null);
  useEffect(() => () => stop.current?.abort(), []);
  const isReady = Boolean(checked?.valid) && checked.text === text;
  const run = async () => {
    stop.current = new AbortController();
    setBusy(true);
    setError(null);
    try {
      const body = { flow: text, flows: parts?.flows ?? {}, prompts: parts?.prompts ?? {} };
      setFound({ ...(await post("/v1/flows/test", body, { signal: stop.current.signal })), text });
    } catch (problem) {
      if (problem.name !== "AbortError") setError(problem);
    }
    setBusy(false);
  };
  // What is there is tested when somebody looks; what is typed after that, when they ask.
  useEffect(() => {
    if (isReady && !found && !isBusy && may("run")) run();
  }, [isReady]);
  if (!may("run")) return html`<p class="dim">Your key may not run anything, tests included.</p>`;
  if (found?.tests.length === 0 && found.text === text) {
    return html`<${Empty} icon="eval" title="No tests"><p>A flow carries its tests: inputs, what stands in for nodes and models, and what is expected.</p>
      <pre class="code">tests:
  - name: says what it found
    inputs: { question: Where do herons nest? }
    expect: { outputs: { answer: { contains: trees } } }</pre><//>`;
  }
  const isOld = found && found.text !== text;
  return html`<div class="stack">
    <div class="row wrap"><button class="btn" disabled=${isBusy || !isReady} onClick=${run}><${Icon} name="play" />${found ? "Run the tests again" : "Run the tests"}</button>
      <span role="status">${isBusy ? html`<span class="dim">Running…</span>` : found && html`${found.failed > 0 ? html`<span class="bad-text">${many(found.failed, "test")} failed</span>, ` : ""}<span class=${found.failed ? "" : "ok-text"}>${found.passed} passed</span>${found.left_out > 0 ? html`, <span class="dim">${found.left_out} not run: there was no time left</span>` : ""}`}</span>
      ${isOld && !isBusy && html`<span class="chip">of the text before</span>`}
      ${!checked?.valid && checked && html`<span class="dim">The flow has to load before it can be tested.</span>`}</div>
    ${error && html`<${Failure} error=${error} again=${run} />`}
    ${found && html`<ol class="tests">${found.tests.map((test, at) => html`<li key=${at} class="test">
      <div class="row"><${Status} status=${test.passed ? "succeeded" : "failed"} word=${test.passed ? "passed" : "failed"} /><button class="plain-link grow" onClick=${() => onShow(test.line)}>${test.name}</button><span class="dim num">${duration(test.ms)}</span></div>
      ${test.error && html`<p class="bad-text">It could not be run: ${test.error}</p>`}
      ${test.unmet.map((one, index) => html`<div key=${index} class="unmet"><button class="plain-link mono" onClick=${() => onShow(one.line)}>${one.what}</button>
        <dl class="pairs"><dt>expected</dt><dd class="mono">${one.expected}</dd><dt>got</dt><dd class="mono bad-text">${one.got}</dd></dl></div>`)}</li>`)}</ol>`}
  </div>`;
}
