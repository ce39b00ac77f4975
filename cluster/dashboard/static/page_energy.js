// Energy: joules by kernel, what winners save against what finding them drew, and what regulation did.

import { axis, chartCard, spreadAxis, tooltip } from "./card.js";
import { element, renew, table } from "./dom.js";
import { UNMETERED, clock, count, known, meteredText, plural, quantity, sourceText } from "./format.js";

export const energyPage = {
  name: "energy",
  title: "Energy",
  mount(root) {
    const facts = element("p", { class: "facts", id: "energy-facts" });
    const kernels = chartCard("energy-kernels", "Joules by kernel");
    const savings = chartCard("energy-savings", "Saved against spent");
    const power = chartCard("energy-power", "Power and caps", { wide: true });
    const nodes = element("section", { class: "card", id: "energy-nodes", "aria-label": "Joules by node" });
    const events = element("section", { class: "card", id: "energy-events", "aria-label": "Regulation and moves" });
    root.append(facts, element("div", { class: "cards" }, kernels.root, savings.root, power.root, nodes, events));
    return (view) => {
      facts.textContent = energyFacts(view);
      kernels.update(kernelsChart(view.kernels));
      savings.update(savingsChart(view.savings));
      power.update(powersChart(view.regulation));
      renew(
        nodes,
        table("Joules by node", ["node", "device", "energy", "above idle", "source", "why"], view.nodes.map(nodeRow)),
      );
      renew(
        events,
        table(
          "Regulation",
          ["node", "mode", "source", "caps set", "reasons", "why nothing"],
          view.regulation.map(ruleRow),
        ),
        view.events.length ? table("Regulator's events", ["time", "node", "event"], view.events.map(eventRow)) : null,
        view.moves.length
          ? table("Moves of tasks", ["cycle", "task", "from", "to", "gain (s)", "made"], view.moves.map(moveRow))
          : null,
      );
    };
  },
};

function energyFacts(view) {
  if (!known(view.joules)) return `Tuning is ${UNMETERED}: ${view.why || "nothing says why"}.`;
  const idle = known(view.above_idle_j) ? `, ${quantity(view.above_idle_j, "J")} of it above idle` : "";
  return `Tuning drew ${quantity(view.joules, "J")}${idle} (${sourceText(view.source)}).`;
}

function nodeRow(node) {
  return [
    node.node,
    node.device || "none",
    quantity(node.joules, "J"),
    quantity(node.above_idle_j, "J", "unknown"),
    sourceText(node.source),
    node.detail,
  ];
}

function ruleRow(node) {
  const reasons = node.reasons.map(([reason, turns]) => `${reason} ${turns}`).join(", ") || "none";
  return [node.node, node.mode, sourceText(node.source), node.writes, reasons, node.why];
}

function eventRow(event) {
  return [clock(event.at), event.node, event.text];
}

function moveRow(move) {
  return [move.cycle, move.task, move.source, move.target, move.gain_s, move.made ? "yes" : `no: ${move.why}`];
}

function kernelsChart(kernels) {
  const columns = [
    "kernel",
    "spent (J)",
    "metered trials",
    "trials",
    "least of a launch (J)",
    "mean of a launch (J)",
    "source of spent",
    "source of launches",
    "why",
  ];
  const rows = kernels.map((kernel) => [
    kernel.kernel,
    kernel.spent_j,
    kernel.metered,
    kernel.trials,
    kernel.least_j,
    kernel.mean_j,
    kernel.source,
    kernel.launch_source,
    kernel.why,
  ]);
  const spent = kernels.filter((kernel) => known(kernel.spent_j));
  if (spent.length) {
    return {
      columns,
      rows,
      summary: `What tuning drew, of all nodes (${sourceText(spent[0].source)}); ${unmeteredText(kernels.length - spent.length)}.`,
      option: (colours) =>
        jouleBars(
          colours,
          spent.map(({ kernel }) => kernel),
          { "Spent on tuning": spent.map((k) => k.spent_j) },
        ),
    };
  }
  const launched = kernels.filter((kernel) => known(kernel.mean_j));
  if (launched.length === 0)
    return { columns, rows, empty: `Joules are ${UNMETERED}${kernels[0]?.why ? `: ${kernels[0].why}` : ""}.` };
  const sources = [...new Set(launched.map((kernel) => sourceText(kernel.launch_source)))];
  return {
    columns,
    rows,
    summary: `What tuning drew is ${UNMETERED}${kernels[0].why ? ` (${kernels[0].why})` : ""}; shown are joules of a launch (${sources.join("; ")}).`,
    option: (colours) =>
      jouleBars(
        colours,
        launched.map(({ kernel, launch_source }) => (sources.length > 1 ? `${kernel} (${launch_source})` : kernel)),
        {
          "Least of a launch": launched.map((kernel) => kernel.least_j),
          "Mean of a launch": launched.map((kernel) => kernel.mean_j),
        },
      ),
  };
}

