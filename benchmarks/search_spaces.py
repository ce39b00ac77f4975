"""Recorded spaces as search problems: reading them, running a strategy on them, and what a run found how soon."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from quasim.errors import ConfigError
from quasim.search import Strategy
from quasim.space import Floats, SearchSpace
from quasim.targets.replay import ReplayTarget
from quasim.trial import Problem

CAP = 220
"""Evaluations of a run; a goal that was not reached counts as so many."""

GOALS = (0.10, 0.05, 0.01)
"""How far above the optimum is near enough."""

COUNTS = (1, 5, 10, 20, 50, 100, 200)
"""After how many evaluations the best so far is looked at."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One recording, with a target that answers from it.

    Attributes:
        name: of the file, without its suffixes: ``<kernel>__<gpu>`` in collections of several GPUs.
    """

    name: str
    target: ReplayTarget

    @classmethod
    def read(cls, path: Path) -> Recorded:
        """Read a Kernel Tuner cache file or a T4 results file.

        Raises:
            DataError: it is neither.
        """
        return cls(cls.name_of(path), ReplayTarget("replay", [(0, path)]))

    @staticmethod
    def name_of(path: Path) -> str:
        """The name of the recording in a file."""
        return path.name.removesuffix(".gz").removesuffix(".json")

    @property
    def kernel(self) -> str:
        """What was tuned, by the file's name, since one kernel's spaces may differ between collections."""
        return self.name.split("__")[0]

    @property
    def problem(self) -> Problem:
        """What was tuned."""
        return self.target.problem

    @property
    def space(self) -> SearchSpace:
        """All that was recorded, failed configurations too."""
        return self.target.space(self.problem)

    @property
    def optimum_ns(self) -> float:
        """Least recorded time."""
        return self.target.optimum_ns()


@dataclass(frozen=True, slots=True)
class Run:
    """What one search was told, in order.

    Attributes:
        slowdowns: time of each evaluation by the optimum's, shape (n,); infinity where it failed.
        ask_ms: time of each ``ask``, the refit after the last ``tell`` included, shape (n,); empty: not ours to time.
    """

    slowdowns: Floats
    ask_ms: Floats

    def within(self, share: float) -> int:
        """Evaluations until something at most this share above the optimum was found; ``CAP`` if it never was."""
        near = np.flatnonzero(self.slowdowns[:CAP] <= 1 + share)
        return int(near[0]) + 1 if len(near) else CAP

    def quality(self, count: int) -> float:
        """Optimum by the best of the first ``count`` evaluations; 0 while none worked."""
        return float(1 / self.slowdowns[:count].min()) if len(self.slowdowns) else 0.0


def recordings(places: Iterable[Path]) -> list[Path]:
    """The files given, and those in the folders given, by name.

    Raises:
        ConfigError: there is none.
    """
    files = [path for place in places for path in (sorted(place.glob("*.json*")) if place.is_dir() else [place])]
    if not files or not all(path.is_file() for path in files):
        raise ConfigError(f"no recordings in {[str(place) for place in places]}", "give folders or files that exist")
    return files


def search(recorded: Recorded, strategy: Strategy, count: int = CAP) -> Run:
    """Ask one configuration at a time and tell what was recorded of it, until ``count`` or the end of the space."""
    problem, optimum_ns = recorded.problem, recorded.optimum_ns
    slowdowns: list[float] = []
    ask_ms: list[float] = []
    while len(slowdowns) < count:
        start = time.perf_counter()
        genomes = strategy.ask(1)
        ask_ms.append(1e3 * (time.perf_counter() - start))
        if not genomes:
            break
        trials = recorded.target.evaluate(problem, genomes)
        strategy.tell(trials)
        slowdowns.append(trials[0].time_ns / optimum_ns)
    return Run(np.array(slowdowns), np.array(ask_ms[: len(slowdowns)]))


def geometric_mean(values: Sequence[float]) -> float:
    """Geometric mean of values that are not negative; 0 if one is 0."""
    return float(np.exp(np.mean(np.log(values)))) if min(values) > 0 else 0.0
