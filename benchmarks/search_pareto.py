"""How much of a recorded space's own front over time, energy and error a search finds, as a share of its hypervolume.

The volume is that below the worst recorded value of each objective, in units of the logarithm's range, so that neither
units nor decades matter. Two fronts a space: time and error of all that worked, and time, energy and error of what was
metered (joules of the rest are not known, so it adds nothing). What was recorded is all that there is to find. A search
is not told which configurations have joules.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.harness import Bar, Row, main, say
from benchmarks.search_spaces import Recorded, recordings
from quasim.search import Strategy, strategies, strategy
from quasim.search.pareto import dominated, hypervolume, measured
from quasim.space import Floats
from quasim.trial import Trial

SPACES = Path(__file__).parents[1] / "quasim" / "targets" / "replay" / "spaces"

BUDGET = 100
"""Evaluations of a run."""

SHARE = 0.95
"""Least share of the volume, on average over the seeds of a space."""

ENOUGH = 48
"""Fewest recorded points of a front that is held against ``SHARE``: of fewer, chance decides which has joules."""

FRONTS: dict[str, tuple[int, ...]] = {"time, error": (0, 2), "time, energy, error": (0, 1, 2)}


def logs(trials: Sequence[Trial], columns: Sequence[int]) -> Floats:
    """Log of the objectives of trials that know them all, shape (n, columns)."""
    values = measured(trials)[0][:, list(columns)]
    return np.asarray(np.log(values[np.isfinite(values).all(axis=1)]))


def volume(points: Floats, best: Floats, worst: Floats) -> float:
    """Share of the box between ``best`` and ``worst`` that points (n, 2 or 3) dominate."""
    scaled = (points - best) / np.where(worst > best, worst - best, 1.0)
    # Of two objectives, the third is a slab of height 1; the worst itself is just within.
    filled = np.concatenate([scaled, np.zeros((len(points), 3 - points.shape[1]))], axis=1)
    return hypervolume(filled, np.full(3, 1.0 + 1e-9))


def evaluated(recorded: Recorded, search: Strategy) -> list[Trial]:
    """What a search was told, one by one."""
    trials: list[Trial] = []
    while len(trials) < BUDGET and (genomes := search.ask(1)):
        trials += recorded.target.evaluate(recorded.problem, genomes)
        search.tell(trials[-1:])
    return trials


def rows_of(path: Path, names: Sequence[str], seeds: int) -> list[Row]:
    """Shares of both fronts of one space, for each strategy."""
    recorded = Recorded.read(path)
    space = recorded.space
    everything = recorded.target.evaluate(recorded.problem, [space.genome_at(cell) for cell in range(space.size)])
    rows: list[Row] = []
    for name in names:
        runs = [evaluated(recorded, strategy(name, space, seed)) for seed in range(seeds)]
        for front, columns in FRONTS.items():
            known = logs(everything, columns)
            if not len(known):
                continue
            best, worst = known.min(axis=0), known.max(axis=0)
            whole = volume(known, best, worst)
            shares = [volume(logs(run, columns), best, worst) / whole for run in runs]
            rows.append(
                {
                    "space": recorded.name,
                    "objectives": front,
                    "recorded": len(known),
                    "on the front": int((~dominated(known, known)).sum()),
                    "strategy": name,
                    "seeds": seeds,
                    "share": float(np.mean(shares)),
                    "least share": float(np.min(shares)),
                }
            )
    return rows


def measure(given: argparse.Namespace) -> tuple[list[Row], list[Bar]]:
    """Search every space with every strategy."""
    rows: list[Row] = []
    for path in recordings(given.spaces):
        rows += rows_of(path, given.strategies, given.seeds)
        say(f"search_pareto: {path.name}")
    judged = [row for row in rows if row["strategy"] == given.strategies[0] and int(row["recorded"] or 0) >= ENOUGH]
    return rows, [
        Bar.at_least(f"{row['space']}: {row['objectives']}", float(row["share"] or 0), SHARE) for row in judged
    ]


def options(parser: argparse.ArgumentParser) -> None:
    """Where the spaces are, and what searches them how often."""
    parser.add_argument("--spaces", type=Path, nargs="+", default=[SPACES], help="folders of recordings, or files")
    parser.add_argument("--strategies", nargs="+", choices=strategies(), default=["pareto", "random"])
    parser.add_argument("--seeds", type=int, default=10)


if __name__ == "__main__":
    main("search_pareto", __doc__ or "", measure, options)
