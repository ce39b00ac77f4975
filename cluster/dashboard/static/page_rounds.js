// Rounds: who took part, what the nodes made of each policy, what privacy was spent, and what it all cost.

import { axis, chartCard, tooltip } from "./card.js";
import { element, renew, table } from "./dom.js";
import { known, plural, quantity, time } from "./format.js";

export const roundsPage = {
  name: "rounds",
  title: "Rounds",
  mount(root) {
    const facts = element("p", { class: "facts", id: "rounds-facts" });
    const participants = chartCard("rounds-participants", "Participants");
    const adoption = chartCard("rounds-adoption", "Policy version by node");
    const privacy = chartCard("rounds-privacy", "Privacy spent");
    const cost = chartCard("rounds-cost", "Time of a round");
    const log = element("section", { class: "card wide", id: "rounds-log", "aria-label": "Log of rounds" });
    const cards = [participants, adoption, cost, privacy].map((card) => card.root);
    root.append(facts, element("div", { class: "cards" }, ...cards, log));
    return (view) => {
      const { rounds } = view;
      facts.textContent = roundsFacts(rounds);
      participants.update(participantsChart(rounds));
      adoption.update(adoptionChart(view.adoption));
      privacy.update(privacyChart(rounds));
      cost.update(costChart(rounds));
      renew(log, table("Log of rounds", LOG_COLUMNS, rounds.map(logRow)));
    };
  },
};

const LOG_COLUMNS = [
  "cycle",
  "round",
  "in the sum",
  "dropouts",
  "masks",
  "policy",
  "adopted",
  "canaries",
  "bytes",
  "refused",
];

function logRow(round) {
  return [
    round.cycle,
    round.number,
    round.abandoned ? `abandoned: ${round.abandoned}` : `${round.participants} of ${round.asked}`,
    round.dropouts.map(([step, nodes]) => `${step}: ${nodes.join(", ")}`).join("; ") || "none",
    round.masked ? `${round.masks_each} each` : "none: vectors are plain",
    `${round.policy_version}${round.released ? " (new)" : ""}`,
    round.adopted === null ? "no cycle followed" : `${round.adopted} of ${round.worked}`,
    round.canaries.map(canaryText).join("; ") || "nothing to try",
    quantity(round.to_nodes_bytes + round.from_nodes_bytes, "B"),
    round.refused.map(([node, why]) => `${node}: ${why}`).join("; ") || "none",
  ];
}

function canaryText({ topic, slower, not_slower, held }) {
  return held ? `${topic} held back: slower on ${slower} of ${slower + not_slower}` : `${topic} passed`;
}

function roundsFacts(rounds) {
  if (rounds.length === 0) return "No round has ended yet.";
  const last = rounds.at(-1);
  const abandoned = rounds.filter((round) => round.abandoned).length;
  return `${plural(rounds.length, "round")}, ${abandoned} abandoned; policy version ${last.policy_version}. ${last.protocol}`;
}

function byCycle(colours, rounds) {
  return axis(colours, "cycle", { type: "category", data: rounds.map((round) => round.cycle) });
}

function participantsChart(rounds) {
  const columns = ["cycle", "in the sum", "asked", "dropouts", "abandoned"];
  const rows = rounds.map((round) => [
    round.cycle,
    round.participants,
    round.asked,
    droppedOut(round),
    round.abandoned,
  ]);
  if (rows.length === 0) return { columns, rows, empty: "No round has ended yet." };
  const dropped = rounds.reduce((total, round) => total + droppedOut(round), 0);
  return {
    columns,
    rows,
    summary: `${rounds.at(-1).participants} of ${rounds.at(-1).asked} in the last sum; ${plural(dropped, "dropout")} in all.`,
    option: (colours) => ({
      tooltip: tooltip(colours, { trigger: "axis" }),
      xAxis: byCycle(colours, rounds),
      yAxis: axis(colours, "nodes", { type: "value", min: 0, minInterval: 1 }),
      series: [
        { name: "In the sum", type: "bar", stack: "nodes", data: rounds.map((round) => round.participants) },
        {
          name: "Asked, not in it",
          type: "bar",
          stack: "nodes",
          itemStyle: { color: colours.bad },
          data: rounds.map((round) => round.asked - round.participants),
        },
      ],
    }),
  };
}

