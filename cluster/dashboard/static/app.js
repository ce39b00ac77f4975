// The page: signs in, follows the address, mounts the page that it names, and hands it what the source sends.

import { element, fill } from "./dom.js";
import { plural } from "./format.js";
import { certificatesPage, programsPage } from "./page_absent.js";
import { energyPage } from "./page_energy.js";
import { eventsPage } from "./page_events.js";
import { fleetPage } from "./page_fleet.js";
import { roundsPage } from "./page_rounds.js";
import { searchPage } from "./page_search.js";
import { isDark, onPaletteChange, restoreTheme, toggleTheme } from "./palette.js";
import { replayBar } from "./replay.js";
import { choose, readRoute, writeRoute } from "./route.js";
import { Unauthorized, openSource } from "./source.js";

const PAGES = [fleetPage, searchPage, roundsPage, energyPage, certificatesPage, programsPage, eventsPage];

const part = (id) => document.getElementById(id);
const source = openSource({ changed, connected });
const replay = replayBar((until) => choose({ until }));
let newest = null;
let headed = null;
const mounts = new Map();
let mounted = null;
let shown = null;
let asked = 0;
let watched = readRoute().choices.run ?? "";

function changed(name, data) {
  if (name === "run") {
    newest = data;
    heading(untilOf(readRoute()) === null ? data : headed);
  }
  if (mounted?.page.name === name && untilOf(readRoute()) === null) paint(data, null);
}

function connected(said) {
  part("connection").textContent = said ? "connected" : "connection lost, trying again";
  part("connection").dataset.state = said ? "well" : "lost";
  // A refused connection looks like a lost one: only a question tells that the session has ended.
  if (!said) source.read("run", null).catch((error) => error instanceof Unauthorized && failed(error));
}

function untilOf({ choices }) {
  return /^\d+$/.test(choices.until ?? "") ? Number(choices.until) : null;
}

function paint(view, until) {
  shown = { name: mounted.page.name, until, view };
  remarks();
  mounted.update(view, readRoute().choices);
  part("main").dataset.ready = mounted.page.name;
}

// Made once and kept: its charts go on from where they were.
function made(page) {
  const root = element("div", { class: "page" });
  return { page, root, update: page.mount(root) };
}

function mount(page) {
  if (mounted?.page === page) return;
  if (!mounts.has(page)) mounts.set(page, made(page));
  mounted = mounts.get(page);
  fill(part("page"), element("h1", { id: "page-title", tabindex: -1, text: page.title }), mounted.root);
  shown = null;
  delete part("main").dataset.ready;
  document.title = `${page.title} – QuASIM`;
}

// What could not be read of the whole run, and what this page lacks.
function remarks() {
  if (shown) notes([...new Set([...headed.notes, ...shown.view.notes])]);
}

function notes(texts) {
  fill(part("notes"), ...texts.map((text) => element("li", { text })));
  part("notes").hidden = texts.length === 0;
}

function heading(run) {
  headed = run;
  remarks();
  part("run").textContent = run.name;
  const state = run.until === null ? run.state : `replay of cycle ${run.until}`;
  part("state").textContent =
    `${state}: ${plural(run.cycles_done, "cycle")} of ${run.cycles}; policy version ${run.policy_version}; ${run.target}`;
  offerRuns(run);
  menu(run.pages);
  replay.update(
    untilOf(readRoute()),
    source.frames ?? range(newest.cycles_done),
    source.live && newest.state !== "finished",
  );
}

function offerRuns({ name, runs }) {
  part("runs").hidden = runs.length < 2;
  part("run").hidden = runs.length > 1;
  const offer = runs.join("\n");
  if (part("runs").dataset.offer !== offer) {
    fill(part("runs"), ...runs.map((run) => element("option", { value: run, text: run })));
    part("runs").dataset.offer = offer;
  }
  part("runs").value = name;
}

// Another run has other cycles and problems: its choices begin anew.
function changeRun() {
  location.hash = writeRoute({ page: readRoute().page, choices: { run: part("runs").value } });
}

function range(length) {
  return Array.from({ length }, (_, index) => index);
}

// Built anew only when it changes, so that a live update does not take the keyboard's focus away.
function menu(names) {
  const { page, choices } = readRoute();
  const { run = "", until = "" } = choices;
  const offer = JSON.stringify([names, page, run, until]);
  if (part("menu").dataset.offer === offer) return;
  part("menu").dataset.offer = offer;
  fill(
    part("menu"),
    ...PAGES.filter(({ name }) => names.includes(name)).map(({ name, title }) =>
      element(
        "li",
        {},
        element("a", {
          href: writeRoute({ page: name, choices: { run, until } }),
          "aria-current": name === page ? "page" : null,
          text: title,
        }),
      ),
    ),
  );
}

// Answers may come in another order than their questions: only the last one counts.
async function follow(changedPage = false) {
  const route = readRoute();
  const until = untilOf(route);
  const turn = ++asked;
  try {
    const page = PAGES.find(({ name }) => name === route.page) ?? fleetPage;
    newest ??= await source.read("run", null);
    const [run, view] = await Promise.all([
      until === null ? newest : source.read("run", until),
      source.read(page.name, until),
    ]);
    if (turn !== asked) return;
    enter();
    mount(page);
    heading(run);
    paint(view, until);
    if (changedPage) part("page-title").focus();
  } catch (error) {
    if (turn === asked) failed(error);
  }
}

function enter() {
  part("login").hidden = true;
  part("app").hidden = false;
}

function failed(error) {
  if (!(error instanceof Unauthorized)) {
    enter();
    return notes([`This page cannot be read: ${error.message}.`]);
  }
  source.close();
  newest = mounted = null;
  part("app").hidden = true;
  part("login").hidden = false;
  return part("token").focus();
}

async function login(event) {
  event.preventDefault();
  const answer = await source.login(part("token").value);
  part("login-said").textContent = answer.ok ? "" : refusal(answer);
  if (!answer.ok) return;
  part("token").value = "";
  await enterRun();
}

function refusal(answer) {
  if (answer.status !== 429)
    return "This token is not the server's. It printed where the right one is when it started.";
  return `Too many tries: wait ${answer.headers.get("retry-after") ?? "some"} seconds.`;
}

async function logout() {
  await source.logout();
  failed(new Unauthorized());
}

function moved() {
  const route = readRoute();
  if (source.live && (route.choices.run ?? "") !== watched) return watch();
  const samePage = mounted?.page.name === route.page;
  if (samePage && shown?.until === untilOf(route)) return paint(shown.view, shown.until);
  return follow(!samePage);
}

function watch() {
  watched = readRoute().choices.run ?? "";
  source.close();
  newest = mounted = null;
  return enterRun();
}

async function enterRun() {
  await follow();
  if (newest) source.connect();
}

function nameTheme() {
  part("theme").textContent = isDark() ? "Light theme" : "Dark theme";
}

async function start() {
  onPaletteChange(nameTheme);
  restoreTheme();
  part("theme").addEventListener("click", toggleTheme);
  part("login-form").addEventListener("submit", login);
  part("logout").addEventListener("click", logout);
  part("logout").hidden = part("connection").hidden = !source.live;
  part("skip").addEventListener("click", () => part("page-title").focus());
  part("replay").append(replay.root);
  window.addEventListener("hashchange", moved);
  part("runs").addEventListener("change", changeRun);
  await enterRun();
}

start();
