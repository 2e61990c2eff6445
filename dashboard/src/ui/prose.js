// Markdown as elements. It is read into tokens, and each becomes an element of ours with text in it: whatever somebody
// wrote, a model included, never becomes HTML, and nothing is fetched for it.

import { html, useEffect, useState } from "../../vendor/core.js";

/** Longest text that is read as Markdown, in characters: of longer ones, marks and all are shown. */
const READ_CHARS = 100_000;

let lexer = null;
const loading = () => import("../../vendor/marked.js").then((module) => (lexer = module.lexer));

/** `text` as Markdown. `inline(text)` may put elements in place of parts of plain text. */
export function Prose({ text, inline = (plain) => plain }) {
  const [, setReady] = useState(lexer !== null);
  useEffect(() => {
    if (!lexer) loading().then(() => setReady(true), () => {});
  }, []);
  if (!lexer || text.length > READ_CHARS) return html`<div class="prose"><p class="value-text">${inline(text)}</p></div>`;
  return html`<div class="prose">${blocks(lexer(text, { gfm: true }), inline)}</div>`;
}

const blocks = (tokens, inline) => tokens.map((token) => block(token, inline));

function block(token, inline) {
  switch (token.type) {
    case "space":
    case "def":
      return null;
    case "heading":
      return token.depth <= 2 ? html`<h2>${spans(token.tokens, inline)}</h2>` : html`<h3>${spans(token.tokens, inline)}</h3>`;
    case "code":
      return html`<pre class="code" tabindex="0"><code>${token.text}</code></pre>`;
    case "blockquote":
      return html`<blockquote>${blocks(token.tokens, inline)}</blockquote>`;
    case "hr":
      return html`<hr />`;
    case "list": {
      const items = token.items.map((item) => html`<li>${blocks(item.tokens, inline)}</li>`);
      return token.ordered ? html`<ol start=${token.start || 1}>${items}</ol>` : html`<ul>${items}</ul>`;
    }
    case "table":
      return html`<div class="scroll-x" tabindex="0"><table class="plain"><thead><tr>${token.header.map((cell) => html`<th>${spans(cell.tokens, inline)}</th>`)}</tr></thead>
        <tbody>${token.rows.map((row) => html`<tr>${row.map((cell) => html`<td>${spans(cell.tokens, inline)}</td>`)}</tr>`)}</tbody></table></div>`;
    case "paragraph":
      return html`<p>${spans(token.tokens, inline)}</p>`;
    case "text":
      return token.tokens ? html`<span>${spans(token.tokens, inline)}</span>` : inline(token.text);
    // HTML is shown as the text that it is.
    default:
      return html`<p class="value-text">${inline(token.raw)}</p>`;
  }
}

const spans = (tokens, inline) => (tokens ?? []).map((token) => span(token, inline));

function span(token, inline) {
  switch (token.type) {
    case "strong":
      return html`<strong>${spans(token.tokens, inline)}</strong>`;
    case "em":
      return html`<em>${spans(token.tokens, inline)}</em>`;
    case "del":
      return html`<s>${spans(token.tokens, inline)}</s>`;
    case "codespan":
      return html`<code>${token.text}</code>`;
    case "br":
      return html`<br />`;
    case "link":
      return isSafe(token.href) ? html`<a href=${token.href} rel="noopener noreferrer nofollow" target="_blank">${spans(token.tokens, inline)}</a>` : html`<span>${inline(token.raw)}</span>`;
    case "image":
      return html`<span class="dim">[${token.text || "image"}]</span>`;
    case "text":
      return token.tokens ? spans(token.tokens, inline) : inline(token.text);
    case "escape":
      return token.text;
    default:
      return inline(token.raw);
  }
}

/** Only addresses of the web are links; `javascript:` and the like stay text. */
function isSafe(href) {
  try {
    return ["http:", "https:"].includes(new URL(href).protocol);
  } catch {
    return false;
  }
}
