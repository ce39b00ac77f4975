"""One GPU as a target: compile genomes on this host's cores, check, time and meter them on the device."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import TracebackType
from typing import TypeVar

import msgspec

from quasim.errors import ConfigError, MissingToolError, QuasimError
from quasim.kernels import check_problem, family
from quasim.lease import Lease
from quasim.machine import this_machine
from quasim.meters import MIN_WORK_NS
from quasim.space import SearchSpace
from quasim.standing import Contest, Labels, Peaks
from quasim.targets._base import DeviceFacts
from quasim.targets.gpu.build import Built, Planned, build
from quasim.targets.gpu.introspect import introspection
from quasim.targets.gpu.pool import Compiler, LocalCompiler
from quasim.targets.gpu.profiler import Once, profile
from quasim.targets.gpu.resources import LIMITS, runs_on
from quasim.targets.profile import Profile
from quasim.targets.reached import contender
from quasim.trial import EnergySource, ErrorAgainst, Genome, Problem, Trial
from quasim.worker.cuda.named import desk_name
from quasim.worker.process import Limits
from quasim.worker.protocol import DevicePeak, DevicePeakKind, Entry, Gpu, Outcome, Peer, PeerKind, Plan, Run
from quasim.worker.standby import StandbyWorker
from quasim.worker.station import Station

SEARCH = Plan(window_ns=10_000_000, min_samples=5)
"""Of one trial: ten graphs of a millisecond or more tell which genomes deserve a playoff."""

ROUNDS = Plan(rounds=11, window_ns=30_000_000, min_samples=3)
"""Of a contest. Eleven window medians give a 95 % interval that leaves out the lowest and the highest."""

PLAYOFF = Plan(rounds=9, window_ns=10_000_000, min_samples=3)
"""Of a playoff; nine window medians give an interval from the same ranks."""

PEAKS = Plan(rounds=3, window_ns=30_000_000, min_samples=3)
"""Of the peaks that trials are held against."""

PREPARE_S = 600.0
"""Inputs and a float64 reference of 8192³ take some seconds of numpy on 16 cores, and a few minutes on two."""

LABELS = Labels("PyTorch eager", "library (PyTorch: cuBLAS and its own kernels)", "device copy", "cuBLAS")


T = TypeVar("T", bound="GpuTarget")


class GpuTarget(ABC):
    """One NVIDIA GPU of this host as a target; a member for each language says what is compiled.

    Args:
        index: of the GPU among the visible ones.
        arch: for which is compiled; None: the device's own.
        energy_window_ns: how long playoffs read the energy of each genome, after warming up; 0: unmetered.
        seed: of the inputs, and of the order within interleaved rounds.
        limits: of the worker; None: a quarter of the host's memory, 20 s a genome.
        compiler: None: processes of this host.
        lease: of the device; None: the one that all of this user's processes share, by the GPU's UUID.
        spares: workers that stand by.
        foreign: a kernel of the user's own that it tunes, too, as ``FILE.py:NAME``: this process and its workers
            execute that file.

    Raises:
        ConfigError: the device runs no binaries of ``arch``, or the target has no such foreign kernel.
        MissingToolError: there is no NVIDIA driver, GPU, PyTorch, cuda-bindings or compiler here, or we have
            no facts of this architecture; it says which.
    """

    name: str

    def __init__(
        self,
        *,
        index: int = 0,
        arch: str | None = None,
        energy_window_ns: int = MIN_WORK_NS,
        seed: int = 0,
        limits: Limits | None = None,
        compiler: Compiler | None = None,
        lease: Lease | None = None,
        spares: int = 1,
        foreign: str = "",
    ) -> None:
        self._version = self._compiler_version()
        place = self._adopt(foreign)
        machine = this_machine()
        limits = limits or Limits(max(8 << 30, machine.memory_bytes // 4), PREPARE_S, run_s=20.0)
        worker = StandbyWorker(limits, machine.cores, desk_name(index, place), spares)
        self._desk = desk_name(index, place)
        self._compilers = ExitStack()
        self._compiler = compiler or self._compilers.enter_context(LocalCompiler())
        if isinstance(self._compiler, LocalCompiler):
            self._compiler.start()
        try:
            self._gpu, self._arch = _introduced(worker, arch)
        except QuasimError:
            self._compilers.close()
            raise
        self._station = Station(worker, lease or Lease(self._gpu.uuid))
        self._seed = seed
        self._energy_window_ns = energy_window_ns
        self._best_ns: dict[Problem, float] = {}
        self._spaces: dict[Problem, SearchSpace] = {}
        self._peaks: dict[str, Peaks | None] = {}
        self._prepared: set[Problem] = set()

    def __enter__(self: T) -> T:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def device(self) -> DeviceFacts:
        """The GPU, and every version on which its times depend."""
        versions = (self._version, *self._gpu.versions)
        return DeviceFacts(self._gpu.name, f"cuda-{self._gpu.arch}", versions)

    @property
    def gpu(self) -> Gpu:
        """The GPU as its driver describes it."""
        return self._gpu

    @property
    def station(self) -> Station:
        """Where this target runs what it compiled; benchmarks run images of their own there."""
        return self._station

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
            self._spaces[problem] = self._space(check_problem(problem))
        return self._spaces[problem]

    def evaluate(self, problem: Problem, genomes: Sequence[Genome]) -> list[Trial]:
        """Compile all genomes in parallel, then check and time one after the other, each in a run of its own.

        Raises:
            SpaceError: a genome is not of the problem's space.
        """
        built = self._build_and_prepare(problem, genomes)
        return [self._evaluate(problem, genome, one) for genome, one in zip(genomes, built, strict=True)]

    def playoff(self, problem: Problem, genomes: Sequence[Genome], *, metered: bool = True) -> list[Trial]:
        """Check the genomes again, time them in rounds of interleaved windows, and meter one after the other.

        Raises:
            SpaceError: a genome is not of the problem's space.
        """
        built = self._build(problem, genomes)
        plan = msgspec.structs.replace(PLAYOFF, energy_window_ns=self._energy_window_ns if metered else 0)
        outcomes = self._run(problem, built, plan, quiet=True)
        return [self._trial(problem, *each) for each in zip(genomes, built, outcomes, strict=True)]

    def meter(self, problem: Problem, genomes: Sequence[Genome], window_ns: int) -> list[Trial]:
        """Check and time the genomes briefly, and meter one after the other for so long each, after warming up.

        Raises:
            SpaceError: a genome is not of the problem's space.
        """
        built = self._build(problem, genomes)
        outcomes = self._run(problem, built, msgspec.structs.replace(SEARCH, energy_window_ns=window_ns), quiet=True)
        return [self._trial(problem, *each) for each in zip(genomes, built, outcomes, strict=True)]

    def contest(self, problem: Problem, genome: Genome) -> Contest:
        """The genome, its default, PyTorch's eager operations, the vendor's library and the peaks, interleaved.

        Raises:
            SpaceError: the genome is not of the problem's space.
        """
        default = self.space(problem).default
        assert default is not None  # as of every GPU's space
        tuned, other = self._build(problem, [genome, default])
        others: tuple[Entry, ...] = (
            Peer(PeerKind.EAGER),
            Peer(PeerKind.LIBRARY),
            DevicePeak(DevicePeakKind.COPY),
            DevicePeak(DevicePeakKind.PRODUCT),
        )
        outcomes = self._run(problem, [tuned, other, *map(Built, others)], ROUNDS, quiet=True)
        rest = [contender(outcome) for outcome in outcomes[1:]]
        return Contest(
            best=self._trial(problem, genome, tuned, outcomes[0]),
            best_windows=outcomes[0].windows,
            default=rest[0],
            baseline=rest[1],
            library=rest[2],
            copies=(rest[3],),
            fma=rest[4],
            labels=LABELS,
        )

    def profile(self, problem: Problem, genome: Genome) -> Profile:
        """Hardware counters of one launch, where there is a profiler; it runs in a process of its own.

        Raises:
            SpaceError: the genome is not of the problem's space.
        """
        (one,) = self._build(problem, [genome])
        if one.image is None:
            return Profile(reason=one.detail)
        with self._station.leased():
            return profile(Once(one.image, problem, self._seed), self._desk)

    def start_cycle(self, cycle: int) -> None:  # noqa: B027 - what every target has to say
        """Nothing changes: the machine stays the same."""

    def close(self) -> None:
        """End the processes that run and compile. Idempotent; the target starts new ones when it is used again."""
        self._station.close()
        self._compilers.close()

    def _build(self, problem: Problem, genomes: Sequence[Genome]) -> list[Built]:
        return build(problem, self.space(problem), genomes, self._arch, self._compiler, self._plan)

    def _build_and_prepare(self, problem: Problem, genomes: Sequence[Genome]) -> list[Built]:
        """Before a problem's first run its inputs and reference are computed while its variants are compiled."""
        if problem in self._prepared or not self._can_prepare(problem):
            return self._build(problem, genomes)
        self._prepared.add(problem)
        with ThreadPoolExecutor(1) as background:
            ready = background.submit(self._station.prepare, problem, self._seed)
            built = self._build(problem, genomes)
            ready.result()
        return built

    def _adopt(self, foreign: str) -> str:
        """The place of a foreign kernel, by which every process finds it; empty for none."""
        if foreign:
            raise ConfigError(f"the {self.name} target tunes no kernels of yours: {foreign}", "take the triton target")
        return ""

    def _can_prepare(self, problem: Problem) -> bool:
        """Whether all is known that the reference of a problem takes, before anything of it is compiled."""
        return True

    @abstractmethod
    def _compiler_version(self) -> tuple[str, str]:
        """The compiler and its version.

        Raises:
            MissingToolError: it is not installed.
        """

    @abstractmethod
    def _space(self, problem: Problem) -> SearchSpace:
        """The search space of a problem."""

    @abstractmethod
    def _plan(self, problem: Problem, genome: Genome) -> Planned:
        """What is compiled of a genome."""

    def _before(self, problem: Problem) -> None:  # noqa: B027 - most have nothing to do
        """Called before a problem is run."""

    def _evaluate(self, problem: Problem, genome: Genome, built: Built) -> Trial:
        (outcome,) = self._run(problem, [built], SEARCH, self._best_ns.get(problem))
        trial = self._trial(problem, genome, built, outcome)
        self._best_ns[problem] = min(trial.time_ns, self._best_ns.get(problem, math.inf))
        return trial

    def _run(
        self, problem: Problem, built: Sequence[Built], plan: Plan, best_ns: float | None = None, quiet: bool = False
    ) -> list[Outcome]:
        """What became of each, in order; what cannot be launched has failed before the GPU is touched."""
        entries = tuple(one.entry for one in built if one.entry is not None)
        self._before(problem)
        run = Run(problem, self._seed, entries, plan, self._seed, best_ns)
        ran = iter(self._station.run(run, quiet=quiet))
        return [next(ran) if one.entry is not None else Outcome(status=one.status, detail=one.detail) for one in built]

    def _peaks_for(self, problem: Problem) -> Peaks | None:
        """The device's peaks, measured once for each format of operands; None where one failed."""
        kernel = family(problem.kernel).kernel
        key = "tf32" if "_tf32" in kernel.name else kernel.tensors[0].dtype
        if key not in self._peaks:
            entries: tuple[Entry, ...] = (DevicePeak(DevicePeakKind.COPY), DevicePeak(DevicePeakKind.PRODUCT))
            outcomes = self._station.run(Run(problem, self._seed, entries, PEAKS))
            copy, product = (_rate(outcome) for outcome in outcomes)
            self._peaks[key] = Peaks(copy, product) if copy and product else None
        return self._peaks[key]

    def _trial(self, problem: Problem, genome: Genome, built: Built, outcome: Outcome) -> Trial:
        timed = outcome.timing
        energy = outcome.energy
        return Trial(
            problem=problem,
            target=self.name,
            genome=genome,
            status=outcome.status,
            timing=timed,
            error_frobenius=outcome.error_frobenius,
            error_componentwise=outcome.error_componentwise,
            error_against=ErrorAgainst.DEFAULT if problem in self._station.standards else ErrorAgainst.FLOAT64,
            energy_j=energy.j_per_op if energy else None,
            energy_source=energy.source if energy else EnergySource.UNMETERED,
            energy_low_j=energy.low if energy else None,
            energy_high_j=energy.high if energy else None,
            energy_above_idle_j=energy.idle_subtracted_j_per_op if energy else None,
            compile_ns=built.compile_ns,
            check_ns=outcome.check_ns,
            measure_ns=outcome.measure_ns,
            detail=outcome.detail or (f"unmetered: {energy.voided}" if energy and energy.voided else ""),
            introspection=introspection(
                built.image, timed, family(problem.kernel).cost(problem), self._peaks_for(problem) if timed else None
            ),
        )


def _introduced(worker: StandbyWorker, arch: str | None) -> tuple[Gpu, str]:
    """The GPU behind a worker, and the architecture to compile for; no worker is left where there is none."""
    try:
        gpu = worker.start().gpu
        assert gpu is not None  # as of every worker with a GPU's desk
        return gpu, _suited(arch, gpu) if arch else _known(gpu)
    except QuasimError:
        worker.close()
        raise


def _suited(arch: str, gpu: Gpu) -> str:
    """An architecture that the user names, if the device runs its binaries."""
    if not runs_on(arch, gpu.arch):
        raise ConfigError(
            f"{gpu.name} is {gpu.arch} and runs no binaries for {arch}", "leave arch out, or name its own"
        )
    return arch


def _known(gpu: Gpu) -> str:
    """The device's architecture, if its facts are known."""
    if gpu.arch not in LIMITS:
        raise MissingToolError(
            f"{gpu.name} is {gpu.arch}, which we have no facts of",
            f"name an arch out of {', '.join(LIMITS)} that it runs",
        )
    return gpu.arch


def _rate(outcome: Outcome) -> float:
    """Work per second; 0 for a peak that failed."""
    return 1e9 * outcome.work / outcome.timing.median_ns if outcome.timing else 0.0