function droppedOut(round) {
  return round.dropouts.reduce((total, [, nodes]) => total + nodes.length, 0);
}

function adoptionChart(adoption) {
  const columns = ["node", "cycle", "policy version"];
  const rows = adoption.flatMap((node) => node.cycle.map((cycle, index) => [node.node, cycle, node.version[index]]));
  if (rows.length === 0) return { columns, rows, empty: "No node has finished a cycle yet." };
  const [nodes, cycles] = [
    adoption.map(({ node }) => node),
    [...new Set(rows.map(([, cycle]) => cycle))].sort((a, b) => a - b),
  ];
  const newest = Math.max(...rows.map(([, , version]) => version));
  return {
    columns,
    rows,
    summary: newest
      ? `Which policy each node worked with; the newest in use is version ${newest}.`
      : "Nodes have worked without a policy so far.",
    option: (colours) => ({
      legend: { show: false },
      tooltip: tooltip(colours, {
        formatter: ({ value }) => `${value[1]}, cycle ${value[0]}: policy ${value[2] || "none"}`,
      }),
      xAxis: axis(colours, "cycle", { type: "category", data: cycles.map(String), splitArea: { show: false } }),
      yAxis: axis(colours, "", { type: "category", data: nodes }),
      visualMap: { show: false, min: 0, max: Math.max(newest, 1), inRange: { color: [colours.surface, colours.tint] } },
      series: [
        {
          type: "heatmap",
          data: rows.map(([node, cycle, version]) => [String(cycle), node, version]),
          label: { show: rows.length <= 200, color: colours.text },
          itemStyle: { borderColor: colours.line, borderWidth: 1 },
        },
      ],
    }),
  };
}

function privacyChart(rounds) {
  const spent = rounds.filter((round) => known(round.epsilon));
  const columns = ["cycle", "epsilon", "delta"];
  const rows = spent.map((round) => [round.cycle, round.epsilon, round.delta]);
  if (rows.length === 0) return { columns, rows, empty: "No differential privacy: sums are exact, so no ε is spent." };
  return {
    columns,
    rows,
    summary: `ε ${spent.at(-1).epsilon.toPrecision(3)} at δ ${spent.at(-1).delta} of all rounds together.`,
    option: (colours) => ({
      legend: { show: false },
      tooltip: tooltip(colours, { trigger: "axis" }),
      xAxis: byCycle(colours, spent),
      yAxis: axis(colours, "ε", { type: "value", min: 0 }),
      series: [{ name: "ε", type: "line", data: spent.map((round) => round.epsilon), areaStyle: { opacity: 0.15 } }],
    }),
  };
}

function costChart(rounds) {
  const columns = [
    "cycle",
    "wall (s)",
    "CPU of the server (s)",
    "most CPU of a node (s)",
    "bytes to nodes",
    "bytes from nodes",
  ];
  const rows = rounds.map((round) => [
    round.cycle,
    round.wall_s,
    round.server_cpu_s,
    round.node_cpu_s,
    round.to_nodes_bytes,
    round.from_nodes_bytes,
  ]);
  if (rows.length === 0) return { columns, rows, empty: "No round has ended yet." };
  const line = (name, field) => ({
    name,
    type: "line",
    data: rounds.map((round) => round[field]),
    connectNulls: false,
  });
  return {
    columns,
    rows,
    summary: `The last round took ${time(1e9 * rounds.at(-1).wall_s)} from opening to end, canaries included.`,
    option: (colours) => ({
      tooltip: tooltip(colours, {
        trigger: "axis",
        valueFormatter: (seconds) => (known(seconds) ? quantity(seconds, "s") : "nobody answered"),
      }),
      xAxis: byCycle(colours, rounds),
      yAxis: axis(colours, "", {
        type: "value",
        min: 0,
        axisLabel: { color: colours.quiet, formatter: (seconds) => quantity(seconds, "s"), hideOverlap: true },
      }),
      series: [line("Wall", "wall_s"), line("CPU, server", "server_cpu_s"), line("CPU, busiest node", "node_cpu_s")],
    }),
  };
}
