// Eval: what `anabranch eval` found. Its summaries are files of whoever ran it: they are opened here and never leave the
// browser.

import { html, signal, useState } from "../../vendor/core.js";
import { cost, count, duration, exact, many, share } from "../format.js";
import { href } from "../router.js";
import { Icon } from "../ui/icons.js";
import { copy, Empty, toast } from "../ui/parts.js";

/** Largest summary that is opened, in bytes. */
const FILE_BYTES = 32 << 20;

/** The summaries that are open, each `{id, file, summary}`; they stay while the page is elsewhere. */
const open = signal([]);

const isMap = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const isNumber = (value) => typeof value === "number";
const USAGE = ["model_calls", "prompt_tokens", "cached_tokens", "completion_tokens", "cost"];

/** Whether this is what `anabranch eval` leaves, as far as it is shown; what an older one left out is filled in. */
function checked(summary) {
  const isFigure = (one) => isMap(one) && isNumber(one.mean) && isMap(one.interval) && isNumber(one.interval.low) && isNumber(one.interval.high);
  const isVariant = (one) => isMap(one) && typeof one.name === "string" && isMap(one.figures) && Object.values(one.figures).every(isFigure);
  if (!isMap(summary) || typeof summary.flow !== "string" || !Array.isArray(summary.variants) || summary.variants.length === 0 || !summary.variants.every(isVariant)) {
    throw new Error("it is no summary.json of anabranch eval");
  }
  const lists = Object.fromEntries(["comparisons", "left_out"].map((name) => [name, (Array.isArray(summary[name]) ? summary[name] : []).filter(isMap)]));
  const variants = summary.variants.map((one) => ({
    ...one,
    usage: { ...Object.fromEntries(USAGE.map((name) => [name, 0])), ...(isMap(one.usage) ? one.usage : {}) },
    latency_ms: isMap(one.latency_ms) ? one.latency_ms : {},
    failed_questions: (Array.isArray(one.failed_questions) ? one.failed_questions : []).filter(isMap),
  }));
  return { ...summary, ...lists, comparisons: lists.comparisons.filter((one) => isMap(one.figures)), variants };
}

async function take(files) {
  for (const file of files) {
    try {
      if (file.size > FILE_BYTES) throw new Error("it is too large for a summary");
      const text = await file.text();
      // Every summary has the same name: what is in it tells one from another.
      if (open.value.some((one) => one.text === text)) continue;
      const n = open.value.reduce((most, one) => Math.max(most, one.n), 0) + 1;
      open.value = [...open.value, { n, file: file.webkitRelativePath || file.name, text, summary: checked(JSON.parse(text)) }];
    } catch (error) {
      toast(`${file.name} cannot be opened: ${error.message}`, { bad: true });
    }
  }
}

/** The variants of all summaries that are open, each with which it is from. */
const everybody = () => open.value.flatMap(({ n, summary }) => summary.variants.map((variant) => ({ ...variant, key: `${n} ${variant.name}`, name: variant.name === summary.flow ? `${n} · ${summary.flow}` : `${n} · ${summary.flow} · ${variant.name}` })));

