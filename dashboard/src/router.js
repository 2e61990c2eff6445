// Which page is shown: `#/runs/job_…?tab=graph`. After the hash, so that the service may be mounted anywhere.

import { signal } from "../vendor/core.js";

function parse() {
  const [path, query] = location.hash.replace(/^#/, "").split("?");
  const parts = path.split("/").filter(Boolean).map(decodeURIComponent);
  return { parts: parts.length ? parts : ["runs"], query: new URLSearchParams(query ?? "") };
}

/** Where we are: `parts` of the path, decoded, and the `query`. */
export const route = signal(parse());

addEventListener("hashchange", () => {
  route.value = parse();
});

/** The address of a page: href(["runs", id], {tab: "graph"}). Empty values are left out. */
export function href(parts, query) {
  const path = parts.map((part) => encodeURIComponent(part)).join("/");
  const pairs = Object.entries(query ?? {}).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const text = new URLSearchParams(pairs).toString();
  return `#/${path}${text ? `?${text}` : ""}`;
}

/** Goes to a page. */
export function go(parts, query) {
  location.hash = href(parts, query);
}

/** Changes the query of this page without a new entry in the history. */
export function setQuery(changes) {
  const query = Object.fromEntries(route.value.query);
  for (const [name, value] of Object.entries(changes)) query[name] = value;
  const next = href(route.value.parts, query);
  if (next !== location.hash) {
    history.replaceState(null, "", next);
    route.value = parse();
  }
}
