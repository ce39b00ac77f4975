"""Evolved CUDA C++ kernels against evolved Triton kernels and cuBLAS FP32, in the same rounds on one GPU."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.harness import Bar, Row, main, say
from quasim.kernels import family, statevector
from quasim.measure import Ratio, paired_ratio, timing
from quasim.search import strategy
from quasim.targets.cuda.device import CudaTarget, cuda_plan
from quasim.targets.gpu.build import Built, build
from quasim.targets.gpu.pool import LocalCompiler
from quasim.targets.gpu.target import ROUNDS, GpuTarget
from quasim.targets.triton.device import TritonTarget
from quasim.targets.triton.plans import triton_plan
from quasim.trial import Genome, Problem, Status
from quasim.tune import TuneResult, tune
from quasim.worker.protocol import DevicePeak, DevicePeakKind, Entry, Outcome, Peer, PeerKind, Run

BUDGET = 64
SEED = 42
BATCH = 16
"""One genome for each core of the machines that this runs on."""

OF_TRITON = 0.9
"""Least speed of what memory bounds, in units of the Triton target's best."""

OF_CUBLAS = 0.6
"""Least speed of float32 products, in units of cuBLAS FP32's (TF32 off)."""

CUDA, TRITON, LIBRARY, COPY = "cuda", "triton", "cuBLAS", "copy"

_ROWS = {"rows": 8192, "cols": 4096}

BOUND_BY_MEMORY: dict[str, tuple[Problem, ...]] = {
    **{name: (Problem.of(name, **_ROWS),) for name in ("add", "gelu_residual", "softmax", "layernorm")},
    "stencil2d": (Problem.of("stencil2d", h=8192, w=8192),),
    "gate1": tuple(statevector.problem(26, (target,)) for target in (0, 12, 25)),
    "gate2": (statevector.problem(26, (13, 2)),),
}

PRODUCTS: dict[str, tuple[Problem, ...]] = {
    name: (Problem.of(name, m=4096, n=4096, k=4096),) for name in ("matmul", "matmul_nt", "matmul_tn")
}


@dataclass(frozen=True, slots=True)
class Winner:
    """The best of a search, built again for the contest."""

    result: TuneResult
    built: Built | None


