// Everything measured of a problem in time, energy and error, and the front that nothing else dominates.

import { grid, spreadAxis, tooltip } from "./card.js";
import { known, plural, quantity, scientific, sourceText, time } from "./format.js";

const HEIGHT = {
  energy: {
    field: "energy_j",
    other: "error",
    title: "energy of a launch",
    missing: "unmetered",
    unknown: "without an error",
  },
  error: {
    field: "error",
    other: "energy_j",
    title: "error ‖C−R‖ / ‖R‖",
    missing: "without an error",
    unknown: "unmetered",
  },
};

// Colour is the third figure; a trial whose height is not known is not drawn, and the summary says how many.
export function cloudChart(problem, height) {
  const { cloud } = problem;
  const { field, other, title, missing, unknown } = HEIGHT[height] ?? HEIGHT.error;
  const columns = ["time (ns)", "energy (J)", "source of energy", "error", "cycle", "node", "genome", "on the front"];
  const rows = cloud.time_ns.map((nanoseconds, index) => [
    nanoseconds,
    cloud.energy_j[index],
    cloud.source[index],
    cloud.error[index],
    cloud.cycle[index],
    cloud.node[index],
    cloud.genome[index],
    cloud.front[index] ? "yes" : "no",
  ]);
  // An exact result has an error of 0, which a log axis cannot hold.
  const positive = cloud[field].filter((value) => known(value) && value > 0);
  const floor = positive.length ? Math.min(...positive) / 2 : 0;
  const drawable = indices(cloud.time_ns, (index) => known(cloud[field][index]));
  const left = rows.length - drawable.length;
  if (drawable.length === 0) {
    const why = rows.length ? `All ${rows.length} trials that worked are ${missing}.` : "No genome has worked yet.";
    return { columns, rows, empty: why };
  }
  const points = drawable.map((index) => [
    cloud.time_ns[index],
    cloud[field][index] || floor,
    cloud[other][index],
    index,
  ]);
  const along = (dimension) => points.map((point) => point[dimension]);
  const grey = points.filter((point) => !known(point[2])).length;
  const front = points.filter((point) => cloud.front[point[3]]);
  return {
    columns,
    rows,
    variant: height,
    summary:
      `${plural(drawable.length, "trial")}, ${front.length} on the Pareto front of time, energy and error` +
      `${left ? `; ${left} ${missing}, not drawn` : ""}${grey ? `; ${grey} ${unknown}, drawn in grey` : ""}; ` +
      `${energyText(cloud)}.`,
    option: (colours) => ({
      tooltip: tooltip(colours, { formatter: ({ value }) => genomeText(cloud, value[3]) }),
      xAxis: spreadAxis(colours, "time of a launch", along(0), (nanoseconds) => time(nanoseconds)),
      yAxis: spreadAxis(colours, title, along(1), field === "error" ? scientific : (joules) => quantity(joules, "J"), {
        nameGap: 62,
      }),
      ...colouring(along(2).filter(known), colours, other),
      series: [true, false].flatMap((coloured) => {
        const own = points.filter((point) => known(point[2]) === coloured);
        const color = coloured ? undefined : colours.quiet;
        return [
          {
            name: "Measured",
            type: "scatter",
            symbolSize: 7,
            data: own.filter((point) => !front.includes(point)),
            itemStyle: { opacity: 0.65, color },
          },
          {
            name: "Pareto front",
            type: "scatter",
            symbol: "diamond",
            symbolSize: 14,
            data: own.filter((point) => front.includes(point)),
            z: 3,
            itemStyle: { borderColor: colours.text, borderWidth: 1.5, color },
          },
        ];
      }),
    }),
  };
}

// Of the first two series: what has no third figure (say, unmetered energy) is grey.
function colouring(values, colours, other) {
  if (values.length === 0) return {};
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return {
    grid: grid(110),
    visualMap: {
      type: "continuous",
      seriesIndex: [0, 1],
      dimension: 2,
      min: low,
      max: high,
      right: 4,
      top: "middle",
      itemHeight: 120,
      calculable: false,
      text: [other === "error" ? "most error" : "most energy", "least"],
      textStyle: { color: colours.text },
      inRange: { color: [colours.series[0], colours.series[4], colours.series[1]] },
    },
  };
}

// Joules of unlike sources may stand side by side; which there are is said.
function energyText({ energy_j, source }) {
  const sources = [...new Set(source.filter((_, index) => known(energy_j[index])))].map(sourceText);
  return sources.length ? `joules from ${sources.join(" and from ")}` : "no joules";
}

function genomeText(cloud, index) {
  return [
    cloud.genome[index],
    `time ${time(cloud.time_ns[index])}`,
    `energy ${quantity(cloud.energy_j[index], "J")}${known(cloud.energy_j[index]) ? ` (${sourceText(cloud.source[index])})` : ""}`,
    `error ${scientific(cloud.error[index])}`,
    `${cloud.node[index]}, cycle ${cloud.cycle[index]}`,
    ...(cloud.front[index] ? ["on the Pareto front"] : []),
  ].join("\n");
}

function indices(values, wanted) {
  return values.map((_, index) => index).filter(wanted);
}