export default function Evals() {
  const [isOver, setOver] = useState(false);
  const drop = {
    onDragOver: (event) => {
      event.preventDefault();
      setOver(true);
    },
    onDragLeave: () => setOver(false),
    onDrop: (event) => {
      event.preventDefault();
      setOver(false);
      take(event.dataTransfer.files);
    },
  };
  const picker = html`<label class="btn primary file"><${Icon} name="plus" />Open results<input type="file" class="sr" accept=".json,application/json" multiple onChange=${async (event) => {
    const { target } = event;
    await take(target.files);
    // The same file again is a change, too.
    target.value = "";
  }} /></label>`;
  return html`<div class=${`page evals ${isOver ? "over" : ""}`} ...${drop}>
    <header><div><h1>Eval</h1><p class="dim">What <code>anabranch eval</code> found: figures with their confidence, variants side by side.</p></div><div class="actions">${picker}</div></header>
    ${open.value.length === 0 && html`<div class="card"><${Empty} icon="eval" title="No results open"><p>Ask a flow every question of a set, then open the <code>summary.json</code> that it leaves, or drop it here. The file stays in your browser.</p>
      <pre class="code">anabranch eval flows/quickstart.yaml --data sets/my-set --out results</pre>
      <div class="row"><button class="btn" onClick=${() => copy("anabranch eval flows/quickstart.yaml --data sets/my-set --out results", "the command")}><${Icon} name="copy" />Copy the command</button></div><//></div>`}
    ${open.value.length > 1 && html`<${Together} />`}
    ${open.value.map((one) => html`<${Summary} key=${one.n} n=${one.n} file=${one.file} summary=${one.summary} />`)}
  </div>`;
}

const figuresOf = (variants) => [...new Set(variants.flatMap((variant) => Object.keys(variant.figures)))];

/** All that is open, side by side. */
function Together() {
  const variants = everybody();
  return html`<section class="card" aria-label="Side by side"><header><h2>Side by side</h2><span class="chip">${many(open.value.length, "summary").replace("summarys", "summaries")}</span>
      <span class="dim">Intervals are of each by itself; compare what was asked the same questions.</span></header>
    <div class="body stack"><div class="figures">${figuresOf(variants).map((figure) => html`<${Figure} key=${figure} name=${figure} variants=${variants} />`)}</div><${Costs} variants=${variants} /></div></section>`;
}

function Summary({ n, file, summary }) {
  const figures = figuresOf(summary.variants);
  const close = () => (open.value = open.value.filter((one) => one.n !== n));
  return html`<section class="card" aria-label=${`Evaluation of ${summary.flow}`}><header><span class="side-mark">${n}</span><h2><a href=${href(["flows", summary.flow])}>${summary.flow}</a></h2><span class="chip">${many(summary.questions, "question")}</span><span class="dim cut">${summary.data}</span>
      <span class="end row"><span class="dim">${file}</span><button class="btn bare icon small" aria-label=${`Close ${file}`} onClick=${close}><${Icon} name="close" /></button></span></header>
    <div class="body stack">
      <h3>Figures</h3>
      <div class="figures">${figures.map((figure) => html`<${Figure} key=${figure} name=${figure} variants=${summary.variants} />`)}</div>
      <${Costs} variants=${summary.variants} />
      ${summary.comparisons.map((compared) => html`<${Compared} key=${`${compared.variant} ${compared.with}`} compared=${compared} />`)}
      <${Failures} variants=${summary.variants} />
      ${summary.left_out?.length > 0 && html`<details><summary class="soft">What could not be worked out</summary><ul class="stack tight">${summary.left_out.map((left) => html`<li key=${left.figures}><code>${left.figures}</code> <span class="dim">${left.why}</span></li>`)}</ul></details>`}
    </div></section>`;
}

const points = (n) => (Math.abs(n) <= 1.5 ? n.toFixed(3) : n < 100 ? n.toFixed(2) : exact(Math.round(n)));

/** One figure of every variant: its mean, and between what it is with 95 % confidence. */
function Figure({ name, variants }) {
  const shown = variants.filter((variant) => variant.figures[name]);
  const most = Math.max(1, ...shown.map((variant) => variant.figures[name].interval.high));
  // What all share is nobody's lead.
  const means = shown.map((variant) => variant.figures[name].mean);
  const best = Math.max(...means) > Math.min(...means) ? Math.max(...means) : null;
  const at = (value) => `${(100 * Math.max(0, value)) / most}%`;
  return html`<div class="figure"><h3 class="mono">${name}</h3><table class="plain"><tbody>${shown.map((variant) => {
    const { mean, interval, n } = variant.figures[name];
    return html`<tr key=${variant.key ?? variant.name}><td class="cut" title=${variant.name}>${variant.name}</td><td class="n"><strong class=${mean === best ? "ok-text" : ""}>${points(mean)}</strong></td>
      <td class="figure-bar" title=${`${points(interval.low)} to ${points(interval.high)}, ${many(n, "question")}`}><span><i style=${{ width: at(mean) }}></i><b style=${{ left: at(interval.low), width: `${(100 * (interval.high - interval.low)) / most}%` }}></b></span><span class="sr">${points(interval.low)} to ${points(interval.high)}</span></td></tr>`;
  })}</tbody></table></div>`;
}

function Costs({ variants }) {
  return html`<div class="scroll-x" tabindex="0" role="region" aria-label="Time and cost"><table class="plain"><thead><tr><th>Variant</th><th class="n">Asked</th><th class="n">Failed</th><th class="n">Median</th><th class="n">p99</th><th class="n">Model calls</th><th class="n">Tokens read</th><th class="n">Cached</th><th class="n">Written</th><th class="n">Cost</th></tr></thead>
    <tbody>${variants.map(({ key, name, asked, failed, usage, latency_ms }) => html`<tr key=${key ?? name}><td class="mono">${name}</td><td class="n">${count(asked)}</td><td class="n">${failed ? html`<span class="bad-text">${count(failed)}</span>` : 0}</td><td class="n">${duration(latency_ms.p50)}</td><td class="n">${duration(latency_ms.p99)}</td>
      <td class="n">${count(usage.model_calls)}</td><td class="n">${count(usage.prompt_tokens)}</td><td class="n">${share(usage.cached_tokens, usage.prompt_tokens)}</td><td class="n">${count(usage.completion_tokens)}</td><td class="n">${cost(usage.cost)}</td></tr>`)}</tbody></table></div>`;
}

/** Differences that are more than chance stand out. */
function Compared({ compared }) {
  return html`<div class="stack tight"><h3><span class="mono">${compared.variant}</span> against <span class="mono">${compared.with}</span> <span class="dim">${many(compared.questions, "question")}${compared.unpaired ? `, ${count(compared.unpaired)} only in one` : ""}</span></h3>
    <div class="scroll-x" tabindex="0" role="region" aria-label=${`${compared.variant} against ${compared.with}`}><table class="plain"><thead><tr><th>Figure</th><th class="n">Is</th><th class="n">Was</th><th class="n">Difference</th><th class="n">95 %</th></tr></thead><tbody>${Object.entries(compared.figures).map(([name, one]) => {
      const interval = one.interval ?? one;
      const isSure = interval.low > 0 || interval.high < 0;
      const by = one.difference ?? one.mean - one.with;
      return html`<tr key=${name}><td class="mono">${name}</td><td class="n">${points(one.mean)}</td><td class="n">${points(one.with)}</td><td class="n"><span class=${isSure ? (by > 0 ? "ok-text" : "bad-text") : "dim"}>${by > 0 ? "+" : ""}${points(by)}</span></td>
        <td class="n dim">${interval.low === undefined ? "–" : `${points(interval.low)} to ${points(interval.high)}`}</td></tr>`;
    })}</tbody></table></div></div>`;
}

function Failures({ variants }) {
  const failed = variants.flatMap((variant) => variant.failed_questions.map((question) => ({ variant: variant.name, ...question })));
  if (failed.length === 0) return null;
  return html`<details><summary class="soft">${many(failed.length, "question")} failed</summary><table class="plain"><thead><tr><th>Question</th><th>Variant</th><th>Why</th></tr></thead><tbody>${failed.slice(0, 200).map((one) => html`<tr key=${`${one.variant}${one.id}`}>
    <td class="mono">${one.id}</td><td class="mono">${one.variant}</td><td><span class="bad-text">${one.kind}</span> ${one.message}</td></tr>`)}</tbody></table></details>`;
}
