// Streams of events. EventSource cannot send a key, so they are read from the body of a request.

import { createParser } from "../vendor/core.js";
import { said, send } from "./api.js";

/** First and longest pause before a broken stream is taken up again, in milliseconds. */
const PAUSE_MS = 500;
const PAUSE_MAX_MS = 15_000;

/** Reads one stream to its end: `onEvent({id, event, data})`, with `data` read as JSON. */
async function read(response, onEvent) {
  const parser = createParser({
    onEvent: ({ id, event, data }) => {
      let read;
      try {
        read = JSON.parse(data);
      } catch {
        read = data;
      }
      onEvent({ id, event, data: read });
    },
  });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    parser.feed(value);
  }
}

/** Sends a request whose answer is a stream; resolves when it ends, with the response. */
export async function stream(method, where, { body, signal, onEvent, onOpen }) {
  const response = await send(method, where, { body, signal, headers: { accept: "text/event-stream" } });
  if (!response.ok) throw await said(response);
  onOpen?.(response);
  await read(response, onEvent);
  return response;
}

/**
 * Follows a job from the record after `after` until its end: a stream that breaks is taken up where it broke.
 * `onState` is told `live`, `broken` (with the error) and `over`.
 */
export async function follow(where, { after, signal, onEvent, onState }) {
  let last = after;
  let pause = PAUSE_MS;
  while (!signal.aborted) {
    let isOver = false;
    try {
      const headers = { accept: "text/event-stream" };
      if (last !== undefined && last !== null) headers["last-event-id"] = String(last);
      const response = await send("GET", where, { signal, headers });
      if (response.status === 204) return onState?.("over");
      if (!response.ok) throw await said(response);
      onState?.("live");
      await read(response, (event) => {
        pause = PAUSE_MS;
        if (event.id) last = event.id;
        if (event.event === "job_ended") isOver = true;
        onEvent(event);
      });
      if (isOver) return onState?.("over");
    } catch (error) {
      if (signal.aborted) return undefined;
      if (error.status === 404 || error.status === 401 || error.status === 403) return onState?.("over", error);
      onState?.("broken", error);
    }
    await new Promise((done) => {
      const timer = setTimeout(done, pause);
      signal.addEventListener("abort", () => (clearTimeout(timer), done()), { once: true });
    });
    pause = Math.min(pause * 2, PAUSE_MAX_MS);
  }
  return undefined;
}
