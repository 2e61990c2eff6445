// The editor of flows. It lives in a shadow tree, where the rules that it makes for itself need no permission to be inline.

import { html, useEffect, useRef, useState } from "../../vendor/core.js";

let library = null;
/** Loads it once the page has been drawn: it is as large as everything else together. */
const load = async () => {
  if (!library) {
    await new Promise((drawn) => requestAnimationFrame(() => setTimeout(drawn)));
    library = await import("../../vendor/editor.js");
  }
  return library;
};

/** Where in a document a place is that is given as line and column, both from 1, columns in characters. */
function offset(doc, line, column) {
  const at = doc.line(Math.min(Math.max(1, line), doc.lines));
  const before = Array.from(at.text).slice(0, Math.max(0, column - 1)).join("");
  return at.from + before.length;
}

/** What is wrong, as the editor marks it; only what is in this text. */
function marks(doc, problems) {
  return problems
    .filter((problem) => problem.span)
    .map(({ span, message, hint, code, severity }) => {
      const from = offset(doc, span.line, span.column);
      const to = Math.max(from, offset(doc, span.end_line, span.end_column));
      return { from, to, severity: severity === "warning" ? "warning" : "error", source: code, message: hint ? `${message}\nhint: ${hint}` : message };
    });
}

function look(lib) {
  const { EditorView, HighlightStyle, syntaxHighlighting, tags } = lib;
  const theme = EditorView.theme({
    "&": { height: "100%", fontSize: "12.5px", color: "var(--text)", backgroundColor: "var(--surface)" },
    "&.cm-focused": { outline: "2px solid var(--accent)", outlineOffset: "-2px" },
    ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.6" },
    ".cm-content": { caretColor: "var(--text)" },
    ".cm-gutters": { backgroundColor: "var(--surface)", color: "var(--text-3)", border: "none" },
    ".cm-activeLine, .cm-activeLineGutter": { backgroundColor: "color-mix(in srgb, var(--sunken) 60%, transparent)" },
    ".cm-cursor": { borderLeftColor: "var(--text)" },
    ".cm-selectionBackground, &.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground": { backgroundColor: "var(--accent-soft)" },
    ".cm-tooltip, .cm-panels": { backgroundColor: "var(--surface)", color: "var(--text)", border: "1px solid var(--line-strong)", borderRadius: "6px" },
    ".cm-tooltip-lint": { padding: "4px 2px", maxWidth: "520px" },
    ".cm-diagnostic": { whiteSpace: "pre-wrap", fontFamily: "var(--sans)", padding: "3px 10px" },
    ".cm-diagnosticSource": { fontSize: "11px", opacity: "1", color: "var(--text-3)" },
    ".cm-diagnostic-error": { borderLeftColor: "var(--bad)" },
    ".cm-diagnostic-warning": { borderLeftColor: "var(--wait)" },
    ".cm-lintRange-error": { backgroundImage: "none", textDecoration: "underline wavy var(--bad) 1px", textUnderlineOffset: "3px" },
    ".cm-lintRange-warning": { backgroundImage: "none", textDecoration: "underline wavy var(--wait) 1px", textUnderlineOffset: "3px" },
    ".cm-lint-marker": { width: "9px", height: "9px", borderRadius: "5px", content: "''", margin: "6px 0 0 2px" },
    ".cm-lint-marker-error": { backgroundColor: "var(--bad)" },
    ".cm-lint-marker-warning": { backgroundColor: "var(--wait)" },
    ".cm-textfield": { backgroundColor: "var(--surface)", border: "1px solid var(--line-strong)", color: "var(--text)" },
    ".cm-button": { backgroundImage: "none", backgroundColor: "var(--sunken)", border: "1px solid var(--line-strong)", color: "var(--text)" },
    ".cm-searchMatch": { backgroundColor: "var(--mark)" },
    ".cm-foldPlaceholder": { backgroundColor: "var(--sunken)", border: "none", color: "var(--text-2)" },
  });
  const words = HighlightStyle.define([
    { tag: [tags.propertyName, tags.definition(tags.propertyName)], color: "var(--code-key)" },
    { tag: [tags.string, tags.content], color: "var(--text)" },
    { tag: tags.special(tags.string), color: "var(--code-text)" },
    { tag: [tags.lineComment, tags.comment], color: "var(--text-3)", fontStyle: "italic" },
    { tag: [tags.keyword, tags.bool, tags.null, tags.atom], color: "var(--code-word)" },
    { tag: tags.number, color: "var(--code-number)" },
    { tag: [tags.punctuation, tags.separator, tags.brace, tags.squareBracket], color: "var(--text-3)" },
  ]);
  return [theme, syntaxHighlighting(words)];
}

