// What a flow takes and gives, in the types of its language, and what it may use at most.

import { html } from "../../vendor/core.js";
import { get, path } from "../api.js";
import { cost, duration, exact } from "../format.js";
import { typeName } from "../ui/form.js";
import { useLoaded } from "../ui/parts.js";

const WORDS = { executions: "Node executions", model_calls: "Calls of models", model_tokens: "Tokens of models", encoder_calls: "Calls of encoders", completion_tokens: "Tokens written", prompt_tokens: "Tokens read", cost: "Cost", wall: "Time", wall_ms: "Time" };

/** Limits as lines: what has none is left out. */
function Limits({ title, limits }) {
  const lines = Object.entries(limits ?? {}).filter(([, limit]) => limit !== null && limit !== undefined);
  if (lines.length === 0) return null;
  const written = (name, limit) => (typeof limit === "number" ? (name === "cost" ? cost(limit) : exact(limit)) : typeof limit === "string" ? limit : limit.secs !== undefined ? duration(limit.secs * 1_000 + limit.nanos / 1e6) : limit === true ? "yes" : JSON.stringify(limit));
  return html`<h2 class="small">${title}</h2><dl class="pairs">${lines.map(([name, limit]) => html`<dt key=${name}>${WORDS[name] ?? name.replaceAll("_", " ")}</dt><dd class="num">${written(name, limit)}</dd>`)}</dl>`;
}

export function About({ name, version, checked }) {
  const schema = checked?.schema ?? checked?.lastSchema;
  const { value: plan } = useLoaded((signal) => (version ? get(path`/v1/flows/${name}/explain`, { version }, { signal }) : null), [name, version]);
  const ports = (one, what) => html`<div class="scroll-x" tabindex="0" role="region" aria-label=${what}><table class="plain"><thead><tr><th>Name</th><th>Type</th><th>About</th></tr></thead><tbody>${Object.entries(one?.properties ?? {}).map(([port, kind]) => {
    const type = typeName(kind);
    const isFree = !(one.required ?? []).includes(port) && !type.endsWith("?");
    return html`<tr key=${port}><td class="mono nowrap">${port}</td><td class="mono nowrap">${type}${kind.default !== undefined ? html` <span class="dim">= ${short(kind.default)}</span>` : isFree ? "?" : ""}</td><td class="soft">${kind.description ?? ""}</td></tr>`;
  })}</tbody></table></div>`;
  return html`<div class="stack">${schema && html`<h2 class="small">Takes</h2>${ports(schema.inputs, "What it takes")}<h2 class="small">Gives</h2>${ports(schema.outputs, "What it gives")}`}
    <${Limits} title="At most, in the worst case" limits=${plan?.worst_case} /><${Limits} title="Budget" limits=${plan?.budget} /></div>`;
}

/** A default as it would be written; a long one is cut. */
function short(value) {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text.length > 40 ? `${text.slice(0, 40)}…` : text;
}
