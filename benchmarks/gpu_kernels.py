"""Evolved Triton kernels against torch.compile, eager PyTorch, the vendor's library and a device copy, on one GPU."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import Bar, Row, main, say
from quasim.kernels import family, statevector
from quasim.measure import Ratio, paired_ratio, timing
from quasim.meters import MIN_WORK_NS, Energy
from quasim.search import strategy
from quasim.targets.gpu.build import Built, build
from quasim.targets.gpu.pool import LocalCompiler
from quasim.targets.gpu.target import ROUNDS
from quasim.targets.profile import Profile
from quasim.targets.triton.device import TritonTarget
from quasim.targets.triton.plans import triton_plan
from quasim.trial import Problem, Status
from quasim.tune import TuneResult, tune
from quasim.worker.protocol import DevicePeak, DevicePeakKind, Entry, Outcome, Peer, PeerKind, Plan, Run

BUDGET = 100
SEED = 42

BATCH = 16
"""One genome for each core of the machines that this runs on."""

OURS, DEFAULT, COPY, COMPILED, EAGER, LIBRARY = "ours", "default", "copy", "torch.compile", "eager", "library"

RIVALS: dict[str, Entry] = {
    COPY: DevicePeak(DevicePeakKind.COPY),
    COMPILED: Peer(PeerKind.COMPILED),
    EAGER: Peer(PeerKind.EAGER),
    LIBRARY: Peer(PeerKind.LIBRARY),
}

METERED = Plan(rounds=1, window_ns=10_000_000, min_samples=1, energy_window_ns=MIN_WORK_NS)


@dataclass(frozen=True, slots=True)
class Case:
    """A family at its shapes, and what it has to reach.

    Attributes:
        copy: least share of the bandwidth of a device copy; None: it is not bound by memory.
        library: least speed in units of the library's; None: none is asked for.
        rivals: who competes, besides the default.
        metered: which of these is metered beside ours.
    """

    problems: tuple[Problem, ...]
    copy: float | None
    library: float | None
    rivals: tuple[str, ...]
    metered: str = COMPILED


def _rows(kernel: str) -> tuple[Problem, ...]:
    return tuple(Problem.of(kernel, rows=rows, cols=cols) for rows, cols in ((4096, 4096), (65536, 1024)))


CASES: dict[str, Case] = {
    "softmax": Case(_rows("softmax"), 0.9, None, (COPY, COMPILED, EAGER, LIBRARY)),
    "layernorm": Case(_rows("layernorm"), 0.9, None, (COPY, COMPILED, EAGER, LIBRARY)),
    "stencil2d": Case((Problem.of("stencil2d", h=8192, w=8192),), 0.8, None, (COPY, COMPILED, EAGER)),
    "statevector": Case(
        tuple(statevector.problem(26, (target,)) for target in (0, 12, 25)), 0.8, None, (COPY, COMPILED, EAGER)
    ),
    "matmul": Case(
        tuple(Problem.of("matmul_bf16", m=side, n=side, k=side) for side in (4096, 8192)),
        None,
        0.85,
        (COMPILED, LIBRARY),
        LIBRARY,
    ),
}


def options(parser: argparse.ArgumentParser) -> None:
    """Budget, seed, and which families."""
    parser.add_argument("--budget", type=int, default=BUDGET, help="evaluations a problem (default %(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="of the search (default %(default)s)")
    parser.add_argument("--only", choices=CASES, action="append", help="this family alone; may be given again")
    parser.add_argument("--device", type=int, default=0, help="index of the GPU")
    parser.add_argument("--no-profile", action="store_true", help="leave out the hardware counters")


def measure(given: argparse.Namespace) -> tuple[list[Row], list[Bar]]:
    """One row a problem; ratios are medians of paired, interleaved windows, with 95 % intervals."""
    rows: list[Row] = []
    bars: list[Bar] = []
    with (
        tempfile.TemporaryDirectory(prefix="quasim-gpu-kernels-") as folder,
        LocalCompiler(folder=Path(folder)) as cold,
        TritonTarget(index=given.device, energy_window_ns=0, compiler=cold) as target,
    ):
        bench = Bench(target, cold, given)
        for name in given.only or CASES:
            for number, problem in enumerate(CASES[name].problems):
                # The counters of one problem stand for its family.
                row, found = bench.compete(CASES[name], problem, profiled=not number and not given.no_profile)
                rows.append(row)
                bars += found
    return rows, bars


class Bench:
    """Evolves a problem and lets its winner compete."""

    def __init__(self, target: TritonTarget, compiler: LocalCompiler, given: argparse.Namespace) -> None:
        self._target, self._compiler, self._given = target, compiler, given

    def compete(self, case: Case, problem: Problem, profiled: bool) -> tuple[Row, list[Bar]]:
        """The row and the bars of a problem."""
        begin = time.monotonic()
        result = self._evolve(problem)
        if result.best is None:
            say(f"gpu_kernels: nothing worked for {problem}: {result.trials[-1].detail}")
            return {"problem": str(problem)}, [Bar.at_least(f"{problem}: anything right", 0.0, 1.0)]
        evolved_s = time.monotonic() - begin
        default = self._target.space(problem).default
        assert default is not None  # as of every Triton space
        genomes = [result.best.genome, default]
        ours, other = build(
            problem, self._target.space(problem), genomes, self._target.gpu.arch, self._compiler, triton_plan
        )
        outcomes = self._contest(case, problem, ours, other)
        joules = self._meter(case, problem, ours)
        counters = self._target.profile(problem, result.best.genome) if profiled else Profile(reason="not asked for")
        contest = Contest(problem, outcomes, joules)
        for name, outcome in outcomes.items():
            if outcome.status is not Status.OK:
                say(f"gpu_kernels: {name} ended as {outcome.status.value}: {outcome.detail}")
        say(f"gpu_kernels: {problem} took {time.monotonic() - begin:.0f} s, {evolved_s:.0f} s of it to evolve")
        return _row(contest, result, ours, counters, evolved_s), _bars(case, contest)

    def _evolve(self, problem: Problem) -> TuneResult:
        say(f"gpu_kernels: {problem}, {self._given.budget} evaluations")
        search = strategy("evolution", self._target.space(problem), self._given.seed)
        return tune(self._target, problem, search, self._given.budget, batch_size=BATCH)

    def _contest(self, case: Case, problem: Problem, ours: Built, other: Built) -> dict[str, Outcome]:
        entries = {OURS: ours.entry, DEFAULT: other.entry, **{name: RIVALS[name] for name in case.rivals}}
        return self._run(problem, entries, ROUNDS)

    def _meter(self, case: Case, problem: Problem, ours: Built) -> dict[str, Energy]:
        outcomes = self._run(problem, {OURS: ours.entry, case.metered: RIVALS[case.metered]}, METERED)
        return {
            name: outcome.energy or Energy(voided=outcome.detail or outcome.status.value)
            for name, outcome in outcomes.items()
        }

    def _run(self, problem: Problem, entries: Mapping[str, Entry | None], plan: Plan) -> dict[str, Outcome]:
        there = {name: entry for name, entry in entries.items() if entry is not None}
        run = Run(problem, 0, tuple(there.values()), plan, self._given.seed)
        return dict(zip(there, self._target.station.run(run, quiet=True), strict=True))


@dataclass(frozen=True, slots=True)
class Contest:
    """What all showed in the same rounds, and the energy of two of them."""

    problem: Problem
    outcomes: Mapping[str, Outcome]
    joules: Mapping[str, Energy]

    @property
    def ours(self) -> Outcome:
        """The evolved kernel."""
        return self.outcomes[OURS]

    def slower(self, name: str) -> Ratio | None:
        """A rival's time in units of ours; None where one of us failed or it does not compete."""
        rival = self.outcomes.get(name)
        if rival is None or not rival.windows or not self.ours.windows:
            return None
        return paired_ratio(rival.windows, self.ours.windows)

    def of_copy(self) -> Ratio | None:
        """Our bytes per second in units of the copy's."""
        ratio = self.slower(COPY)
        if ratio is None:
            return None
        factor = family(self.problem.kernel).cost(self.problem).bytes / self.outcomes[COPY].work
        return Ratio(ratio.median * factor, ratio.low * factor, ratio.high * factor, ratio.rounds)


