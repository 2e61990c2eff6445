// Flows: what this service can run.

import { html, useState } from "../../vendor/core.js";
import { all, get, may } from "../api.js";
import { drafts } from "../flow/drafts.js";
import { ago, cost, count, share, when } from "../format.js";
import { href } from "../router.js";
import { Icon } from "../ui/icons.js";
import { Empty, Failure, Loading, useLoaded } from "../ui/parts.js";

export default function Flows() {
  const { value: flows, error, again } = useLoaded(() => all("/v1/flows"), []);
  // How each fared is of use, and not worth waiting for.
  const { value: usage } = useLoaded((signal) => get("/v1/usage", { group_by: "flow" }, { signal }).catch(() => null), []);
  const [words, setWords] = useState("");
  const fits = (flow) => `${flow.name} ${flow.about ?? ""}`.toLowerCase().includes(words.trim().toLowerCase());
  const shown = (flows ?? []).filter(fits);
  return html`<div class="page">
    <header><div><h1>Flows</h1><p class="dim">What this service can run; each version stays as it is.</p></div>
      <div class="actions">${may("edit") && html`<a class="btn primary" href=${href(["flows", "~new"])}><${Icon} name="plus" />New flow</a>`}</div></header>
    ${error && html`<${Failure} error=${error} again=${again} />`}
    ${!flows && !error && html`<${Loading} what="Loading flows" />`}
    ${flows?.length === 0 && html`<div class="card"><${Empty} icon="flows" title="No flows yet"><p>Write the first one here, or start the service in a folder with <code>flows/</code>.</p>
      <div class="row"><a class="btn primary" href=${href(["flows", "~new"])}><${Icon} name="plus" />New flow</a></div><//></div>`}
    ${flows?.length > 0 && html`<div class="search"><${Icon} name="search" /><input class="input" type="search" data-search aria-label="Search flows" placeholder="Search flows" value=${words} onInput=${(event) => setWords(event.target.value)} /></div>
      <ul class="flow-list">${shown.map((flow) => html`<${Flow} key=${flow.name} flow=${flow} usage=${usage?.items.find((item) => item.group === flow.name)} />`)}</ul>
      ${shown.length === 0 && html`<p class="dim">No flow fits.</p>`}`}
  </div>`;
}

function Flow({ flow, usage }) {
  const ended = usage && usage.succeeded + usage.failed;
  return html`<li class="card flow-card">
    <div class="row"><a class="flow-name grow" href=${href(["flows", flow.name])}><h2 class="cut">${flow.name}</h2></a>${drafts.value.has(flow.name) && html`<span class="chip">not saved</span>`}
      ${may("run") && html`<a class="btn small" href=${href(["flows", flow.name], { tab: "run" })} aria-label=${`Run ${flow.name}`}><${Icon} name="play" size=${13} />Run</a>`}</div>
    <p class="soft flow-about">${flow.about ?? "It does not say what it is for."}</p>
    <div class="row wrap dim flow-foot"><span class="chip">v${flow.version}</span><span title=${when(flow.created_at)}>${ago(flow.created_at)}</span>
      ${usage && html`<a href=${href(["runs"], { flow: flow.name })}>${count(usage.jobs)} ${usage.jobs === 1 ? "run" : "runs"}</a>${ended > 0 && html`<span>${share(usage.succeeded, ended)} ok</span>`}${usage.usage.cost > 0 && html`<span>${cost(usage.usage.cost / usage.jobs)} each</span>`}`}</div>
  </li>`;
}
