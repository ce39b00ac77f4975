"""Search on recorded spaces, cold or warm: evaluations until near the optimum, and how good what was found is.

An evaluation is one asked configuration, a failed one too; a goal that is not reached within 220 counts as 220. Rows
give medians of evaluations and means of f@n (optimum by best found after n, 0 while nothing worked) over the seeds;
geometric means of those follow, for each kernel and over all spaces. Warm starts a GPU from what the other GPUs of its
kernel found and shared.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks.harness import Bar, Row, main, say
from benchmarks.search_spaces import CAP, COUNTS, GOALS, Recorded, Run, geometric_mean, recordings, search
from quasim.errors import ConfigError
from quasim.search import strategies, strategy

Runs = Mapping[str, Sequence[Run]]
"""Runs of each space, by the space's name."""

SEEDS = {"cold": 20, "warm": 10}

BLAS_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Variables that a process reads when it first loads numpy."""

PEER_PYTHON = Path(__file__).parents[1] / ".venv-peers" / "bin" / "python"

BARS: dict[str, tuple[tuple[float, ...], dict[int, float]]] = {
    "cold": ((30, 45, 85), {10: 0.70, 20: 0.78, 50: 0.885, 100: 0.955, 200: 0.985}),
    "warm": ((6, 8, 25), {10: 0.88, 20: 0.94, 50: 0.965, 100: 0.98, 200: 0.99}),
}
"""Over all spaces: most evaluations to each goal, and least f@n; set for the spaces that the project was given."""

ASK_MS = 10.0
"""Most milliseconds of a median ask, the refit it may begin with included."""


def cold(path: Path, name: str, seeds: int) -> list[Run]:
    """Runs of one space from nothing, one a seed."""
    recorded = Recorded.read(path)
    return [search(recorded, strategy(name, recorded.space, seed)) for seed in range(seeds)]


def over_spaces(one: Callable[[Path], list[Run]], paths: Sequence[Path], jobs: int) -> dict[str, list[Run]]:
    """Runs of every space, in up to ``jobs`` processes of one BLAS thread each: more take turns on the same cores."""
    if jobs == 1:
        return dict(_said(paths, map(one, paths)))
    for name in BLAS_THREADS:
        os.environ.setdefault(name, "1")
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        return dict(_said(paths, pool.map(one, paths)))


def _said(paths: Sequence[Path], found: Iterable[list[Run]]) -> Iterator[tuple[str, list[Run]]]:
    """Runs by the space's name, each told of as it comes."""
    for path, runs in zip(paths, found, strict=True):
        name = Recorded.name_of(path)
        soon = [float(np.median([run.within(goal) for run in runs])) for goal in GOALS]
        say(f"search: {name}: within 10, 5 and 1 % after {soon}")
        yield name, runs


def kernel_tuner(paths: Sequence[Path], seeds: int) -> dict[str, dict[str, list[Run]]]:
    """Runs of Kernel Tuner's strategies, by strategy and space.

    Raises:
        ConfigError: the peers' environment is not there, or Kernel Tuner failed.
    """
    if not PEER_PYTHON.exists():
        raise ConfigError(f"no {PEER_PYTHON}", "run make peers")
    command = [
        str(PEER_PYTHON),
        "-m",
        "benchmarks.kernel_tuner_peer",
        "--json",
        "--seeds",
        str(seeds),
        "--spaces",
        *map(str, paths),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=PEER_PYTHON.parents[2], check=False)
    if done.returncode:
        raise ConfigError(f"Kernel Tuner failed: {done.stderr[-500:]}", "run benchmarks.kernel_tuner_peer by hand")
    found: dict[str, dict[str, list[Run]]] = {}
    for row in json.loads(done.stdout)["rows"]:
        slowdowns = [np.inf if best is None else best / row["optimum_ns"] for best in row["best_ns"]]
        of_space = found.setdefault(row["strategy"], {}).setdefault(row["space"], [])
        of_space.append(Run(np.array(slowdowns), np.zeros(0)))
    return found


def row(mode: str, searcher: str, name: str, runs: Sequence[Run]) -> Row:
    """Figures of one space; milliseconds of a search that is not ours to time are None."""
    asks = np.concatenate([run.ask_ms for run in runs])
    return {
        "mode": mode,
        "strategy": searcher,
        "space": name,
        "seeds": len(runs),
        **{f"within {goal:.0%}": float(np.median([run.within(goal) for run in runs])) for goal in GOALS},
        **{f"f@{count}": float(np.mean([run.quality(count) for run in runs])) for count in COUNTS},
        "ask ms": float(np.median(asks)) if len(asks) else None,
        "slowest ask ms": float(asks.max()) if len(asks) else None,
    }


