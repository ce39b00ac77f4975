// A chart in a frame: its title, what it says in a sentence, its figures as a table and as a CSV file.

import { download, element, renew, table } from "./dom.js";
import { csv } from "./format.js";
import { onPaletteChange, palette } from "./palette.js";

const TOP_WITH_LEGEND = 44;
const CALM = window.matchMedia("(prefers-reduced-motion: reduce)");

// `update({ option, columns, rows, summary, empty })`: `option(palette)` gives what ECharts draws; `empty` says why there
// is nothing to draw; `columns` and `rows` are what the table and the export hold, in figures and not in text. What is
// drawn follows from all but `option`, and from `variant` where the same figures are drawn in several ways.
export function chartCard(id, title, { wide = false, tall = false, scrolls = false } = {}) {
  const summary = element("p", { class: "summary", id: `${id}-summary` });
  const chart = element("div", {
    class: tall ? "chart tall" : "chart",
    role: "img",
    "aria-labelledby": `${id}-title ${id}-summary`,
  });
  const figures = element("details", { class: "figures" }, element("summary", { text: "Figures" }));
  const save = element("button", {
    type: "button",
    class: "quiet",
    "aria-label": `Export ${title} as CSV`,
    text: "CSV",
  });
  const root = element(
    "section",
    { class: wide ? "card wide" : "card", id, "aria-labelledby": `${id}-title` },
    element("header", {}, element("h2", { id: `${id}-title`, text: title }), save),
    summary,
    scrolls ? scroller(title, chart) : chart,
    figures,
  );
  let shown = null;
  let drawn = null;
  let content = "";

  function draw() {
    chart.hidden = Boolean(shown.empty);
    root.dataset.state = shown.empty ? "empty" : "drawn";
    if (shown.empty) return;
    const animation = !drawn && !CALM.matches;
    drawn ??= echarts.init(chart, null, { renderer: "canvas" });
    drawn.resize();
    const colours = palette();
    const option = shown.option(colours);
    drawn.setOption({ ...base(colours, option.legend?.show !== false), animation, ...option }, { notMerge: true });
  }

  function tabulate() {
    if (figures.open && shown) renew(figures, figures.firstChild, table(title, shown.columns, shown.rows));
  }

  function update(next) {
    shown = { columns: [], rows: [], ...next };
    // Drawn again only when it changed: a tooltip or a table that somebody reads stays.
    const now = JSON.stringify(shown);
    if (now === content) return;
    content = now;
    summary.textContent = shown.empty || shown.summary;
    figures.hidden = save.hidden = shown.rows.length === 0;
    draw();
    tabulate();
  }

  figures.addEventListener("toggle", tabulate);
  save.addEventListener("click", () => download(`quasim-${id}.csv`, "text/csv", csv(shown.columns, shown.rows)));
  onPaletteChange(() => shown && draw());
  new ResizeObserver(() => drawn && chart.clientWidth && drawn.resize()).observe(chart);
  return { root, update };
}

// What is wider than a phone is moved by finger, and by keys once it has the focus.
function scroller(title, chart) {
  return element("div", { class: "scroll-chart", tabindex: 0, role: "group", "aria-label": title }, chart);
}

// Tooltips are drawn on the canvas: as markup they would need inline styles, which the content policy forbids.
function base(colours, named) {
  return {
    color: colours.series,
    animationDuration: 250,
    textStyle: { color: colours.text, fontFamily: getComputedStyle(document.body).fontFamily },
    grid: { ...grid(), top: named ? TOP_WITH_LEGEND : 12 },
    legend: { type: "scroll", top: 4, textStyle: { color: colours.text }, pageTextStyle: { color: colours.text } },
    tooltip: tooltip(colours),
  };
}

// Everything that belongs to an axis, its name too, stays within these margins.
export function grid(right = 24) {
  return { left: 12, right, top: TOP_WITH_LEGEND, bottom: 8, outerBoundsMode: "same", outerBoundsContain: "all" };
}

export function tooltip(colours, more = {}) {
  return {
    renderMode: "richText",
    confine: true,
    backgroundColor: colours.surface,
    borderColor: colours.line,
    textStyle: { color: colours.text, fontSize: 12 },
    ...more,
  };
}

// Logarithmic over more than a decade; below that it would have hardly a tick, so that it is linear and does not begin at 0.
export function spreadAxis(colours, name, values, formatter, more = {}) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const labels = { axisLabel: { color: colours.quiet, formatter, hideOverlap: true }, ...more };
  if (!(low > 0) || high / low < 10) return axis(colours, name, { type: "value", scale: true, ...labels });
  return axis(colours, name, { type: "log", min: low * 0.9, max: high * 1.1, ...labels });
}

export function axis(colours, name, more = {}) {
  return {
    name,
    nameLocation: "middle",
    nameGap: 28,
    nameTextStyle: { color: colours.quiet },
    axisLabel: { color: colours.quiet, hideOverlap: true },
    axisLine: { lineStyle: { color: colours.line } },
    splitLine: { lineStyle: { color: colours.line } },
    ...more,
  };
}
