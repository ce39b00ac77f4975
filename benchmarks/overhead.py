"""What a trial costs outside compiling, timing and checking its answer."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.harness import Bar, Row, main, say
from quasim.kernels import check_problem
from quasim.search import strategy
from quasim.targets.c.device import CTarget
from quasim.trial import Problem

TRIALS = 40
BATCH = 8
PROBLEMS = (
    Problem.of("matmul", m=256, n=256, k=256),
    Problem.of("softmax", rows=1024, cols=1024),
    Problem.of("stencil2d", h=1024, w=1024),
)


def overheads_ms(problem: Problem) -> list[float]:
    """Wall time of a trial less what compiling, checking and timing took.

    Genomes are asked for and told by the batch, as tuning does, and the batch's share is added to each of its trials;
    but they are evaluated one by one, so that nothing hides behind another's compiler.
    """
    found: list[float] = []
    with tempfile.TemporaryDirectory() as cache, CTarget(cache=Path(cache)) as target:
        search = strategy("evolution", target.space(problem), 0)
        # Starts the worker, and makes inputs and reference, once for all.
        target.evaluate(problem, search.ask(1))
        for _ in range(TRIALS // BATCH):
            start = time.perf_counter_ns()
            genomes = search.ask(BATCH)
            asked_ns = time.perf_counter_ns() - start
            trials, outside_ns = [], []
            for genome in genomes:
                start = time.perf_counter_ns()
                [trial] = target.evaluate(problem, [genome])
                inside_ns = (trial.compile_ns or 0) + (trial.check_ns or 0) + (trial.measure_ns or 0)
                outside_ns.append(time.perf_counter_ns() - start - inside_ns)
                trials.append(trial)
            start = time.perf_counter_ns()
            search.tell(trials)
            share_ns = (asked_ns + time.perf_counter_ns() - start) / BATCH
            found += [(ns + share_ns) / 1e6 for ns in outside_ns]
    return found


def measure(_: argparse.Namespace | None = None) -> tuple[list[Row], list[Bar]]:
    """Median over trials, per family and over all."""
    rows: list[Row] = []
    everything: list[float] = []
    for problem in PROBLEMS:
        say(f"overhead: {TRIALS} trials of {problem}")
        found = overheads_ms(check_problem(problem))
        everything += found
        rows.append(
            {
                "overhead of a trial [ms]": str(problem),
                "median": float(np.median(found)),
                "p90": float(np.percentile(found, 90)),
                "max": max(found),
            }
        )
    return rows, [Bar.at_most("overhead: median ms of a trial", float(np.median(everything)), 5.0)]


if __name__ == "__main__":
    main("overhead", __doc__ or "", measure)
