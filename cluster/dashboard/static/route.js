// The address holds the page and its choices, so that a link shows what its sender saw: #/search?problem=…&until=3

export function readRoute(hash = location.hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?");
  return { page: path || "fleet", choices: Object.fromEntries(new URLSearchParams(query)) };
}

export function writeRoute({ page, choices }) {
  const query = new URLSearchParams(Object.entries(choices).filter(([, value]) => value !== null && value !== ""));
  const text = query.toString();
  return `#/${page}${text ? `?${text}` : ""}`;
}

// Changes choices in place: stepping through a replay is not worth an entry in the history each.
export function choose(changes) {
  const route = readRoute();
  history.replaceState(null, "", writeRoute({ ...route, choices: { ...route.choices, ...changes } }));
  window.dispatchEvent(new HashChangeEvent("hashchange"));
}
