// Fleet: a tile for each node, its power against its cap, and its telemetry.

import { axis, chartCard, tooltip } from "./card.js";
import { element, fill } from "./dom.js";
import { UNMETERED, ago, clock, count, known, meteredText, plural, quantity, sourceText } from "./format.js";

// A sign for each health, so that colour is never the only difference.
const SIGNS = { ok: "●", late: "◐", lost: "✕", left: "○", draining: "◒", recorded: "■", finished: "■" };

export const fleetPage = {
  name: "fleet",
  title: "Fleet",
  mount(root) {
    const facts = element("p", { class: "facts", id: "fleet-facts" });
    const tiles = element("ul", { class: "tiles", id: "fleet-tiles", "aria-label": "Nodes" });
    const power = chartCard("fleet-power", "Power against cap");
    const rows = chartCard("fleet-rows", "Telemetry rows by node");
    root.append(facts, tiles, element("div", { class: "cards" }, power.root, rows.root));
    return (view) => {
      facts.textContent = fleetFacts(view);
      fill(tiles, ...view.nodes.map((node) => tile(node, view.at)));
      power.update(powerChart(view.nodes));
      rows.update(rowsChart(view.nodes));
    };
  },
};

function fleetFacts(view) {
  const nodes = plural(view.nodes.length, "node");
  if (!view.live) return `${nodes} in the recorded cycles; round ${view.round}; policy version ${view.policy_version}.`;
  const lost = view.nodes.filter((node) => node.health === "lost").length;
  const well = view.nodes.filter((node) => node.health === "ok").length;
  const stored = known(view.rows_stored) ? `${count(view.rows_stored)} rows stored` : "rows stored: unknown";
  const how = view.finished
    ? `finished${lost ? `, ${lost} lost before` : ""}`
    : `${well} healthy; ${view.phase || "no phase"}`;
  const heard = `${view.finished ? "last heard" : "heard"} at ${clock(view.at)}`;
  return `${nodes}, ${how}, round ${view.round}; policy version ${view.policy_version}; ${stored}; ${heard}.`;
}

function tile(node, now) {
  const about = node.problem || node.kernel || "between two kernels";
  const health = element(
    "span",
    { class: `health ${node.health}` },
    element("span", { "aria-hidden": "true", text: `${SIGNS[node.health] ?? "?"} ` }),
    node.health,
  );
  return element(
    "li",
    { class: "tile", "data-node": node.node },
    element("div", { class: "tile-head" }, element("h2", { text: node.node }), health),
    element("p", {
      class: "quiet",
      text: [node.device || "device not open", node.machine].filter(Boolean).join(" · "),
    }),
    element("p", { class: "about", text: node.state === "finished" ? "finished" : `${node.state || "recorded"}: ${about}` }),
    powerLine(node),
    element("dl", {}, ...definitions(node, now)),
    node.metered_why ? element("p", { class: "quiet", text: `${UNMETERED}: ${node.metered_why}` }) : null,
  );
}

function powerLine(node) {
  const text = `${quantity(node.power_w, "W")} of ${quantity(node.cap_w, "W", "no cap")}`;
  const scale =
    known(node.power_w) && known(node.cap_w)
      ? element("meter", {
          min: 0,
          max: node.cap_w,
          value: node.power_w,
          "aria-label": `Power of ${node.node}: ${text}`,
        })
      : null;
  return element("div", { class: "power" }, element("span", { text: `Power ${text}` }), scale);
}

function definitions(node, now) {
  const rows = known(node.rows_sent)
    ? `${count(node.rows_acknowledged)} of ${count(node.rows_sent)} acknowledged`
    : "unknown";
  const pairs = [
    ["Temperature", known(node.temperature_c) ? `${Math.round(node.temperature_c)} °C` : UNMETERED],
    ["Energy from", sourceText(node.energy_source)],
    ["Cycle", node.cycle < 0 ? "before the first" : node.cycle],
    ["Policy", node.policy_version === null ? "none yet" : node.policy_version || "none"],
    ["Rows", rows],
    ["Last batch", known(now) ? ago(node.last_batch_at, now) : clock(node.last_batch_at, "not recorded")],
  ];
  return pairs.flatMap(([name, value]) => [element("dt", { text: name }), element("dd", { text: value })]);
}

function powerChart(nodes) {
  const seen = nodes.filter((node) => known(node.power_w));
  const rows = nodes.map((node) => [
    node.node,
    node.power_w,
    node.cap_w,
    node.temperature_c,
    node.energy_source,
    node.metered_why,
  ]);
  const columns = ["node", "power (W)", "cap (W)", "temperature (°C)", "source", "why unmetered"];
  if (seen.length === 0) {
    const why = nodes.find((node) => node.metered_why)?.metered_why;
    return { columns, rows, empty: `Power is unmetered on every node${why ? `: ${why}` : ""}.` };
  }
  const sources = seen.map((node) => node.energy_source);
  return {
    columns,
    rows,
    // No sum: several nodes may be on one device, and each says what all of it draws.
    summary: `${meteredText(sources, nodes.length)}.`,
    option: (colours) => ({
      tooltip: tooltip(colours, { trigger: "axis" }),
      xAxis: axis(colours, "", { type: "category", data: seen.map((node) => node.node) }),
      yAxis: axis(colours, "W", { type: "value", min: 0 }),
      series: [
        { name: "Power", type: "bar", data: seen.map((node) => node.power_w) },
        {
          name: "Cap",
          type: "scatter",
          symbol: "rect",
          symbolSize: [28, 4],
          data: seen.map((node) => node.cap_w),
          itemStyle: { color: colours.bad },
        },
      ],
    }),
  };
}

function rowsChart(nodes) {
  const heard = nodes.filter((node) => known(node.rows_sent));
  const columns = ["node", "sent", "acknowledged"];
  const rows = heard.map((node) => [node.node, node.rows_sent, node.rows_acknowledged]);
  if (heard.length === 0) return { columns, rows, empty: "Recorded cycles do not say how many rows each node sent." };
  return {
    columns,
    rows,
    summary: `${count(sum(heard, "rows_acknowledged"))} of ${count(sum(heard, "rows_sent"))} rows sent are acknowledged.`,
    option: (colours) => ({
      tooltip: tooltip(colours, { trigger: "axis" }),
      xAxis: axis(colours, "", { type: "category", data: heard.map((node) => node.node) }),
      yAxis: axis(colours, "rows", { type: "value", min: 0, nameGap: 44 }),
      series: [
        { name: "Acknowledged", type: "bar", stack: "rows", data: heard.map((node) => node.rows_acknowledged) },
        {
          name: "Waiting",
          type: "bar",
          stack: "rows",
          data: heard.map((node) => node.rows_sent - node.rows_acknowledged),
          itemStyle: { color: colours.warn },
        },
      ],
    }),
  };
}

function sum(nodes, field) {
  return nodes.reduce((total, node) => total + node[field], 0);
}
