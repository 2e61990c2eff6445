// The one door to the service: its REST API. Keys, problems and pages are dealt with here.

import { signal } from "../vendor/core.js";

const KEY = "anabranch.key";
/** Most pages that `all` reads: lists that the dashboard wants whole are short. */
const PAGES_MAX = 50;

/** Whether the service wants a key that we do not have, and what it says about it. */
export const wanted = signal(null);
/** Whether the last request found no service: what is shown is from before. */
export const away = signal(false);
/** Who we are taken for; null until the service has said so. */
export const me = signal(null);

// The page is at `/ui/`, wherever that is mounted; the API is beside it.
const root = new URL("../", document.baseURI);

/** Why the service did not do something: an RFC 9457 problem. */
export class Problem extends Error {
  constructor(body, status) {
    super(body?.detail || body?.title || `the service answered with ${status}`);
    this.status = status;
    this.code = body?.code;
    this.hint = body?.hint;
    this.errors = body?.errors ?? [];
    this.requestId = body?.request_id;
  }
}

/** The key of this tab; gone when it is closed. */
export function key() {
  return sessionStorage.getItem(KEY);
}

export function signIn(text) {
  sessionStorage.setItem(KEY, text.trim());
  wanted.value = null;
}

export function signOut() {
  sessionStorage.removeItem(KEY);
  me.value = null;
}

/** The address of a path of the API. */
export function url(path, query) {
  const address = new URL(path.replace(/^\//, ""), root);
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== undefined && value !== null && value !== "") address.searchParams.set(name, value);
  }
  return address;
}

/** A path with names in it that may hold anything: path`/v1/jobs/${id}`. Slashes in a name stay. */
export function path(strings, ...names) {
  const safe = (name) => String(name).split("/").map(encodeURIComponent).join("/");
  return strings.reduce((text, part, at) => text + part + (at < names.length ? safe(names[at]) : ""), "");
}

/** Sends a request; the response, whatever its status. Says when a key is wanted. */
export async function send(method, where, { query, body, headers, signal: stop } = {}) {
  const all = { accept: "application/json", ...headers };
  const mine = key();
  if (mine) all.authorization = `Bearer ${mine}`;
  let payload = body;
  if (body !== undefined && typeof body !== "string") {
    payload = JSON.stringify(body);
    all["content-type"] = "application/json";
  }
  let response;
  try {
    response = await fetch(url(where, query), { method, headers: all, body: payload, signal: stop, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    // A request that was given up for its time says so by another name than one that is not wanted any more.
    away.value = true;
    throw new Problem({ code: "unreachable", detail: "the service cannot be reached" }, 0);
  }
  away.value = false;
  if (response.status === 401) {
    const problem = await said(response);
    wanted.value = mine ? problem.message : "";
    throw problem;
  }
  return response;
}

/** Sends a request; what came back, as JSON. A refusal is thrown as a `Problem`. */
export async function call(method, where, options) {
  const response = await send(method, where, options);
  if (!response.ok) throw await said(response);
  if (response.status === 204) return null;
  const kind = response.headers.get("content-type") ?? "";
  return kind.includes("json") ? response.json() : response.text();
}

export const get = (where, query, options) => call("GET", where, { query, ...options });
export const post = (where, body, options) => call("POST", where, { body, ...options });

/** Every item of a list that comes in pages. */
export async function all(where, query) {
  const items = [];
  let cursor;
  for (let page = 0; page < PAGES_MAX; page += 1) {
    const answer = await get(where, { ...query, cursor });
    items.push(...answer.items);
    cursor = answer.next_cursor;
    if (!cursor) break;
  }
  return items;
}

/** Asks who we are: also finds out whether a key is needed. */
export async function introduce() {
  me.value = await get("/v1/whoami");
  return me.value;
}

/** Whether our key allows what needs `scope`; until it is known, the service is the one to say no. */
export function may(scope) {
  return me.value === null || me.value.scopes.includes(scope);
}

export async function said(response) {
  const body = await response.json().catch(() => null);
  return new Problem(body, response.status);
}