function unmeteredText(kernels) {
  return kernels ? `${plural(kernels, "kernel")} without a figure` : "every kernel has a figure";
}

function jouleBars(colours, names, columns) {
  return {
    tooltip: tooltip(colours, { trigger: "axis", valueFormatter: (joules) => quantity(joules, "J") }),
    xAxis: axis(colours, "", { type: "category", data: names }),
    yAxis: axis(colours, "", {
      type: "value",
      min: 0,
      axisLabel: { color: colours.quiet, formatter: (joules) => quantity(joules, "J"), hideOverlap: true },
    }),
    series: Object.entries(columns).map(([name, data]) => ({ name, type: "bar", data, barMaxWidth: 60 })),
  };
}

// How much of what was spent is saved after n launches: lines of one slope, told apart by where they cross 1.
function savingsChart(savings) {
  const columns = [
    "problem",
    "spent (J)",
    "default (J)",
    "winner (J)",
    "launches to break even",
    "source of spent",
    "source of launches",
    "why",
  ];
  const rows = savings.map((s) => [
    s.problem,
    s.spent_j,
    s.default_j,
    s.winner_j,
    s.runs,
    s.source,
    s.launch_source,
    s.why,
  ]);
  const paying = savings.filter((saving) => known(saving.runs) && saving.runs > 0 && saving.spent_j > 0);
  if (paying.length === 0) {
    const why = savings.map((saving) => saving.why).find(Boolean);
    return {
      columns,
      rows,
      empty: savings.length ? `Not known: ${why || "nothing says why"}.` : "Known when the run has ended.",
    };
  }
  const lines = paying.map(savedLine);
  const points = lines.flat();
  const first = paying.reduce((one, other) => (one.runs <= other.runs ? one : other));
  return {
    columns,
    rows,
    summary: `${first.problem} has saved what tuning it drew after ${count(first.runs)} launches of the winner instead of the default; what tuning drew: ${sourceText(first.source)}; launches: ${sourceText(first.launch_source)}.`,
    option: (colours) => ({
      tooltip: { show: false },
      xAxis: spreadAxis(
        colours,
        "launches of the winner",
        points.map(([launches]) => launches),
        (launches) => quantity(launches, ""),
      ),
      yAxis: spreadAxis(
        colours,
        "saved / spent",
        points.map(([, share]) => share),
        (share) => String(share),
        { nameGap: 44 },
      ),
      series: paying.map((saving, index) => ({
        name: saving.problem,
        type: "line",
        showSymbol: false,
        data: lines[index],
        markLine: index
          ? undefined
          : {
              symbol: "none",
              data: [{ yAxis: 1 }],
              label: { formatter: "break-even", color: colours.text, position: "insideStartTop" },
              lineStyle: { color: colours.quiet },
            },
      })),
    }),
  };
}

function savedLine({ runs, spent_j, default_j, winner_j }) {
  return [runs / 100, runs, 10 * runs].map((launches) => [launches, (launches * (default_j - winner_j)) / spent_j]);
}

function powersChart(regulation) {
  const columns = ["node", "cycle", "mean power (W)", "cap (W)", "top temperature (°C)", "throttled samples", "source"];
  const rows = regulation.flatMap((node) =>
    node.cycle.map((cycle, index) => [
      node.node,
      cycle,
      node.mean_power_w[index],
      node.cap_w[index],
      node.top_temperature_c[index],
      node.throttled[index],
      node.source,
    ]),
  );
  const seen = regulation.filter((node) => node.mean_power_w.some(known));
  if (seen.length === 0) {
    const why = regulation.map((node) => node.why).find(Boolean);
    return { columns, rows, empty: `Power is ${UNMETERED}${why ? `: ${why}` : ""}.` };
  }
  const sources = seen.map((node) => node.source);
  const line = (node, field, name, more) => ({
    name: `${node.node} ${name}`,
    type: "line",
    connectNulls: false,
    data: node.cycle.map((cycle, index) => [cycle, node[field][index]]),
    ...more,
  });
  return {
    columns,
    rows,
    summary: `${meteredText(sources, regulation.length)}; dashed lines are caps that regulation wanted.`,
    option: (colours) => ({
      tooltip: tooltip(colours, { trigger: "axis", valueFormatter: (watts) => quantity(watts, "W") }),
      xAxis: axis(colours, "cycle", { type: "value", minInterval: 1 }),
      yAxis: axis(colours, "W", { type: "value", min: 0, nameGap: 40 }),
      series: seen.flatMap((node, index) => {
        const color = colours.series[index % colours.series.length];
        return [
          line(node, "mean_power_w", "power", { itemStyle: { color } }),
          line(node, "cap_w", "cap", { itemStyle: { color }, lineStyle: { type: "dashed" }, symbol: "none" }),
        ];
      }),
    }),
  };
}
