// Where views come from: a server that pushes changes, or the document itself in a saved report.

import { readRoute } from "./route.js";

const RETRY_MS = 1000;
const RETRY_MOST_MS = 15000;

export class Unauthorized extends Error {}

export function openSource(listener) {
  const inlined = document.getElementById("quasim-data");
  return inlined ? new SavedSource(JSON.parse(inlined.textContent)) : new LiveSource(listener);
}

// A report: every view at the end, and those of the cycles that its replay can show.
class SavedSource {
  constructor(saved) {
    this.saved = saved;
    this.live = false;
    this.frames = Object.keys(saved.cycles).map(Number);
  }

  async read(view, until) {
    return (until === null ? this.saved.end : this.saved.cycles[until])?.[view] ?? null;
  }

  connect() {}

  close() {}
}

// `listener.changed(view, data)` hears of each change, `listener.connected(said)` of the connection.
class LiveSource {
  constructor(listener) {
    this.listener = listener;
    this.live = true;
    this.delay = RETRY_MS;
    this.socket = null;
    this.wanted = false;
  }

  async read(view, until) {
    const query = new URLSearchParams({ ...this.asked(), ...(until === null ? {} : { until }) });
    const answer = await fetch(`/api/${view}?${query}`, { cache: "no-store" });
    if (answer.status === 401) throw new Unauthorized();
    if (!answer.ok) throw new Error(await reason(answer));
    return answer.json();
  }

  // Of a server that shows several runs, the one that the address names.
  asked() {
    const { run } = readRoute().choices;
    return run ? { run } : {};
  }

  async login(token) {
    const headers = { "content-type": "application/json" };
    return fetch("/login", { method: "POST", headers, body: JSON.stringify({ token }) });
  }

  async logout() {
    this.close();
    await fetch("/logout", { method: "POST" });
  }

  connect() {
    this.wanted = true;
    this.open();
  }

  close() {
    this.wanted = false;
    clearTimeout(this.timer);
    this.socket?.close();
  }

  open() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/ws?${new URLSearchParams(this.asked())}`);
    socket.addEventListener("open", () => {
      this.delay = RETRY_MS;
      this.listener.connected(true);
    });
    socket.addEventListener("message", ({ data }) => {
      const { view, data: content } = JSON.parse(data);
      if (socket === this.socket) this.listener.changed(view, content);
    });
    // One that was replaced meanwhile ends unheard.
    socket.addEventListener("close", () => socket === this.socket && this.again());
    this.socket = socket;
  }

  // Waits longer each time, by a random part of it, so that viewers do not all return at once.
  again() {
    if (!this.wanted) return;
    this.listener.connected(false);
    this.timer = setTimeout(() => this.open(), this.delay * (0.5 + Math.random()));
    this.delay = Math.min(2 * this.delay, RETRY_MOST_MS);
  }
}

async function reason(answer) {
  const said = await answer.json().catch(() => ({}));
  return said.error ? `${said.error}: ${said.do}` : `the server answered ${answer.status}`;
}
