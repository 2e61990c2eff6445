// Long lists: only the rows in view are in the document.

import { html, useEffect, useLayoutEffect, useRef, useState } from "../../vendor/core.js";

/** Rows that are drawn above and below what is in view. */
const SPARE = 10;

/**
 * A list of `count` rows of `height` pixels each, drawn by `row(index)`. `handle.current.show(index)` scrolls a row into
 * view; `onEnd` is called when the last rows come into view.
 */
export function Windowed({ count, height, row, handle, onEnd, onScroll, children, ...rest }) {
  const box = useRef(null);
  const [view, setView] = useState({ top: 0, rows: 40 });
  const look = () => {
    if (!box.current) return;
    const { scrollTop, clientHeight } = box.current;
    const next = { top: Math.floor(scrollTop / height), rows: Math.ceil(clientHeight / height) + 1 };
    setView((old) => (old.top === next.top && old.rows === next.rows ? old : next));
  };
  useLayoutEffect(() => {
    look();
    const watch = new ResizeObserver(look);
    watch.observe(box.current);
    return () => watch.disconnect();
  }, [height]);
  const first = Math.max(0, Math.min(view.top - SPARE, count - 1));
  const last = Math.min(count, view.top + view.rows + SPARE);
  useEffect(() => {
    if (last >= count) onEnd?.();
  }, [last, count]);
  if (handle) {
    handle.current = {
      show(index) {
        const { scrollTop, clientHeight } = box.current;
        const top = index * height;
        if (top < scrollTop) box.current.scrollTop = top;
        else if (top + height > scrollTop + clientHeight) box.current.scrollTop = top + height - clientHeight;
      },
      rows: () => Math.max(1, view.rows - 2),
      element: () => box.current,
    };
  }
  const rows = [];
  for (let index = first; index < last; index += 1) rows.push(row(index));
  return html`<div ...${rest} ref=${box} onScroll=${(event) => {
    look();
    onScroll?.(event);
  }}>
    ${children}
    <div role="presentation" style=${{ height: `${count * height}px`, position: "relative" }}>
      <div role="presentation" style=${{ position: "absolute", insetInline: 0, top: `${first * height}px` }}>${rows}</div>
    </div>
  </div>`;
}
