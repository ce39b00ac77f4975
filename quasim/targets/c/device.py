"""The C target: lower, print, compile, check and time genomes on this machine's CPU."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType

from quasim.errors import SpaceError
from quasim.kernels import baseline, check_problem, family
from quasim.kernels.ir import Kernel
from quasim.kernels.lower import LoweringError, lower
from quasim.lease import Lease
from quasim.machine import this_machine
from quasim.space import SearchSpace
from quasim.standing import Contest
from quasim.targets._base import DeviceFacts
from quasim.targets.c.compile import CCompiler, CompileError
from quasim.targets.c.emit import emit
from quasim.targets.c.space import space
from quasim.targets.reached import contender, reached
from quasim.trial import Genome, Problem, Status, Trial
from quasim.worker.process import Limits
from quasim.worker.protocol import Entry, Library, Outcome, Peak, PeakKind, Plan, Run, Variant
from quasim.worker.standby import StandbyWorker
from quasim.worker.station import Station

DEVICE = "cpu"
"""All cores share one lease: they share their caches and memory bandwidth, too."""

PEAKS = Path(__file__).with_name("peaks.c")

ROUNDS = Plan(rounds=11, window_ns=30_000_000, min_samples=1)
"""Of a contest. Eleven window medians give a 95 % interval that leaves out the lowest and the highest."""

PLAYOFF = Plan(rounds=9, window_ns=10_000_000, min_samples=2)
"""Of a playoff, which nodes hold in every cycle: a tenth of a second a genome, and an interval from the same ranks."""


@dataclass(frozen=True, slots=True)
class Built:
    """Something to measure, as the compiler left it.

    Attributes:
        entry: None where it does not compile; ``detail`` says why.
        compile_ns: lowering, printing and the C compiler; None where it does not compile.
    """

    entry: Entry | None
    compile_ns: int | None = None
    detail: str = ""


class CTarget:
    """This machine's CPU as a target. One worker process measures; several agents of a host share lease and cache.

    Args:
        threads: that variants, baseline and library may use; None: one for each core that this process may use.
        seed: of the inputs, and of the order within interleaved rounds.
        limits: of the worker; None: a quarter of the machine's memory (several agents share a host), 10 s a genome.
        cache: folder of compiled libraries; None: ``$QUASIM_CACHE_DIR`` or ``~/.cache/quasim``.
        lease: of the CPU; None: the one that all of this user's processes share.

    Raises:
        MissingToolError: there is no C compiler.
    """

    name = "c"

    def __init__(
        self,
        *,
        threads: int | None = None,
        seed: int = 0,
        limits: Limits | None = None,
        cache: Path | None = None,
        lease: Lease | None = None,
    ) -> None:
        self._machine = this_machine()
        self._threads = threads or self._machine.cores
        self._seed = seed
        limits = limits or Limits(memory_bytes=max(2 << 30, self._machine.memory_bytes // 4))
        self._cache = (cache or cache_folder()).resolve() / _slug(self._machine.name, self._machine.family)
        self._lease = lease or Lease(DEVICE)
        self._compiler = CCompiler.find()
        # None stands by: a worker starts in a fifth of a second.
        self._station = Station(StandbyWorker(limits, self._threads, DEVICE, spares=0), self._lease)
        self._best_ns: dict[Problem, float] = {}
        self._spaces: dict[Problem, SearchSpace] = {}

    def __enter__(self) -> CTarget:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def device(self) -> DeviceFacts:
        """The CPU, and the compiler on which every time depends."""
        versions = (("compiler", self._compiler.version), ("threads", str(self._threads)))
        return DeviceFacts(self._machine.name, self._machine.family, versions)

    @property
    def worker_pid(self) -> int | None:
        """Process in which variants run; None while there is none."""
        return self._station.pid

    def space(self, problem: Problem) -> SearchSpace:
        """The search space of a problem.

        Raises:
            UnknownNameError, ShapeError: there is no such family, or the shape is outside its domain.
        """
        if problem not in self._spaces:
            self._spaces[problem] = space(check_problem(problem), self._threads)
        return self._spaces[problem]

    def evaluate(self, problem: Problem, genomes: Sequence[Genome]) -> list[Trial]:
        """Compile all genomes in parallel, then check and time one after the other.

        Raises:
            SpaceError: a genome is not of the problem's space.
        """
        built = self._build_genomes(problem, genomes)
        return [self._evaluate(problem, genome, one) for genome, one in zip(genomes, built, strict=True)]

    def playoff(self, problem: Problem, genomes: Sequence[Genome], *, metered: bool = True) -> list[Trial]:
        """Check the genomes again, and time them in rounds of interleaved windows.

        Raises:
            SpaceError: a genome is not of the problem's space.
        """
        built = self._build_genomes(problem, genomes)
        outcomes = self._run(problem, built, PLAYOFF)
        return [_trial(problem, *each) for each in zip(genomes, built, outcomes, strict=True)]

    def contest(self, problem: Problem, genome: Genome) -> Contest:
        """The genome, its default, the fixed baseline, the library and the machine's peaks in interleaved windows.

        Raises:
            SpaceError: the genome is not of the problem's space.
        """
        default = self.space(problem).default
        assert default is not None  # as of every C space
        tuned, other = self._build_genomes(problem, [genome, default])
        plain = self._build(lambda: baseline.source(problem.kernel), (*baseline.FLAGS, *baseline.LIBRARIES))
        outcomes = self._run(problem, [tuned, other, plain, Built(Library()), *self._build_peaks()], ROUNDS)
        rest = [contender(outcome) for outcome in outcomes[1:]]
        return Contest(
            best=_trial(problem, genome, tuned, outcomes[0]),
            best_windows=outcomes[0].windows,
            default=rest[0],
            baseline=rest[1],
            library=rest[2],
            copies=(rest[3], rest[4]),
            fma=rest[5],
        )

    def start_cycle(self, cycle: int) -> None:
        """Nothing changes: the machine stays the same."""

    def close(self) -> None:
        """End the worker process. Idempotent; the target starts a new one when it is used again."""
        self._station.close()

    def _build_genomes(self, problem: Problem, genomes: Sequence[Genome]) -> list[Built]:
        self.space(problem).require(genomes, problem)
        build = partial(self._build_genome, family(problem.kernel).kernel)
        if len(genomes) == 1:
            return [build(genomes[0])]  # a thread of its own may wait 4 ms for its turn on a busy machine
        with ThreadPoolExecutor(self._machine.cores) as pool:
            return list(pool.map(build, genomes))

    def _build_genome(self, kernel: Kernel, genome: Genome) -> Built:
        return self._build(lambda: emit(lower(kernel, genome, self.name)))

    def _build_peaks(self) -> list[Built]:
        one = self._build(PEAKS.read_text)
        if not isinstance(one.entry, Variant):
            return [one] * len(PeakKind)
        return [Built(Peak(one.entry.path, kind)) for kind in PeakKind]

    def _build(self, source: Callable[[], str], extra_flags: tuple[str, ...] = ()) -> Built:
        """Print and compile under the shared lease: many may, side by side, but nobody while anybody times."""
        try:
            with self._lease.shared():
                start = time.perf_counter_ns()
                text = source()
                printed_ns = time.perf_counter_ns() - start
                compiled = self._compiler.compile(text, self._cache, extra_flags=extra_flags)
        except (SpaceError, LoweringError, CompileError) as error:
            return Built(None, detail=error.what)
        return Built(Variant(str(compiled.path)), printed_ns + compiled.compile_ns)

    def _evaluate(self, problem: Problem, genome: Genome, built: Built) -> Trial:
        (outcome,) = self._run(problem, [built], Plan(), self._best_ns.get(problem))
        trial = _trial(problem, genome, built, outcome)
        self._best_ns[problem] = min(trial.time_ns, self._best_ns.get(problem, math.inf))
        return trial

    def _run(self, problem: Problem, built: Sequence[Built], plan: Plan, best_ns: float | None = None) -> list[Outcome]:
        """What became of each, in order; what did not compile has failed already."""
        entries = tuple(one.entry for one in built if one.entry is not None)
        ran = iter(self._station.run(Run(problem, self._seed, entries, plan, self._seed, best_ns)))
        return [
            next(ran) if one.entry is not None else Outcome(status=Status.COMPILE_ERROR, detail=one.detail)
            for one in built
        ]


def cache_folder() -> Path:
    """Where compiled libraries are kept for all agents of a user: ``$QUASIM_CACHE_DIR`` or ``~/.cache/quasim``."""
    return Path(os.environ.get("QUASIM_CACHE_DIR") or Path.home() / ".cache" / "quasim")


def _slug(*names: str) -> str:
    """A folder name: home folders are shared by hosts, and code for one CPU may not run on another."""
    return re.sub(r"[^a-z0-9]+", "-", " ".join(names).lower()).strip("-")


def _trial(problem: Problem, genome: Genome, built: Built, outcome: Outcome) -> Trial:
    timed = outcome.timing
    return Trial(
        problem=problem,
        target=CTarget.name,
        genome=genome,
        status=outcome.status,
        timing=timed,
        error_frobenius=outcome.error_frobenius,
        error_componentwise=outcome.error_componentwise,
        compile_ns=built.compile_ns,
        check_ns=outcome.check_ns,
        measure_ns=outcome.measure_ns,
        detail=outcome.detail,
        introspection=reached(timed, family(problem.kernel).cost(problem)) if timed else None,
    )
