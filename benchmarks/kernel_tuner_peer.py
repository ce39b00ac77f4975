"""Kernel Tuner on recorded spaces, by the Python of ``make peers``: prints what it had found after each evaluation.

Kernel Tuner's own strategies, search space and simulation do all the work; ours is which configurations exist (the
recorded ones, the failed among them) and in which order it asked for them. An evaluation is a configuration asked for
the first time, whatever came of it. Each run builds a ``Searchspace`` of its own: one that is shared hands the next run
the neighbours of good configurations that the last one looked up. A run costs 0.2 s (4,000 configurations) to 0.8 s
(10,000) of one core of an AMD EPYC, so that 20 seeds of two strategies on 14 spaces take five minutes.

Imports nothing of ours, whose dependencies that Python lacks.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from itertools import accumulate
from math import inf
from pathlib import Path
from typing import TypedDict

import numpy as np
from constraint import FunctionConstraint
from kernel_tuner import tune_kernel
from kernel_tuner.interface import Options, strategy_map
from kernel_tuner.runners.simulation import SimulationRunner
from kernel_tuner.searchspace import Searchspace

STRATEGIES = ("adaptive_tabu_greywolf", "genetic_algorithm")
"""The best of its eighteen on such spaces, and its most used."""

CAP = 220
"""Evaluations of a run, as of ours."""

NS_PER_MS = 1e6


class Run(TypedDict):
    """One run.

    Attributes:
        best_ns: best time after each evaluation; None while nothing worked. As long as the strategy went on asking, at
            most ``CAP``; what stopped early keeps what it had.
        optimum_ns: best recorded time of the space.
        stopped: the fault of Kernel Tuner that ended the run; empty where there was none.
    """

    space: str
    strategy: str
    seed: int
    best_ns: list[float | None]
    optimum_ns: float
    stopped: str


class Space:
    """One recorded space, as Kernel Tuner is given it.

    Attributes:
        name: of the file, without its suffixes.
        times_ms: mean time of a launch by the recording's key; infinity where it failed.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        recorded = json.loads(data)
        if "cache" not in recorded:
            raise SystemExit(f"error: {path} is no cache file of Kernel Tuner: give only such files")
        self.name = path.name.removesuffix(".gz").removesuffix(".json")
        self.kernel: str = recorded["kernel_name"]
        self.problem_size = recorded["problem_size"]
        self.parameters: dict[str, list[object]] = {
            name: recorded["tune_params"][name] for name in recorded["tune_params_keys"]
        }
        entries = {key: self._entry(entry) for key, entry in recorded["cache"].items()}
        self.times_ms = {key: _milliseconds(entry["time"]) for key, entry in entries.items()}
        self._members = {tuple(entry[name] for name in self.parameters) for entry in entries.values()}
        self.file = folder / f"{self.name}.json"
        self.file.write_text(json.dumps({**recorded, "cache": entries}))

    def _entry(self, entry: dict[str, object]) -> dict[str, object]:
        """What a search looks at; the repeats are most of a file, and Kernel Tuner would read them in every run."""
        return {name: entry[name] for name in (*self.parameters, "time")}

    def recorded(self, *values: object) -> bool:
        """Whether a configuration exists: the one restriction, since the recording does not keep the original ones."""
        return values in self._members


def _milliseconds(time: object) -> float:
    return float(time) if isinstance(time, (int, float)) else inf


class Watched:
    """One of Kernel Tuner's strategies, handed to it as one of ours, so that what it asks for can be noted.

    Attributes:
        asked: keys of the configurations that it asked for, in order, each once.
    """

    def __init__(self, space: Space, name: str) -> None:
        self._space = space
        self._strategy = strategy_map[name]
        self.asked: dict[str, None] = {}

    def tune(self, searchspace: Searchspace, runner: SimulationRunner, options: Options) -> list[dict[str, object]]:
        """What Kernel Tuner calls."""
        run = runner.run

        def noted(configurations: Iterable[Sequence[object]], options: Options) -> list[dict[str, object] | None]:
            results: list[dict[str, object] | None] = run(configurations, options)
            self._note(results)
            return results

        runner.run = noted
        found: list[dict[str, object]] = self._strategy.tune(searchspace, runner, options)
        return found

    def _note(self, results: Iterable[dict[str, object] | None]) -> None:
        """None: over the budget. What is outside the space it refuses itself, and does not count either."""
        for result in results:
            key = "" if result is None else ",".join(str(result[name]) for name in self._space.parameters)
            if key in self._space.times_ms:
                self.asked[key] = None


def run(space: Space, strategy: str, seed: int) -> Run:
    """Search one space once."""
    # Its strategies draw from the two global generators.
    random.seed(seed)
    np.random.seed(seed)
    watched, stopped = Watched(space, strategy), ""
    try:
        tune_kernel(
            space.kernel,
            "",
            space.problem_size,
            [],
            space.parameters,
            restrictions=[FunctionConstraint(space.recorded)],
            strategy=watched,
            strategy_options={"max_fevals": CAP},
            cache=str(space.file),
            simulation_mode=True,
            quiet=True,
        )
    except Exception as error:  # what it raises when it runs into a fault of its own is not ours to foresee
        stopped = f"{type(error).__name__}: {error}"
    best_ns = _best_so_far([NS_PER_MS * space.times_ms[key] for key in watched.asked])
    optimum_ns = NS_PER_MS * min(space.times_ms.values())
    return Run(space=space.name, strategy=strategy, seed=seed, best_ns=best_ns, optimum_ns=optimum_ns, stopped=stopped)


def _best_so_far(times_ns: Sequence[float]) -> list[float | None]:
    return [None if best == inf else best for best in accumulate(times_ns, min)]


def rows(files: Sequence[Path], strategies: Sequence[str], seeds: int) -> Iterator[Run]:
    """Every run, space by space."""
    with tempfile.TemporaryDirectory() as folder:
        for path in files:
            space = Space(path, Path(folder))
            for strategy in strategies:
                for seed in range(seeds):
                    yield run(space, strategy, seed)


def recordings(places: Sequence[Path]) -> list[Path]:
    """The files given, and those in the folders given, by name."""
    return [path for place in places for path in (sorted(place.glob("*.json*")) if place.is_dir() else [place])]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernel_tuner_peer", description=__doc__)
    parser.add_argument("--spaces", type=Path, nargs="+", required=True, help="folders of recordings, or files")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--strategies", nargs="+", default=STRATEGIES)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    runs = rows(recordings(given.spaces), given.strategies, given.seeds)
    if not given.json:
        for one in runs:
            last = one["best_ns"][-1] if one["best_ns"] else None
            print(f"{one['space']:32} {one['strategy']:24} seed {one['seed']:2}: {last} ns {one['stopped']}".rstrip())
        return
    json.dump({"version": version("kernel_tuner"), "cap": CAP, "rows": list(runs)}, sys.stdout)


if __name__ == "__main__":
    main()
