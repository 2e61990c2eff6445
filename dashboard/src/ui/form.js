// Forms made from a JSON Schema: the inputs of a flow, the answer to a wait.

import { html } from "../../vendor/core.js";

/** The part of a schema that says what there is: `anyOf: [x, null]` is `x` that may be left out. */
export function plain(schema) {
  if (schema.anyOf) return plain(schema.anyOf.find((one) => one.type !== "null") ?? {});
  return schema;
}

const TYPES = { string: "text", integer: "int", number: "float", boolean: "bool" };

/** The type of a schema as flows write it: `list<chunk>`, `int?`. */
export function typeName(schema) {
  if (!schema) return "any";
  if (schema.anyOf) return `${typeName(plain(schema))}?`;
  if (schema.enum) return schema.enum.map(String).join(" | ");
  if (schema.type === "array") return `list<${typeName(schema.items)}>`;
  if (schema.type === "object") return schema.title ?? (typeof schema.additionalProperties === "object" ? `map<${typeName(schema.additionalProperties)}>` : "map");
  return TYPES[schema.type] ?? "json";
}

/** What a form begins with: the defaults, written as they are edited. */
export function blank(schema) {
  const entries = Object.entries(schema.properties ?? {}).map(([name, one]) => [name, one.default === undefined ? "" : written(plain(one), one.default)]);
  return Object.fromEntries(entries);
}

const isJson = (schema) => !["string", "integer", "number", "boolean"].includes(schema.type);

export function written(schema, value) {
  if (typeof value === "string" && !isJson(schema)) return value;
  return schema.type === "boolean" ? value : JSON.stringify(value, null, 2);
}

/** The values that a form holds, and what is wrong with it: `{values, wrong}`. What is empty and may be is left out. */
export function read(schema, texts) {
  const values = {};
  const wrong = {};
  const required = new Set(schema.required ?? []);
  for (const [name, one] of Object.entries(schema.properties ?? {})) {
    const kind = plain(one);
    const text = texts[name];
    if (kind.type === "boolean") {
      if (text !== "" && text !== undefined) values[name] = Boolean(text);
      else if (required.has(name)) values[name] = false;
      continue;
    }
    if (text === undefined || text === "") {
      if (required.has(name)) wrong[name] = "is needed";
      continue;
    }
    if (kind.type === "string") values[name] = text;
    else if (kind.type === "integer" || kind.type === "number") {
      const n = Number(text);
      if (Number.isNaN(n) || (kind.type === "integer" && !Number.isInteger(n))) wrong[name] = kind.type === "integer" ? "is a whole number" : "is a number";
      else values[name] = n;
    } else {
      try {
        values[name] = JSON.parse(text);
      } catch {
        // A list of texts may be written one a line.
        if (kind.type === "array" && plain(kind.items ?? {}).type === "string") values[name] = text.split("\n").filter(Boolean);
        else wrong[name] = "is no JSON";
      }
    }
  }
  return { values, wrong };
}

/** Field by field. `wrong` are words by name; `onChange(texts)`. */
export function Fields({ schema, texts, wrong = {}, onChange, prefix = "in" }) {
  const required = new Set(schema.required ?? []);
  const set = (name, value) => onChange({ ...texts, [name]: value });
  return Object.entries(schema.properties ?? {}).map(([name, one]) => {
    const kind = plain(one);
    const id = `${prefix}-${name}`;
    const about = [one.description, bounds(kind)].filter(Boolean).join(" ");
    const shared = { id, "aria-invalid": Boolean(wrong[name]), "aria-describedby": `${id}-about`, required: required.has(name) && kind.type !== "boolean" };
    const foot = html`<div id=${`${id}-about`}>${about && html`<div class="about">${about}</div>`}${wrong[name] && html`<div class="wrong">${wrong[name]}</div>`}</div>`;
    if (kind.type === "boolean") {
      return html`<div class="field" key=${name}><label class="check" for=${id}><input type="checkbox" ...${shared} checked=${Boolean(texts[name])} onChange=${(event) => set(name, event.target.checked)} />${name}</label>${foot}</div>`;
    }
    const label = html`<label for=${id}>${name}${required.has(name) ? "" : html` <span class="dim">optional</span>`}</label>`;
    if (kind.enum) {
      return html`<div class="field" key=${name}>${label}<select class="input" ...${shared} value=${texts[name] ?? ""} onChange=${(event) => set(name, event.target.value)}>
        <option value=""></option>${kind.enum.map((word) => html`<option key=${word} value=${word}>${word}</option>`)}</select>${foot}</div>`;
    }
    if (kind.type === "integer" || kind.type === "number") {
      return html`<div class="field" key=${name}>${label}<input class="input num" type="number" step=${kind.type === "integer" ? 1 : "any"} min=${kind.minimum} max=${kind.maximum} ...${shared}
        value=${texts[name] ?? ""} onInput=${(event) => set(name, event.target.value)} />${foot}</div>`;
    }
    const text = texts[name] ?? "";
    return html`<div class="field" key=${name}>${label}<textarea class=${`input ${kind.type === "string" ? "" : "mono"}`} rows=${Math.min(12, Math.max(kind.type === "string" ? 2 : 3, text.split("\n").length))} ...${shared}
      placeholder=${kind.type === "string" ? "" : kind.type === "array" ? "[…] as JSON" : "as JSON"} value=${text} onInput=${(event) => set(name, event.target.value)}></textarea>${foot}</div>`;
  });
}

function bounds(kind) {
  const parts = [];
  if (kind.minimum !== undefined && kind.maximum !== undefined) parts.push(`${kind.minimum} to ${kind.maximum}.`);
  else if (kind.minimum !== undefined) parts.push(`At least ${kind.minimum}.`);
  else if (kind.maximum !== undefined) parts.push(`At most ${kind.maximum}.`);
  return parts.join(" ");
}

/** What the service found wrong, by the name of the input: pointers such as `/inputs/question`. */
export function wrongOf(problem, under = "inputs") {
  const found = {};
  for (const { pointer, message } of problem.errors ?? []) {
    const [, first, name] = (pointer ?? "").split("/");
    if (first === under && name) found[name] = message;
  }
  return found;
}