def _row(contest: Contest, result: TuneResult, ours: Built, counters: Profile, evolved_s: float) -> Row:
    cost = family(contest.problem.kernel).cost(contest.problem)
    timed = timing(contest.ours.windows) if contest.ours.windows else None
    image = ours.image
    assert image is not None  # as of every winner
    assert result.best is not None
    row: Row = {
        "problem": str(contest.problem),
        "evaluations": result.evaluations,
        "statuses": ", ".join(f"{count} {status.value}" for status, count in result.statuses.items()),
        "evolving [s]": evolved_s,
        "ms": timed.median_ns / 1e6 if timed else None,
        "ms low": timed.low_ns / 1e6 if timed else None,
        "ms high": timed.high_ns / 1e6 if timed else None,
        "GB/s": cost.bytes / timed.median_ns if timed else None,
        "GFLOP/s": cost.flops / timed.median_ns if timed else None,
        **_ratio("of copy", contest.of_copy()),
    }
    for name in (COMPILED, EAGER, LIBRARY, DEFAULT):
        row |= _ratio(f"{name} / ours", contest.slower(name))
    row |= {"error (Frobenius)": contest.ours.error_frobenius, "error (component)": contest.ours.error_componentwise}
    for name in (COMPILED, LIBRARY):
        rival = contest.outcomes.get(name)
        row[f"{name} error (Frobenius)"] = rival.error_frobenius if rival else None
    row |= _energy("ours", contest.joules.get(OURS))
    row |= _energy("rival", next((e for name, e in contest.joules.items() if name != OURS), None))
    row["metered rival"] = next((name for name in contest.joules if name != OURS), None)
    row |= {
        "registers (compiler)": image.resources.registers,
        "local bytes (compiler)": image.resources.local_bytes,
        "shared bytes (compiler)": image.resources.shared_bytes,
        "occupancy (derived)": image.occupancy,
        "occupancy (measured)": counters.occupancy,
        "branches (measured)": counters.branches,
        "divergent branches (measured)": counters.divergent_branches,
        "branch efficiency (measured)": counters.branch_efficiency,
        "L1 hit rate (measured)": counters.l1_hit_rate,
        "L2 hit rate (measured)": counters.l2_hit_rate,
        "DRAM GB/s (measured)": counters.dram_bytes_per_s / 1e9 if counters.dram_bytes_per_s is not None else None,
        "no counters because": counters.reason or None,
        "genome": str(result.best.genome),
    }
    return row


