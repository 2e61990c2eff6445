// Indexes: what is in them, and what a search of one finds.

import { html, useState } from "../../vendor/core.js";
import { get, path, post } from "../api.js";
import { count, duration, exact } from "../format.js";
import { href, route } from "../router.js";
import { Passage } from "../run/passage.js";
import { Icon } from "../ui/icons.js";
import { Empty, Failure, Loading, useLoaded } from "../ui/parts.js";
import { Chunks } from "../ui/records.js";

const WAYS = [["words", "Words (BM25)"], ["meaning", "Meaning (vectors)"], ["both", "Both, fused"]];

export default function Indexes() {
  const { value, error, again } = useLoaded((signal) => get("/v1/indexes", {}, { signal }), []);
  const chosen = route.value.parts[1] ?? value?.items[0]?.name;
  const index = value?.items.find((one) => one.name === chosen);
  return html`<div class="page">
    <header><div><h1>Indexes</h1><p class="dim">What flows search.</p></div></header>
    ${error && html`<${Failure} error=${error} again=${again} />`}
    ${!value && !error && html`<${Loading} what="Loading indexes" />`}
    ${value?.items.length === 0 && html`<div class="card"><${Empty} icon="indexes" title="No indexes"><p>Name one with its files in <code>anabranch.yaml</code>, and start the service again:</p>
      <pre class="code">indexes:
  docs: { paths: [docs] }</pre><//></div>`}
    ${value?.items.length > 0 && html`<ul class="flow-list">${value.items.map((one) => html`<li key=${one.name}><a class="card index-card" href=${href(["indexes", one.name])} aria-current=${one.name === chosen ? "true" : undefined}>
      <h2>${one.name}</h2><dl class="facts"><div><dt>documents</dt><dd>${count(one.documents)}</dd></div><div><dt>chunks</dt><dd>${count(one.chunks)}</dd></div>
        <div><dt>vectors</dt><dd>${one.vectors ? `${count(one.vectors)} of ${exact(one.dimensions)}` : "none"}</dd></div>${one.embedder && html`<div><dt>embedder</dt><dd>${one.embedder}</dd></div>`}</dl></a></li>`)}</ul>`}
    ${index && html`<${Search} key=${index.name} index=${index} />`}
  </div>`;
}

function Search({ index }) {
  const [query, setQuery] = useState("");
  const [by, setBy] = useState("words");
  const [found, setFound] = useState(null);
  const [error, setError] = useState(null);
  const [isBusy, setBusy] = useState(false);
  const [chunk, setChunk] = useState(null);
  const search = async (event) => {
    event.preventDefault();
    if (!query.trim()) return;
    setBusy(true);
    setError(null);
    const began = performance.now();
    try {
      const { chunks } = await post(path`/v1/indexes/${index.name}/search`, { query, by, top_k: 20 });
      setFound({ chunks, ms: performance.now() - began });
    } catch (problem) {
      setError(problem);
    }
    setBusy(false);
  };
  const ways = WAYS.filter(([way]) => way === "words" || index.vectors > 0);
  return html`<section class="card" aria-label=${`Search ${index.name}`}><form class="index-search row wrap" onSubmit=${search} role="search">
      <div class="search"><${Icon} name="search" /><input class="input" type="search" data-search aria-label=${`Search ${index.name}`} placeholder=${`Search ${index.name}`} value=${query} onInput=${(event) => setQuery(event.target.value)} /></div>
      <select class="input" aria-label="By" value=${by} onChange=${(event) => setBy(event.target.value)}>${ways.map(([way, word]) => html`<option key=${way} value=${way}>${word}</option>`)}</select>
      <button class="btn primary" disabled=${isBusy}>Search</button>${found && html`<span class="dim num">${found.chunks.length} found in ${duration(found.ms)}</span>`}</form>
    ${error && html`<div class="pad"><${Failure} error=${error} /></div>`}
    ${found && html`<div class="pad">${found.chunks.length ? html`<${Chunks} chunks=${found.chunks} onChunk=${setChunk} />` : html`<${Empty} icon="search" title="Nothing found"><p>No passage fits.</p><//>`}</div>`}
    ${!found && !error && html`<div class="pad dim">Finds what <code>retrieve.*</code> finds with its usual settings.</div>`}
    ${chunk && html`<${Passage} chunk=${chunk} indexes=${[index.name]} onClose=${() => setChunk(null)} />`}
  </section>`;
}
