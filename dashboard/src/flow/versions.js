// The versions of a flow: which is active, which still have runs, and making another the active one.

import { html } from "../../vendor/core.js";
import { get, may, path, post } from "../api.js";
import { ago, count, when } from "../format.js";
import { href } from "../router.js";
import { confirm, fail, Failure, toast, useLoaded } from "../ui/parts.js";

export function Versions({ name, shown, reload }) {
  const { value, error, again } = useLoaded((signal) => get(path`/v1/flows/${name}/versions`, {}, { signal }), [name, shown]);
  const activate = async (version) => {
    if (!(await confirm(`Activate version ${version}?`, "New runs take it from now on. Runs that were taken in keep theirs.", { yes: "Activate" }))) return;
    try {
      await post(path`/v1/flows/${name}/activate`, { version });
      toast(`Version ${version} is active`);
      again();
      reload();
    } catch (problem) {
      fail(problem);
    }
  };
  if (error) return html`<${Failure} error=${error} again=${again} />`;
  if (!value) return html`<p class="dim">Loading…</p>`;
  return html`<table class="plain"><thead><tr><th>Version</th><th>Saved</th><th class="n">Open runs</th><th><span class="sr">What can be done</span></th></tr></thead><tbody>${value.items.map((one) => html`<tr key=${one.version}>
    <td><a href=${href(["flows", name], { version: one.version, tab: "versions" })} aria-current=${one.version === shown ? "true" : undefined}>v${one.version}</a>${one.active ? html` <span class="chip good">active</span>` : ""}</td>
    <td title=${when(one.created_at)}>${ago(one.created_at)}${one.created_by ? html`<div class="dim mono">${one.created_by}</div>` : ""}</td><td class="n">${count(one.in_flight)}</td>
    <td class="n">${!one.active && may("edit") && html`<button class="btn small" onClick=${() => activate(one.version)}>Activate</button>`}</td></tr>`)}</tbody></table>`;
}
