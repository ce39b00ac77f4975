// Events: what happened, when and to whom, newest first.

import { axis, chartCard, tooltip } from "./card.js";
import { choice, element, fill, renew, table } from "./dom.js";
import { clock, plural } from "./format.js";
import { choose } from "./route.js";

const COLUMNS = ["time", "event", "node", "round", "cycle", "what happened"];

export const eventsPage = {
  name: "events",
  title: "Events",
  mount(root) {
    const controls = element("div", { class: "choices" });
    const facts = element("p", { class: "facts", id: "events-facts" });
    const timeline = chartCard("events-timeline", "When it happened", { wide: true });
    const log = element("section", { class: "card wide", id: "events-log", "aria-label": "Log of events" });
    root.append(controls, facts, element("div", { class: "cards" }, timeline.root, log));
    let offered = "";
    return (view, choices) => {
      const kinds = [...new Set(view.events.map((event) => event.kind))].sort();
      const nodes = [...new Set(view.events.map((event) => event.node).filter(Boolean))].sort();
      const offer = JSON.stringify([kinds, nodes, choices.kind, choices.node]);
      if (offer !== offered) {
        fill(
          controls,
          choice("Kind", options("all kinds", kinds), choices.kind ?? "", (kind) => choose({ kind })),
          choice("Node", options("all nodes", nodes), choices.node ?? "", (node) => choose({ node })),
        );
      }
      offered = offer;
      const shown = view.events.filter(
        (event) => (!choices.kind || event.kind === choices.kind) && (!choices.node || event.node === choices.node),
      );
      facts.textContent = eventsFacts(view, shown);
      timeline.update(timelineChart(shown));
      renew(log, table("Log of events", COLUMNS, shown.map(row)));
    };
  },
};

function options(all, values) {
  return [["", all], ...values.map((value) => [value, value])];
}

function eventsFacts(view, shown) {
  const kept = view.total > view.events.length ? `; the newest ${view.events.length} are here` : "";
  return `${plural(view.total, "event")}${kept}; ${shown.length} shown.`;
}

function row(event) {
  return [
    clock(event.at),
    event.kind,
    event.node || "fleet",
    event.round < 0 ? "" : event.round,
    event.cycle < 0 ? "" : event.cycle,
    event.text,
  ];
}

function timelineChart(events) {
  const columns = ["unix seconds", "kind", "node", "round", "cycle", "text"];
  const rows = events.map((event) => [event.at, event.kind, event.node, event.round, event.cycle, event.text]);
  if (rows.length === 0) return { columns, rows, empty: "No such event is recorded." };
  const kinds = [...new Set(events.map((event) => event.kind))].sort();
  return {
    columns,
    rows,
    summary: `From ${clock(events.at(-1).at)} to ${clock(events[0].at)}, by kind.`,
    option: (colours) => ({
      legend: { show: false },
      tooltip: tooltip(colours, {
        formatter: ({ dataIndex }) =>
          row(events[dataIndex])
            .filter((part) => part !== "")
            .join("\n"),
      }),
      xAxis: axis(colours, "", { type: "time" }),
      yAxis: axis(colours, "", { type: "category", data: kinds, inverse: true }),
      series: [
        {
          type: "scatter",
          symbolSize: 10,
          data: events.map((event) => ({
            value: [1000 * event.at, event.kind],
            itemStyle: { color: colourOf(event.kind, colours) },
          })),
        },
      ],
    }),
  };
}

function colourOf(kind, colours) {
  if (/lost|failed|refused|abandoned/.test(kind)) return colours.bad;
  if (/held|drained|left|regulator/.test(kind)) return colours.warn;
  return /released|joined|closed|ended/.test(kind) ? colours.good : colours.accent;
}