/**
 * The editor of `text`, which is what it begins with: a plain field at first, which is replaced when the editor is there,
 * or stays if it cannot be loaded. `handle.current` has `set(text)` and `show(line, column)`.
 * `onChange(text)` is told of every change.
 */
export function Editor({ text, problems, onChange, onSave, label, handle, readOnly = false }) {
  const host = useRef(null);
  const view = useRef(null);
  const told = useRef({ onChange, onSave });
  told.current = { onChange, onSave };
  const field = useRef(null);
  const [isReady, setReady] = useState(false);
  useEffect(() => {
    let isGone = false;
    load().then((lib) => {
      if (isGone) return;
      const { value, selectionStart, selectionEnd, scrollTop } = field.current;
      const hasFocus = document.activeElement === field.current;
      const shadow = host.current.shadowRoot ?? host.current.attachShadow({ mode: "open" });
      const save = { key: "Mod-s", run: () => (told.current.onSave?.(), true), preventDefault: true };
      view.current = new lib.EditorView({
        root: shadow,
        parent: shadow,
        doc: value,
        // A field counts in the same units.
        selection: { anchor: selectionStart, head: selectionEnd },
        extensions: [
          lib.lineNumbers(),
          lib.foldGutter(),
          lib.lintGutter(),
          lib.history(),
          lib.drawSelection(),
          lib.indentOnInput(),
          lib.bracketMatching(),
          lib.highlightActiveLine(),
          lib.highlightSelectionMatches(),
          lib.search({ top: true }),
          lib.yaml(),
          look(lib),
          lib.EditorState.readOnly.of(readOnly),
          lib.EditorView.contentAttributes.of({ "aria-label": label, spellcheck: "false", tabindex: "0" }),
          lib.EditorView.updateListener.of((update) => update.docChanged && told.current.onChange?.(update.state.doc.toString())),
          lib.keymap.of([save, ...lib.defaultKeymap, ...lib.historyKeymap, ...lib.searchKeymap, ...lib.foldKeymap, ...lib.lintKeymap]),
        ],
      });
      setReady(true);
      view.current.scrollDOM.scrollTop = scrollTop;
      if (hasFocus) view.current.focus();
    }, () => {});
    return () => {
      isGone = true;
      view.current?.destroy();
      view.current = null;
    };
  }, []);
  useEffect(() => {
    if (!isReady) return;
    const { state } = view.current;
    view.current.dispatch(library.setDiagnostics(state, marks(state.doc, problems)));
  }, [isReady, problems]);
  if (handle) {
    handle.current = {
      set(next) {
        const now = view.current;
        if (!now) {
          field.current.value = next;
          told.current.onChange?.(next);
        } else if (now.state.doc.toString() !== next) now.dispatch({ changes: { from: 0, to: now.state.doc.length, insert: next } });
      },
      show(line, column = 1) {
        const now = view.current;
        if (!now) {
          const from = field.current.value.split("\n").slice(0, line - 1).join("\n").length;
          field.current.setSelectionRange(from + column, from + column);
          field.current.focus();
          return;
        }
        const at = offset(now.state.doc, line, column);
        now.dispatch({ selection: { anchor: at }, effects: library.EditorView.scrollIntoView(at, { y: "center" }) });
        now.focus();
      },
    };
  }
  return html`<div class="editor" ref=${host} hidden=${!isReady}></div>${!isReady && html`<textarea class="editor plain mono" ref=${field} aria-label=${label} spellcheck=${false} readonly=${readOnly} wrap="off" defaultValue=${text}
    onInput=${(event) => told.current.onChange?.(event.target.value)} onKeyDown=${(event) => {
      if (event.key !== "s" || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      told.current.onSave?.();
    }}></textarea>`}`;
}
