// Search: of one problem the best so far, what was measured, what its genomes are made of, and which parameters matter.

import { chartCard } from "./card.js";
import { choice, element, fill } from "./dom.js";
import { count, known, plural, time } from "./format.js";
import { choose } from "./route.js";
import { bestChart, statusChart } from "./search_progress.js";
import { cloudChart } from "./search_cloud.js";
import { genomesChart, importanceChart } from "./search_genomes.js";

const HEIGHTS = [
  ["energy", "Energy"],
  ["error", "Error"],
];

export const searchPage = {
  name: "search",
  title: "Search",
  mount(root) {
    const controls = element("div", { class: "choices" });
    const facts = element("p", { class: "facts", id: "search-facts" });
    const best = chartCard("search-best", "Best so far");
    const cloud = chartCard("search-cloud", "Time, energy and error", { tall: true });
    const genomes = chartCard("search-genomes", "Genomes", { wide: true, tall: true, scrolls: true });
    const importance = chartCard("search-importance", "What matters");
    const status = chartCard("search-status", "How trials ended");
    const cards = [cloud, best, genomes, importance, status].map((card) => card.root);
    root.append(controls, facts, element("div", { class: "cards" }, ...cards));
    let offered = "";
    return (view, choices) => {
      const found = view.problems.find((problem) => problem.id === choices.problem) ?? view.problems[0];
      const height = choices.y ?? defaultHeight(found);
      // Rebuilt only when they change, so that a live update does not take the keyboard's focus away.
      const offer = JSON.stringify([view.problems.map((problem) => [problem.id, problem.name]), found?.id, height]);
      if (offer !== offered) fill(controls, ...selectors(view.problems, found, height));
      offered = offer;
      facts.textContent = found ? searchFacts(found) : "No trial is in the table yet.";
      for (const card of cards) card.hidden = !found;
      if (!found) return;
      best.update(bestChart(found));
      cloud.update(cloudChart(found, height));
      genomes.update(genomesChart(found, view.why_unnamed));
      importance.update(importanceChart(found, view.why_unnamed));
      status.update(statusChart(found));
    };
  },
};

function selectors(problems, found, height) {
  if (!found) return [];
  const names = problems.map((problem) => [problem.id, problem.name]);
  return [
    choice("Problem", names, found.id, (id) => choose({ problem: id })),
    choice("Height", HEIGHTS, height, (y) => choose({ y })),
  ];
}

// Joules where a third of the trials have some; errors are known of nearly all.
function defaultHeight(problem) {
  const joules = problem?.cloud.energy_j ?? [];
  return 3 * joules.filter(known).length >= Math.max(joules.length, 1) ? "energy" : "error";
}

function searchFacts(problem) {
  const least = problem.best.time_ns.at(-1);
  const sampled =
    problem.cloud_of > problem.cloud.time_ns.length
      ? ` The charts show a sample of ${count(problem.cloud.time_ns.length)} of ${count(problem.cloud_of)}.`
      : "";
  return `${problem.name}: ${plural(problem.trials, "trial")}; fastest launch ${time(least, "none worked")}.${sampled}`;
}