def mean_row(name: str, rows: Sequence[Row]) -> Row:
    """Geometric means over the rows of several spaces; of the milliseconds, those of the slowest space."""
    figures: Row = {key: geometric_mean(_floats(rows, key)) for key in rows[0] if key.startswith(("within", "f@"))}
    times: Row = {key: max(_floats(rows, key), default=None) for key in ("ask ms", "slowest ask ms")}
    return {**rows[0], "space": name, **figures, **times}


def _floats(rows: Sequence[Row], key: str) -> list[float]:
    return [float(value) for row in rows if (value := row[key]) is not None]


def summaries(rows: Sequence[Row]) -> Iterator[Row]:
    """Geometric means of each kernel, then of all."""
    kernels = dict.fromkeys(str(row["space"]).split("__")[0] for row in rows)
    for kernel in kernels:
        yield mean_row(f"{kernel} (mean)", [row for row in rows if str(row["space"]).split("__")[0] == kernel])
    yield mean_row("all spaces (mean)", rows)


def bars(mode: str, overall: Row) -> list[Bar]:
    """What the geometric means over all spaces have to reach."""
    most, least = BARS[mode]
    values = {key: value for key, value in overall.items() if isinstance(value, float)}
    return [
        *(
            Bar.at_most(f"{mode}: within {g:.0%}", values[f"within {g:.0%}"], b)
            for g, b in zip(GOALS, most, strict=True)
        ),
        *(Bar.at_least(f"{mode}: f@{count}", values[f"f@{count}"], bound) for count, bound in least.items()),
        Bar.at_most(f"{mode}: median ask, slowest space, ms", values["ask ms"], ASK_MS),
    ]


def measure(given: argparse.Namespace) -> tuple[list[Row], list[Bar]]:
    """Search every space with every seed."""
    paths = recordings(given.spaces)
    seeds = given.seeds or SEEDS[given.mode]
    if given.mode == "warm":
        # Needs the fleet's side, which a cold search does without.
        from benchmarks.search_warm import warm

        one: Callable[[Path], list[Run]] = partial(warm, paths=tuple(paths), name=given.strategy, seeds=seeds)
    else:
        one = partial(cold, name=given.strategy, seeds=seeds)
    runs: dict[str, Runs] = {given.strategy: over_spaces(one, paths, given.jobs)}
    if given.peer:
        runs |= kernel_tuner(paths, seeds)
    rows: list[Row] = []
    for searcher, of_spaces in runs.items():
        mode = given.mode if searcher == given.strategy else "cold"
        own = [row(mode, searcher, name, found) for name, found in of_spaces.items()]
        made = [*own, *summaries(own)]
        rows += [{**one, "sums": _sums(str(one["space"]), of_spaces)} for one in made] if mode == "warm" else made
    overall = next(r for r in rows if r["space"] == "all spaces (mean)")
    return rows, bars(given.mode, overall)


def _sums(name: str, of_spaces: Runs) -> str | None:
    """How the sum that a space's newcomer started from would be formed; None of a mean over spaces."""
    from benchmarks.search_warm import sums_of

    donors = sum(other.split("__")[0] == name.split("__")[0] for other in of_spaces) - 1
    return sums_of(donors) if name in of_spaces else None


def options(parser: argparse.ArgumentParser) -> None:
    """Where the spaces are, and what searches them how often."""
    parser.add_argument("--spaces", type=Path, nargs="+", required=True, help="folders of recordings, or files")
    parser.add_argument("--mode", choices=tuple(SEEDS), default="cold")
    parser.add_argument("--seeds", type=int, help="of each space (20 cold, 10 warm)")
    parser.add_argument("--strategy", choices=strategies(), default="portfolio")
    parser.add_argument("--peer", choices=("kernel-tuner",), help="also run this one, cold, in the peers' environment")
    parser.add_argument(
        "--jobs", type=int, default=1, help=f"processes; a run of {CAP} evaluations keeps one core busy"
    )


if __name__ == "__main__":
    main("search", __doc__ or "", measure, options)
