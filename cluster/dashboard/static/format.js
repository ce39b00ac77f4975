// Figures as text. What was not measured is said in words and is never a zero.

export const UNMETERED = "unmetered";

const SCALES = [
  [1e12, "T"],
  [1e9, "G"],
  [1e6, "M"],
  [1e3, "k"],
  [1, ""],
  [1e-3, "m"],
  [1e-6, "µ"],
  [1e-9, "n"],
];

export function known(value) {
  return typeof value === "number" && Number.isFinite(value);
}

// 1234 J → "1.23 kJ"; null → "unmetered", or what `missing` says.
export function quantity(value, unit, missing = UNMETERED) {
  if (!known(value)) return missing;
  if (value === 0) return `0 ${unit}`;
  const [scale, prefix] = SCALES.find(([scale]) => Math.abs(value) >= scale * 0.9995) ?? SCALES[SCALES.length - 1];
  return `${Number((value / scale).toPrecision(3))} ${prefix}${unit}`;
}

const SOURCES = {
  counter: "the device's counter",
  integrated: "power over time",
  model: "model: simulated, not measured",
};

// Where watts and joules come from; those of a simulated device are never taken for measured ones.
export function sourceText(source) {
  return SOURCES[source] ?? (source || UNMETERED);
}

// Of how many nodes figures are there, those of a model apart.
export function meteredText(sources, total) {
  const modelled = sources.filter((source) => source === "model").length;
  const metered = sources.length - modelled;
  const said = [
    metered ? `${count(metered)} metered` : "",
    modelled ? `${count(modelled)} modelled (simulated, not measured)` : "",
  ];
  return `Of ${plural(total, "node")}, ${said.filter(Boolean).join(" and ")}`;
}

export function time(nanoseconds, missing = "not measured") {
  return known(nanoseconds) ? quantity(nanoseconds / 1e9, "s") : missing;
}

export function plain(value, digits = 3, missing = "not measured") {
  return known(value) ? Number(value.toPrecision(digits)).toLocaleString("en") : missing;
}

export function count(value) {
  return known(value) ? value.toLocaleString("en") : "unknown";
}

export function scientific(value, missing = "not measured") {
  return known(value) ? (value === 0 ? "0" : value.toExponential(1)) : missing;
}

export function clock(unixSeconds, missing = "never") {
  return known(unixSeconds) ? new Date(unixSeconds * 1000).toLocaleTimeString("en-GB") : missing;
}

export function ago(unixSeconds, now, missing = "never") {
  if (!known(unixSeconds)) return missing;
  const seconds = Math.max(0, now - unixSeconds);
  if (seconds < 90) return `${Math.round(seconds)} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  return `${Math.round(seconds / 3600)} h ago`;
}

export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

// Quoted as RFC 4180 asks; a leading sign of a formula is disarmed, since ids and texts come from nodes.
export function csv(columns, rows) {
  return [columns, ...rows].map((row) => row.map(field).join(",")).join("\r\n") + "\r\n";
}

function field(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return String(value);
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
