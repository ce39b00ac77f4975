// The bar that plays a recorded run: a slider over its cycles, a button that steps through them, and the way back to now.
// The slider counts frames: a saved report may hold some of the cycles only.

import { element } from "./dom.js";

const STEP_MS = 900;
// A slider that is drawn along asks for where it comes to rest: each cycle may be a look through the whole table.
const REST_MS = 150;

// `choose(until)` hears of the cycle to show; null is the newest, which is called live while the run goes on.
export function replayBar(choose) {
  const play = element("button", { type: "button", id: "replay-play", text: "Play" });
  const slider = element("input", {
    type: "range",
    id: "replay-slider",
    min: 0,
    max: 0,
    step: 1,
    "aria-label": "Cycle shown",
  });
  const shown = element("output", { id: "replay-shown", for: "replay-slider" });
  const end = element("button", { type: "button", id: "replay-end", class: "quiet" });
  const root = element("div", { class: "replay", role: "group", "aria-label": "Replay" }, play, slider, shown, end);
  let timer = null;
  let resting = null;
  let frames = [];

  function stop() {
    clearInterval(timer);
    clearTimeout(resting);
    timer = null;
    play.textContent = "Play";
  }

  // Views arrive later; where the slider stands is decided here, so that the next step starts from it.
  function go(place) {
    slider.value = place;
    choose(frames[place]);
  }

  function step() {
    const next = Number(slider.value) + 1;
    if (next >= frames.length) {
      stop();
      choose(null);
    } else go(next);
  }

  play.addEventListener("click", () => {
    if (timer) return stop();
    if (Number(slider.value) >= frames.length - 1) go(0);
    play.textContent = "Pause";
    timer = setInterval(step, STEP_MS);
    return undefined;
  });
  slider.addEventListener("input", () => {
    stop();
    const cycle = frames[Number(slider.value)];
    resting = setTimeout(() => choose(cycle), REST_MS);
  });
  end.addEventListener("click", () => {
    stop();
    choose(null);
  });

  return {
    root,
    update(until, cycles, live) {
      frames = cycles;
      end.textContent = live ? "Back to live" : "To the end";
      root.hidden = frames.length === 0;
      slider.max = Math.max(frames.length - 1, 0);
      const place = until === null ? -1 : frames.findIndex((cycle) => cycle >= until);
      slider.value = place < 0 ? slider.max : place;
      shown.textContent =
        until === null
          ? `${live ? "Live" : "End"}, cycle ${frames.at(-1)}`
          : `Cycle ${Math.min(until, frames.at(-1))} of ${frames.at(-1)}`;
      slider.setAttribute("aria-valuetext", shown.textContent);
      end.disabled = until === null;
    },
  };
}
