"""Selection of a fleet follows a device that changes: its recording is switched half way, for each of ten seeds."""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

import numpy as np

from actors.drive import drive
from actors.node_loop import NodeLoop, Plan
from aggregation.catalogue import Catalogue
from aggregation.distill import local_update, refine
from benchmarks.harness import Bar, Row, main, say
from quasim.errors import ConfigError
from quasim.policy import Policy
from quasim.search import strategy
from quasim.targets.replay import ReplayTarget

SEEDS = range(10)
SEARCHERS = ("portfolio", "evolution", "random")
CYCLES = 10
SWITCH = 5
NODES = 4
EVALUATIONS = 20
OWN_EVALUATIONS = 10
"""A node's new genomes a cycle; fewer in our own recordings of 240 genomes, which would otherwise be exhausted."""

STARVED_EVALUATIONS = 3
"""As few as in a run on this machine's CPU: shown beside the others, without a bar."""

RECHECK = 3
CLOSE = 1.05

RECORDED = Path(__file__).parents[1] / "tests" / "data"
SHARED = Path(__file__).parents[2] / "shared" / "data" / "spaces"

SWITCHES = (
    ("convolution_milo__A100", "convolution_milo__A4000"),
    ("convolution_milo__MI250X", "convolution_milo__W6600"),
    ("pnpoly__RTX_2080_Ti", "pnpoly__RTX_3060_laptop"),
)
"""Recordings of one kernel on two devices, exhaustively measured by others (see the README there)."""


def selected(before: Path, after: Path, seed: int, searcher: str, evaluations: int) -> list[float]:
    """Per cycle, the true time of what the fleet selects, in units of the optimum at that time."""
    target = ReplayTarget("replay", [(0, before), (SWITCH, after)])
    problem = target.problem
    spaces = {(target.name, problem): target.space(problem)}
    catalogue = Catalogue.of(spaces)
    plans = [
        Plan(problem, target.space(problem), strategy(searcher, target.space(problem), 1000 * seed + number))
        for number in range(NODES)
    ]
    loops = [NodeLoop(f"node-{n}", target.name, [plan], evaluations, RECHECK) for n, plan in enumerate(plans)]
    policy: Policy | None = None
    ratios = []
    for cycle in range(CYCLES):
        target.start_cycle(cycle)
        for loop in loops:
            if policy is not None:
                loop.adopt(policy)
            drive(loop, target, cycle)
        # What a round of plain sums gives, without the messages around it.
        sums = np.sum([local_update(catalogue, spaces, loop.all_known()) for loop in loops], axis=0)
        policy = refine(
            policy, catalogue, sums, federation="benchmark", cycle=cycle, participants=NODES, protocol="plain"
        )
        best = min((loop.best(problem, 1)[0] for loop in loops), key=lambda trial: trial.time_ns)
        [chosen] = target.playoff(problem, [best.genome])
        ratios.append(chosen.time_ns / target.optimum_ns())
    return ratios


def measure(_: argparse.Namespace | None = None) -> tuple[list[Row], list[Bar]]:
    """One row per pair of recordings and strategy; the bar is the worst seed of the portfolio, beside others."""
    rows: list[Row] = []
    bars: list[Bar] = []
    for before, after in switches():
        budgets = (OWN_EVALUATIONS, STARVED_EVALUATIONS) if before.parent == RECORDED else (EVALUATIONS,)
        for evaluations, searcher in product(budgets, SEARCHERS):
            say(f"adapting: {before.name} -> {after.name}, {searcher}, {len(SEEDS)} seeds")
            runs = [selected(before, after, seed, searcher, evaluations) for seed in SEEDS]
            last = [run[-1] for run in runs]
            rows.append(
                {
                    "adapting": f"{_short(before)} -> {_short(after)}",
                    "strategy": searcher,
                    "genomes a cycle": NODES * evaluations,
                    "before the switch (worst)": max(run[SWITCH - 1] for run in runs),
                    "at the switch (worst)": max(run[SWITCH] for run in runs),
                    "last cycle (worst)": max(last),
                    "seeds within 5 %": sum(ratio <= CLOSE for ratio in last),
                }
            )
            if searcher == "portfolio" and evaluations != STARVED_EVALUATIONS:
                bars.append(Bar.at_most(f"adapting: worst of {len(SEEDS)} seeds, {_short(after)}", max(last), CLOSE))
    return rows, bars


def switches() -> list[tuple[Path, Path]]:
    """Pairs of recordings that are here.

    Raises:
        ConfigError: there is none.
    """
    own = sorted(RECORDED.glob("*.json.gz"))
    found = [(own[0], own[1])] if len(own) > 1 else []
    for before, after in SWITCHES:
        pair = SHARED / f"{before}.json.gz", SHARED / f"{after}.json.gz"
        if all(path.exists() for path in pair):
            found.append(pair)
    if not found:
        raise ConfigError(f"no recorded spaces in {RECORDED} or {SHARED}", "put Kernel Tuner cache files there")
    return found


def _short(path: Path) -> str:
    return path.name.removesuffix(".json.gz")


if __name__ == "__main__":
    main("adapting", __doc__ or "", measure)
