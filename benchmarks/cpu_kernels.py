"""Evolved CPU kernels against numpy (OpenBLAS), a plain loop nest, and the machine's measured bandwidth and peak."""

from __future__ import annotations

import argparse

from benchmarks.harness import Bar, Row, main, say
from quasim.kernels import family
from quasim.search import strategy
from quasim.standing import Standing, standing
from quasim.targets.c.device import CTarget
from quasim.trial import Problem
from quasim.tune import tune

BUDGET = 150
SEED = 42

COMPUTE = (Problem.of("matmul", m=768, n=768, k=768), Problem.of("matmul", m=1000, n=333, k=640))
STREAMING = (Problem.of("softmax", rows=8192, cols=4096), Problem.of("stencil2d", h=8192, w=4096))
"""Bound by arithmetic, and (on arrays far beyond the caches) by memory."""


def options(parser: argparse.ArgumentParser) -> None:
    """Budget and seed."""
    parser.add_argument("--budget", type=int, default=BUDGET, help="evaluations a problem (default %(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="of the search (default %(default)s)")


def evolve(problem: Problem, budget: int, seed: int) -> tuple[Standing, int]:
    """Tune a problem and let the winner compete; its standing, and the evaluations that it took."""
    with CTarget() as target:
        result = tune(target, problem, strategy("evolution", target.space(problem), seed), budget)
        if result.best is None:
            raise RuntimeError(f"nothing worked for {problem}")
        return standing(target, problem, result.best.genome), result.evaluations


def measure(given: argparse.Namespace) -> tuple[list[Row], list[Bar]]:
    """One row a problem; ratios are medians of paired, interleaved windows."""
    rows: list[Row] = []
    bars: list[Bar] = []
    for problem in (*COMPUTE, *STREAMING):
        say(f"cpu_kernels: {problem}, {given.budget} evaluations")
        found, evaluations = evolve(problem, given.budget, given.seed)
        rows.append(_row(problem, found, evaluations))
        bars += _bars(problem, found, evaluations)
    return rows, bars


def _row(problem: Problem, found: Standing, evaluations: int) -> Row:
    cost, time_ns = family(problem.kernel).cost(problem), found.best.time_ns
    return {
        "problem": str(problem),
        "evaluations": evaluations,
        "ms": time_ns / 1e6,
        "GFLOP/s": cost.flops / time_ns,
        "GB/s": cost.bytes / time_ns,
        "numpy / ours": found.library.ratio.median if found.library.ratio else None,
        "baseline / ours": found.baseline.ratio.median if found.baseline.ratio else None,
        "default / ours": found.default.ratio.median if found.default.ratio else None,
        "of STREAM copy": found.stream_fraction.median if found.stream_fraction else None,
        "of roofline": found.roofline_fraction,
        "error (Frobenius)": found.best.error_frobenius,
        "energy": found.best.energy_source.value,
        "genome": str(found.best.genome),
    }


def _bars(problem: Problem, found: Standing, evaluations: int) -> list[Bar]:
    bars = [Bar.at_most(f"{problem}: evaluations", evaluations, BUDGET)]
    if problem in STREAMING:
        fraction = found.stream_fraction.median if found.stream_fraction else 0.0
        return [*bars, Bar.at_least(f"{problem}: of STREAM copy bandwidth", fraction, 0.8)]
    library = found.library.ratio.median if found.library.ratio else 0.0
    baseline = found.baseline.ratio.median if found.baseline.ratio else 0.0
    error = found.best.error_frobenius
    return [
        *bars,
        Bar.at_least(f"{problem}: speed in units of numpy's OpenBLAS", library, 0.9),
        Bar.at_least(f"{problem}: speed in units of the fixed baseline", baseline, 20.0),
        Bar.at_most(f"{problem}: error (Frobenius, relative)", error if error is not None else float("inf"), 1e-6),
    ]


if __name__ == "__main__":
    main("cpu_kernels", __doc__ or "", measure, options)
