// Operators: the generated reference, searched and read in one place.

import { html, useEffect, useMemo, useState } from "../../vendor/core.js";
import { get, path } from "../api.js";
import { href, route } from "../router.js";
import { plain } from "../ui/form.js";
import { Icon } from "../ui/icons.js";
import { Empty, Failure, Loading, useLoaded } from "../ui/parts.js";
import { Prose } from "../ui/prose.js";

export default function Operators() {
  const name = route.value.parts[1];
  const { value, error, again } = useLoaded((signal) => get("/v1/operators", {}, { signal }), []);
  const [words, setWords] = useState("");
  const groups = useMemo(() => {
    const found = new Map();
    for (const op of value?.items ?? []) {
      if (!`${op.name} ${op.summary}`.toLowerCase().includes(words.trim().toLowerCase())) continue;
      const module = op.name.split(".")[0];
      found.set(module, [...(found.get(module) ?? []), op]);
    }
    return [...found];
  }, [value, words]);
  return html`<div class="page fill ops-page">
    <header><div><h1>Operators</h1><p class="dim">What flows are made of${value ? `: ${value.items.length} of them` : ""}.</p></div></header>
    ${error && html`<${Failure} error=${error} again=${again} />`}
    <div class="ops-grid">
      <nav class="card ops-list" aria-label="Operators">
        <div class="ops-search"><div class="search"><${Icon} name="search" /><input class="input" type="search" data-search aria-label="Search operators" placeholder="Search operators" value=${words} onInput=${(event) => setWords(event.target.value)} /></div></div>
        <div class="ops-names" tabindex="-1">${!value && !error && html`<${Loading} />`}${groups.map(([module, ops]) => html`<div key=${module}><h2 class="label">${module}</h2><ul>${ops.map((op) => html`<li key=${op.name}>
          <a href=${href(["operators", op.name])} aria-current=${op.name === name ? "page" : undefined} title=${op.summary}>${op.name}</a></li>`)}</ul></div>`)}
          ${value && groups.length === 0 && html`<p class="dim pad">No operator fits.</p>`}</div>
      </nav>
      <section class="card ops-one" aria-label="Operator">${name ? html`<${One} key=${name} name=${name} />` : html`<${Empty} icon="operators" title="Choose an operator"><p>Each has a page: what it does and when to use it, its ports, its settings with their defaults and bounds.</p><//>`}</section>
    </div>
  </div>`;
}

function One({ name }) {
  const { value: op, error, again } = useLoaded((signal) => get(path`/v1/operators/${name}`, {}, { signal }), [name]);
  useEffect(() => document.querySelector(".ops-one")?.scrollTo(0, 0), [name]);
  if (error) return html`<div class="pad"><${Failure} error=${error} again=${again} /></div>`;
  if (!op) return html`<${Loading} />`;
  const settings = Object.entries(op.settings.properties ?? {});
  const required = new Set(op.settings.required ?? []);
  return html`<article class="pad stack"><h2 class="op-title mono">${op.name}</h2>
    <${Prose} text=${op.page} />
    <${Ports} title="Takes" ports=${op.inputs} more=${op.open_inputs} /><${Ports} title="Gives" ports=${op.outputs} />
    ${settings.length > 0 && html`<h3>Settings</h3><div class="scroll-x" tabindex="0" role="region" aria-label="Settings"><table class="plain"><thead><tr><th>Setting</th><th>Value</th><th>Default</th><th>About</th></tr></thead>
      <tbody>${settings.map(([setting, schema]) => html`<tr key=${setting}><td class="mono">${setting}${required.has(setting) ? html` <span class="chip">needed</span>` : ""}</td><td class="soft">${kindOf(schema)}</td>
        <td class="mono">${schema.default === undefined ? html`<span class="dim">–</span>` : written(schema.default)}</td><td><${Prose} text=${schema.description ?? ""} /></td></tr>`)}</tbody></table></div>`}
  </article>`;
}

function Ports({ title, ports, more }) {
  if (ports.length === 0 && !more) return null;
  return html`<h3>${title}</h3><div class="scroll-x" tabindex="0" role="region" aria-label=${title}><table class="plain"><thead><tr><th>Port</th><th>Type</th><th>About</th></tr></thead><tbody>
    ${ports.map((port) => html`<tr key=${port.name}><td class="mono">${port.name}</td><td class="mono soft">${port.type}</td><td><${Prose} text=${port.about} /></td></tr>`)}
    ${more && html`<tr><td class="dim">any other</td><td class="mono soft">${more}</td><td></td></tr>`}</tbody></table></div>`;
}

/** A default as it would be written; a long one is cut. */
function written(value) {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text.length > 90 ? `${text.slice(0, 90)}…` : text;
}

/** What a setting may be: its type, its words, its bounds. */
function kindOf(schema) {
  const kind = plain(schema);
  const words = kind.enum ?? kind.oneOf?.map((one) => one.const).filter((one) => one !== undefined);
  if (words?.length) return words.join(", ");
  const name = schema["x-anabranch"] ?? kind["x-anabranch"] ?? (Array.isArray(kind.type) ? kind.type.filter((one) => one !== "null").join(" or ") : kind.type) ?? "any";
  const least = kind.minimum ?? kind.exclusiveMinimum;
  const most = kind.maximum ?? kind.exclusiveMaximum;
  if (least !== undefined && most !== undefined) return `${name}, ${least} to ${most}`;
  if (least !== undefined) return `${name}, at least ${least}`;
  return most === undefined ? name : `${name}, at most ${most}`;
}
