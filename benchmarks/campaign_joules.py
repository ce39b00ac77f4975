"""Joules that a campaign spends until it knows a variant within 5 % of the fewest joules: racing against fixed windows.

Both campaigns are the agent's own loop with the same strategy and seed, aimed at joules, on recorded spaces. One meters
every variant for 2 s. The other times each, which takes milliseconds, and meters only who may still win, for 1.3 s
(``quasim.energy.racing``). Both warm up for half a second before a window, as the meter's owner does.

Only configurations whose joules were recorded are in the spaces, so that nothing is guessed but one thing: what a
measurement draws is derived, recorded power times the time that it takes.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import geometric_mean, median

import msgspec
import numpy as np

from actors.drive import drive
from actors.node_loop import NodeLoop, Plan
from benchmarks.harness import Bar, Row, main, say
from quasim.energy.aimed import aimed
from quasim.energy.objective import Objective, mean_power_w
from quasim.errors import ConfigError
from quasim.search import strategies, strategy
from quasim.space import Listed, SearchSpace
from quasim.targets.replay import ReplayTarget
from quasim.trial import EnergySource, Genome, Problem, Trial

SPACES = Path(__file__).parents[1] / "quasim" / "targets" / "replay" / "spaces"
SEEDS = 10
LEAST_METERED = 16
"""Of a space: with fewer there is little to find."""

CLOSE = 1.05
FIXED_NS = 2_000_000_000
WARM_NS = 500_000_000
"""As ``quasim.worker.cuda.joules`` warms up before each window."""

RECORDED_NS = 1_300_000_000
"""Window of the recorded joules; intervals shrink with the root of the time."""

ENERGY = Objective("energy")
Z95 = 1.96


@dataclass(frozen=True, slots=True)
class Truth:
    """What one configuration costs.

    Attributes:
        joules: of one launch.
        power_w: while it runs.
        noise: standard deviation of a recorded window's joules, relative.
    """

    trial: Trial
    joules: float
    power_w: float
    noise: float


def truths(trials: Sequence[Trial]) -> dict[Genome, Truth]:
    """Of every configuration whose joules were recorded."""
    pairs = [(trial, trial.energy_j, mean_power_w(trial)) for trial in trials]
    return {
        trial.genome: Truth(trial, joules, power_w, _noise(trial))
        for trial, joules, power_w in pairs
        if joules is not None and power_w is not None
    }


def _noise(trial: Trial) -> float:
    if trial.energy_j is None or trial.energy_low_j is None or trial.energy_high_j is None:
        return 0.0
    return (trial.energy_high_j - trial.energy_low_j) / (2 * Z95 * trial.energy_j)


class Counted(ReplayTarget):
    """A recorded device that counts the joules which measuring would draw, and notes when the goal was reached.

    Attributes:
        spent_j: so far.
        reached_j: spent when the best by its readings was truly close to the best there is; None: not yet.
        timings, readings: how many were made.
    """

    def __init__(self, path: Path, found: dict[Genome, Truth], seed: int, *, fixed: bool) -> None:
        super().__init__("recorded", [(0, path)])
        self._found, self._fixed = found, fixed
        self._rng = np.random.default_rng(seed)
        self._goal_j = CLOSE * min(truth.joules for truth in found.values())
        self._read_j: dict[Genome, float] = {}
        self.spent_j = 0.0
        self.reached_j: float | None = None
        self.timings = self.readings = 0

    @property
    def until_j(self) -> float:
        """Spent until the goal was reached; where it never was, all that was spent, of which more would be needed."""
        return self.spent_j if self.reached_j is None else self.reached_j

    def evaluate(self, problem: Problem, genomes: Sequence[Genome]) -> list[Trial]:
        """Time each, or meter each in a fixed window."""
        return [self._one(trial) for trial in super().evaluate(problem, genomes)]

    def _one(self, trial: Trial) -> Trial:
        if trial.genome not in self._found:
            return trial
        if self._fixed:
            return self._read(trial.genome, FIXED_NS, WARM_NS)
        self.timings += 1
        truth = self._found[trial.genome]
        self.spent_j += truth.power_w * (truth.trial.measure_ns or 0) / 1e9
        return _bare(truth.trial)

    def meter(self, problem: Problem, genomes: Sequence[Genome], window_ns: int) -> list[Trial]:
        """Time and meter each for so long."""
        timing_ns = [self._found[genome].trial.measure_ns or 0 for genome in genomes]
        return [self._read(genome, window_ns, WARM_NS + ns) for genome, ns in zip(genomes, timing_ns, strict=True)]

    def _read(self, genome: Genome, window_ns: int, besides_ns: int) -> Trial:
        self.readings += 1
        truth = self._found[genome]
        self.spent_j += truth.power_w * (window_ns + besides_ns) / 1e9
        noise = truth.noise * math.sqrt(RECORDED_NS / window_ns)
        read_j = truth.joules * math.exp(noise * self._rng.standard_normal())
        self._read_j[genome] = read_j
        best = min(self._read_j, key=self._read_j.__getitem__)
        if self.reached_j is None and self._found[best].joules <= self._goal_j:
            self.reached_j = self.spent_j
        return msgspec.structs.replace(
            _bare(truth.trial),
            energy_j=read_j,
            energy_source=EnergySource.MODEL,
            energy_low_j=read_j * (1 - Z95 * noise),
            energy_high_j=read_j * (1 + Z95 * noise),
        )


def _bare(trial: Trial) -> Trial:
    return msgspec.structs.replace(
        trial,
        energy_j=None,
        energy_source=EnergySource.UNMETERED,
        energy_low_j=None,
        energy_high_j=None,
        energy_above_idle_j=None,
    )


def campaign(path: Path, found: dict[Genome, Truth], seed: int, searcher: str, *, fixed: bool) -> Counted:
    """One campaign, until it has reached the goal, or has searched the space and metered whoever may be the best."""
    device = Counted(path, found, seed, fixed=fixed)
    space = known(device, found)
    plan = Plan(device.problem, space, aimed(strategy(searcher, space, seed), ENERGY), "campaign", ENERGY)
    loop = NodeLoop("node", device.name, [plan], evaluations=8, recheck=0)
    for cycle in range(2 * space.size):
        drive(loop, device, cycle)
        if device.reached_j is not None:
            break
    return device


def known(device: ReplayTarget, found: dict[Genome, Truth]) -> SearchSpace:
    """The part of a recorded space whose truths are found."""
    space = device.space(device.problem)
    cells = sorted(space.cell(genome) for genome in found)
    return SearchSpace(space.parameters, (Listed.of(space.rows[cells]),))


def measure(given: argparse.Namespace) -> tuple[list[Row], list[Bar]]:
    """Both campaigns of each space and seed.

    Raises:
        ConfigError: no such strategy.
    """
    if given.strategy not in strategies():
        raise ConfigError(f"no strategy {given.strategy!r}", f"choose one of {', '.join(strategies())}")
    rows: list[Row] = []
    for path in sorted(SPACES.glob("*.t4.json.gz")):
        target = ReplayTarget("recorded", [(0, path)])
        space = target.space(target.problem)
        trials = target.evaluate(target.problem, [space.genome_at(cell) for cell in range(space.size)])
        found = truths(trials)
        if len(found) < LEAST_METERED:
            say(f"{path.name}: left out, {len(found)} configurations metered")
            continue
        rows.append(_row(path, found, given))
        say(f"{rows[-1]}")
    kept = [1 - float(row["saved"] or 0) for row in rows]
    unreached = sum(int(row["raced_unreached"] or 0) for row in rows)
    return rows, [
        Bar.at_least("campaign joules saved, share, geometric mean over spaces", 1 - geometric_mean(kept), 0.4),
        Bar.at_least("spaces of which at least 40 % was saved, share", sum(k <= 0.6 for k in kept) / len(kept), 0.5),
        Bar.at_most("racing campaigns that never reached the goal", unreached, 0),
        Bar.at_least("seeds of a space", given.seeds, 10),
    ]


def _row(path: Path, found: dict[Genome, Truth], given: argparse.Namespace) -> Row:
    pairs = [
        tuple(campaign(path, found, seed, given.strategy, fixed=fixed) for fixed in (True, False))
        for seed in range(given.seeds)
    ]
    spent = [(fixed.until_j, raced.until_j) for fixed, raced in pairs]
    return {
        "space": path.name.removesuffix(".t4.json.gz"),
        "metered": len(found),
        "fixed_j": median(fixed for fixed, _ in spent),
        "fixed_windows": median(fixed.readings for fixed, _ in pairs),
        "raced_j": median(raced for _, raced in spent),
        "timings": median(raced.timings for _, raced in pairs),
        "raced_windows": median(raced.readings for _, raced in pairs),
        "saved": median(1 - raced / fixed for fixed, raced in spent),
        "least_saved": min(1 - raced / fixed for fixed, raced in spent),
        "fixed_unreached": sum(fixed.reached_j is None for fixed, _ in pairs),
        "raced_unreached": sum(raced.reached_j is None for _, raced in pairs),
    }


def options(parser: argparse.ArgumentParser) -> None:
    """How much."""
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--strategy", default="portfolio")


if __name__ == "__main__":
    main("campaign_joules", __doc__, measure, options)