def options(parser: argparse.ArgumentParser) -> None:
    """Budget, seed, and which families."""
    parser.add_argument("--budget", type=int, default=BUDGET, help="evaluations a search (default %(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="of the searches (default %(default)s)")
    names = (*BOUND_BY_MEMORY, *PRODUCTS)
    parser.add_argument("--only", choices=names, action="append", help="this family alone; may be given again")
    parser.add_argument("--device", type=int, default=0, help="index of the GPU")


def measure(given: argparse.Namespace) -> tuple[list[Row], list[Bar]]:
    """One row a problem; ratios are medians of paired, interleaved windows, with 95 % intervals."""
    rows: list[Row] = []
    bars: list[Bar] = []
    with ExitStack() as opened:
        compiler = opened.enter_context(LocalCompiler())
        cuda = opened.enter_context(_target(CudaTarget, given, compiler))
        triton = opened.enter_context(_target(TritonTarget, given, compiler))
        for name in given.only or (*BOUND_BY_MEMORY, *PRODUCTS):
            product = name in PRODUCTS
            for problem in (PRODUCTS if product else BOUND_BY_MEMORY)[name]:
                begin = time.monotonic()
                row, bar = compete(problem, cuda, None if product else triton, compiler, given)
                rows.append(row)
                bars.append(bar)
                say(f"gpu_cuda: {problem} took {time.monotonic() - begin:.0f} s")
    return rows, bars


def _target(kind: type[TritonTarget | CudaTarget], given: argparse.Namespace, compiler: LocalCompiler) -> GpuTarget:
    return kind(index=given.device, energy_window_ns=0, compiler=compiler, spares=0)


def compete(
    problem: Problem,
    cuda: GpuTarget,
    triton: GpuTarget | None,
    compiler: LocalCompiler,
    given: argparse.Namespace,
) -> tuple[Row, Bar]:
    """Evolve on both targets, then run the winners and their rivals in rounds; a product's rival is cuBLAS alone."""
    ours = evolved(problem, cuda, compiler, given)
    theirs = evolved(problem, triton, compiler, given) if triton is not None else None
    entries: dict[str, Entry | None] = {CUDA: ours.built.entry if ours.built else None}
    if theirs is not None:
        entries |= {TRITON: theirs.built.entry if theirs.built else None, COPY: DevicePeak(DevicePeakKind.COPY)}
    else:
        entries[LIBRARY] = Peer(PeerKind.LIBRARY)
    there = {name: entry for name, entry in entries.items() if entry is not None}
    run = Run(problem, 0, tuple(there.values()), ROUNDS, given.seed)
    outcomes = dict(zip(there, cuda.station.run(run, quiet=True), strict=True))
    for name, outcome in outcomes.items():
        if outcome.status is not Status.OK:
            say(f"gpu_cuda: {name} ended as {outcome.status.value}: {outcome.detail}")
    return _row(problem, ours, theirs, outcomes), _bar(problem, TRITON if theirs is not None else LIBRARY, outcomes)


def evolved(problem: Problem, target: GpuTarget, compiler: LocalCompiler, given: argparse.Namespace) -> Winner:
    """The best that a search on this target finds."""
    space = target.space(problem)
    search = strategy("evolution", space, given.seed)
    result = tune(target, problem, search, given.budget, batch_size=BATCH)
    if result.best is None:
        say(f"gpu_cuda: nothing of {target.name} worked for {problem}: {result.trials[-1].detail}")
        return Winner(result, None)
    plan = cuda_plan if isinstance(target, CudaTarget) else triton_plan
    (built,) = build(problem, space, [result.best.genome], target.gpu.arch, compiler, plan)
    return Winner(result, built)


def _slower(name: str, outcomes: Mapping[str, Outcome]) -> Ratio | None:
    """A rival's time in units of ours; None where one of us failed or it does not compete."""
    ours, rival = outcomes.get(CUDA), outcomes.get(name)
    if ours is None or rival is None or not ours.windows or not rival.windows:
        return None
    return paired_ratio(rival.windows, ours.windows)


def _bar(problem: Problem, rival: str, outcomes: Mapping[str, Outcome]) -> Bar:
    ratio = _slower(rival, outcomes)
    bound = OF_TRITON if rival == TRITON else OF_CUBLAS
    name = "the Triton target's" if rival == TRITON else "cuBLAS FP32's"
    return Bar.at_least(f"{problem}: speed in units of {name}", ratio.median if ratio else 0.0, bound)


def _row(problem: Problem, ours: Winner, theirs: Winner | None, outcomes: Mapping[str, Outcome]) -> Row:
    cost = family(problem.kernel).cost(problem)
    row: Row = {"problem": str(problem), **_facts(CUDA, ours)}
    if theirs is not None:
        row |= _facts(TRITON, theirs)
    for name in (CUDA, TRITON, LIBRARY, COPY):
        outcome = outcomes.get(name)
        timed = timing(outcome.windows) if outcome and outcome.windows else None
        row[f"{name} ms"] = timed.median_ns / 1e6 if timed else None
        if name != CUDA:
            ratio = _slower(name, outcomes)
            row[f"{name} / cuda"] = ratio.median if ratio else None
            row[f"{name} / cuda low"] = ratio.low if ratio else None
            row[f"{name} / cuda high"] = ratio.high if ratio else None
        if name != COPY:
            row[f"{name} error (Frobenius)"] = outcome.error_frobenius if outcome else None
        if name == CUDA:
            row["cuda GB/s"] = cost.bytes / timed.median_ns if timed else None
            row["cuda GFLOP/s"] = cost.flops / timed.median_ns if timed else None
    return row


def _facts(name: str, winner: Winner) -> Row:
    image = winner.built.image if winner.built else None
    best: Genome | None = winner.result.best.genome if winner.result.best else None
    return {
        f"{name} evaluations": winner.result.evaluations,
        f"{name} statuses": ", ".join(f"{count} {status.value}" for status, count in winner.result.statuses.items()),
        f"{name} registers (compiler)": image.resources.registers if image else None,
        f"{name} local bytes (compiler)": image.resources.local_bytes if image else None,
        f"{name} occupancy (derived)": image.occupancy if image else None,
        f"{name} genome": str(best) if best else None,
    }


if __name__ == "__main__":
    main("gpu_cuda", __doc__ or "", measure, options)
