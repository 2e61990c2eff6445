// Charts over time, drawn by uPlot in the colours of the page.

import { html, useEffect, useRef } from "../../vendor/core.js";

let loading = null;
const load = () => (loading ??= import("../../vendor/uplot.js").then((module) => module.default));

/** Has the styles of the charts loaded, once. */
function styled() {
  if (document.querySelector("link[data-charts]")) return;
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = new URL("../../vendor/uplot.css", import.meta.url).href;
  link.dataset.charts = "";
  document.head.append(link);
}

/** The colour of a property of the page: canvases know no `light-dark()`. */
function colour(element, name) {
  const before = element.style.color;
  element.style.color = `var(${name})`;
  const found = getComputedStyle(element).color;
  element.style.color = before;
  return found;
}

/**
 * Lines or bars over time. `times` are unix seconds; each of `series` is `{label, values, tone, write, bars?}`, where `tone`
 * names a property of the page. What it shows is told in a table, too, for those who do not see it.
 */
export function Chart({ title, times, series, height = 190 }) {
  const host = useRef(null);
  useEffect(() => {
    let chart = null;
    let isGone = false;
    styled();
    const draw = (UPlot) => {
      if (isGone || !host.current) return;
      chart?.destroy();
      const [line, text] = [colour(host.current, "--line"), colour(host.current, "--text-3")];
      const axis = { stroke: text, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 }, font: "11px Inter, system-ui, sans-serif" };
      const options = {
        width: host.current.clientWidth,
        height,
        padding: [10, 12, 0, 0],
        legend: { show: false },
        cursor: { points: { size: 6 } },
        scales: { x: { time: true }, y: { range: (_, low, high) => [Math.min(0, low), high > 0 ? high * 1.08 : 1] } },
        axes: [axis, { ...axis, size: 58, values: (_, values) => values.map(series[0].write) }],
        series: [{}, ...series.map((one) => {
          const tone = colour(host.current, one.tone);
          const bars = one.bars ? { paths: UPlot.paths.bars({ size: [0.6, 40] }), fill: tone, points: { show: false } } : {};
          return { label: one.label, stroke: tone, width: one.bars ? 0 : 2, ...bars };
        })],
      };
      chart = new UPlot(options, [times, ...series.map((one) => one.values)], host.current);
    };
    let library = null;
    load().then((UPlot) => draw((library = UPlot)), () => {});
    const again = () => library && draw(library);
    const watch = new ResizeObserver(() => chart && host.current && chart.setSize({ width: host.current.clientWidth, height }));
    watch.observe(host.current);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", again);
    const theme = new MutationObserver(again);
    theme.observe(document.documentElement, { attributeFilter: ["data-theme"] });
    return () => {
      isGone = true;
      chart?.destroy();
      watch.disconnect();
      theme.disconnect();
      dark.removeEventListener("change", again);
    };
  }, [times, series]);
  return html`<figure class="chart"><figcaption class="row wrap"><h3>${title}</h3>${series.length > 1 && series.map((one) => html`<span class="dim row" key=${one.label}><i class="swatch" style=${{ background: `var(${one.tone})` }}></i>${one.label}</span>`)}</figcaption>
    <div ref=${host} aria-hidden="true"></div>
    <table class="sr"><caption>${title}</caption><thead><tr><th>Time</th>${series.map((one) => html`<th key=${one.label}>${one.label}</th>`)}</tr></thead>
      <tbody>${times.map((time, at) => html`<tr key=${time}><td>${new Date(time * 1_000).toLocaleDateString()}</td>${series.map((one) => html`<td key=${one.label}>${one.write(one.values[at])}</td>`)}</tr>`)}</tbody></table></figure>`;
}