def _ratio(name: str, ratio: Ratio | None) -> Row:
    return {
        name: ratio.median if ratio else None,
        f"{name} low": ratio.low if ratio else None,
        f"{name} high": ratio.high if ratio else None,
    }


def _energy(name: str, energy: Energy | None) -> Row:
    return {
        f"{name} J": energy.j_per_op if energy else None,
        f"{name} J low": energy.low if energy else None,
        f"{name} J high": energy.high if energy else None,
        f"{name} J above idle": energy.idle_subtracted_j_per_op if energy else None,
        f"{name} energy": (energy.voided or energy.source.value) if energy else None,
    }


def _bars(case: Case, contest: Contest) -> list[Bar]:
    found: list[tuple[str, float | None, float]] = []
    if case.copy is not None:
        copy, compiled = contest.of_copy(), contest.slower(COMPILED)
        found.append(("bandwidth in units of a device copy's", copy.median if copy else None, case.copy))
        # Both may be at the memory's limit: what must not be is that we are slower beyond doubt.
        found.append(("speed in units of torch.compile's (upper end)", compiled.high if compiled else None, 1.0))
    if case.library is not None:
        library = contest.slower(LIBRARY)
        found.append(("speed in units of cuBLAS's", library.median if library else None, case.library))
    return [Bar.at_least(f"{contest.problem}: {name}", value or 0.0, bound) for name, value, bound in found]


if __name__ == "__main__":
    main("gpu_kernels", __doc__ or "", measure, options)
