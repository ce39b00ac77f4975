// How the search went on: the least time over evaluations, and how trials ended.

import { axis, spreadAxis, tooltip } from "./card.js";
import { count, plural, time } from "./format.js";

export function bestChart(problem) {
  const { evaluation, cycle, time_ns } = problem.best;
  const columns = ["evaluation of its node", "best time (ns)", "cycle"];
  const rows = evaluation.map((number, index) => [number, time_ns[index], cycle[index]]);
  if (rows.length === 0) return { columns, rows, empty: "No genome has worked yet." };
  const gain = time_ns[0] / time_ns.at(-1);
  return {
    columns,
    rows,
    summary:
      `From ${time(time_ns[0])} to ${time(time_ns.at(-1))}, ${gain.toPrecision(3)} times faster; a node found it in ` +
      `cycle ${cycle.at(-1)}, after ${plural(evaluation.at(-1), "evaluation")} of its own.`,
    option: (colours) => ({
      legend: { show: false },
      tooltip: tooltip(colours, { trigger: "axis", valueFormatter: (nanoseconds) => time(nanoseconds) }),
      xAxis: axis(colours, "evaluations that a node had made", { type: "value", min: 0, minInterval: 1 }),
      yAxis: spreadAxis(colours, "", time_ns, (nanoseconds) => time(nanoseconds)),
      series: [
        {
          name: "best",
          type: "line",
          step: "end",
          showSymbol: rows.length < 80,
          symbolSize: 6,
          data: rows,
          encode: { x: 0, y: 1 },
        },
      ],
    }),
  };
}

export function statusChart(problem) {
  const rows = Object.entries(problem.by_status).sort((one, other) => other[1] - one[1]);
  const columns = ["status", "trials"];
  if (rows.length === 0) return { columns, rows, empty: "No trial has ended yet." };
  const worked = problem.by_status.ok ?? 0;
  return {
    columns,
    rows,
    summary: `${count(worked)} of ${plural(problem.trials, "trial")} worked.`,
    option: (colours) => ({
      legend: { show: false },
      xAxis: axis(colours, "trials", { type: "value", min: 0 }),
      yAxis: axis(colours, "", { type: "category", inverse: true, data: rows.map(([status]) => status) }),
      series: [
        {
          type: "bar",
          label: { show: true, position: "right", color: colours.text },
          data: rows.map(([status, trials]) => ({
            value: trials,
            itemStyle: { color: status === "ok" ? colours.good : colours.bad },
          })),
        },
      ],
    }),
  };
}
