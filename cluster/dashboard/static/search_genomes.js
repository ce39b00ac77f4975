// What genomes are made of: parallel coordinates over their parameters, and how much time each parameter explains.

import { axis, tooltip } from "./card.js";
import { known, plural, time } from "./format.js";

const MOST_AXES = 12;
const MOST_LINES = 1500;

export function genomesChart(problem, why) {
  const { cloud } = problem;
  const axes = problem.axes.slice(0, MOST_AXES);
  const columns = [...problem.axes.map(({ name }) => name), "time (ns)"];
  const rows = cloud.time_ns.map((nanoseconds, index) => [
    ...problem.axes.map(({ values }) => values[index]),
    nanoseconds,
  ]);
  if (axes.length === 0) return { columns, rows: [], empty: why || "The site key knows no genome of this run." };
  // The fastest are drawn, last and so on top: they are what one looks for.
  const order = cloud.time_ns
    .map((_, index) => index)
    .sort((one, other) => cloud.time_ns[other] - cloud.time_ns[one])
    .slice(-MOST_LINES);
  const scales = axes.map(scale);
  const logs = order.map((index) => Math.log10(cloud.time_ns[index]));
  const lines = order.map((index, place) => [
    ...axes.map(({ values }, at) => scales[at].place(values[index])),
    logs[place],
  ]);
  return {
    columns,
    rows,
    summary:
      `${plural(lines.length, "trial")} over ${plural(axes.length, "parameter")}` +
      `${axes.length < problem.axes.length ? ` (the most important of ${problem.axes.length})` : ""}; blue lines are fast, yellow ones slow.`,
    option: (colours) => ({
      legend: { show: false },
      tooltip: { show: false },
      parallel: {
        left: 48,
        right: 72,
        top: 48,
        bottom: 24,
        parallelAxisDefault: {
          nameTextStyle: { color: colours.text },
          axisLabel: { color: colours.text, textBorderColor: colours.surface, textBorderWidth: 3 },
          axisLine: { lineStyle: { color: colours.quiet } },
          axisTick: { lineStyle: { color: colours.quiet } },
        },
      },
      parallelAxis: [
        ...axes.map(({ name }, at) => ({ dim: at, name, ...scales[at].axis })),
        {
          dim: axes.length,
          name: "time",
          type: "value",
          min: Math.min(...logs),
          max: Math.max(...logs),
          axisLabel: { color: colours.text, formatter: (power) => time(10 ** power), hideOverlap: true },
        },
      ],
      visualMap: {
        show: false,
        dimension: axes.length,
        min: Math.min(...logs),
        max: Math.max(...logs),
        inRange: { color: [colours.accent, colours.series[4], colours.line] },
      },
      series: [{ type: "parallel", lineStyle: { width: 1.4, opacity: lines.length > 300 ? 0.25 : 0.5 }, data: lines }],
    }),
  };
}

// Values stand as far apart as their ranks, since tile sizes double from one to the next.
function scale({ values }) {
  const present = [...new Set(values.filter((value) => value !== null))];
  const sorted = present.every((value) => typeof value === "number")
    ? present.sort((one, other) => one - other)
    : present.sort((one, other) => String(one).localeCompare(String(other)));
  const names = [...sorted.map(String), ...(values.includes(null) ? ["absent"] : [])];
  return {
    axis: { type: "category", data: names },
    place: (value) => (value === null ? "absent" : String(value)),
  };
}

export function importanceChart(problem, why) {
  const columns = ["parameter", "share of the variance of log time"];
  const rows = problem.axes.map(({ name, share }) => [name, share]);
  const drawn = rows.filter(([, share]) => known(share));
  if (drawn.length === 0)
    return { columns, rows, empty: rows.length ? "No parameter varies yet." : why || "No genome has worked yet." };
  return {
    columns,
    rows,
    summary:
      `${drawn[0][0]} explains most alone: ${Math.round(100 * drawn[0][1])} % of the variance of log time. Shares of ` +
      "single parameters do not add up to 100 %.",
    option: (colours) => ({
      legend: { show: false },
      tooltip: tooltip(colours, { valueFormatter: (percent) => `${percent} %` }),
      xAxis: axis(colours, "% of the variance of log time, alone", { type: "value", min: 0, max: 100 }),
      yAxis: axis(colours, "", { type: "category", inverse: true, data: drawn.map(([name]) => name) }),
      series: [{ type: "bar", data: drawn.map(([, share]) => Math.round(1000 * share) / 10) }],
    }),
  };
}
