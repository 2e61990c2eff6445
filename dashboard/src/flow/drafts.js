// Texts of flows that are not saved. They stay while the page is elsewhere: a run of one can be looked into and come back from.

import { signal } from "../../vendor/core.js";

/** By flow: `{text, etag}`, where `etag` is of the version that it was made from. */
export const drafts = signal(new Map());

/** Keeps the text of a flow, or forgets it where there is none. */
export function keep(name, draft) {
  const next = new Map(drafts.value);
  if (draft) next.set(name, draft);
  else next.delete(name);
  drafts.value = next;
}

// They end with the tab.
addEventListener("beforeunload", (event) => drafts.value.size > 0 && event.preventDefault());
