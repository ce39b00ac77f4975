// Colours of charts, read from the style sheet so that light and dark are decided in one place.

const SERIES = 8;
const KEPT = "quasim-theme";
const CHANGED = new EventTarget();
const DARK = window.matchMedia("(prefers-color-scheme: dark)");

export function palette() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  return {
    series: Array.from({ length: SERIES }, (_, index) => colour(`series-${index + 1}`)),
    text: colour("text"),
    quiet: colour("quiet"),
    line: colour("line"),
    surface: colour("surface"),
    good: colour("good"),
    bad: colour("bad"),
    warn: colour("warn"),
    accent: colour("accent"),
    tint: colour("tint"),
  };
}

export function onPaletteChange(listener) {
  CHANGED.addEventListener("change", listener);
}

export function isDark() {
  return document.documentElement.dataset.theme === "dark";
}

export function toggleTheme() {
  const next = isDark() ? "light" : "dark";
  keep(() => localStorage.setItem(KEPT, next));
  show(next);
}

// The reader's choice is kept for the next visit; until one is made the system's holds.
export function restoreTheme() {
  const chosen = () => keep(() => localStorage.getItem(KEPT));
  const wanted = () => chosen() ?? (DARK.matches ? "dark" : "light");
  DARK.addEventListener("change", () => show(wanted()));
  show(wanted());
}

function show(theme) {
  document.documentElement.dataset.theme = theme;
  CHANGED.dispatchEvent(new Event("change"));
}

// A browser that keeps nothing (a file, a private window) throws.
function keep(action) {
  try {
    return action();
  } catch {
    return null;
  }
}
