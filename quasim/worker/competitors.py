"""Who can run on a prepared problem, all behind one interface: compiled variants, the library, and machine peaks."""

from __future__ import annotations

import ctypes
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

import numpy as np

from quasim.errors import QuasimError
from quasim.kernels import Arrays
from quasim.kernels.ir import Role
from quasim.machine import this_machine
from quasim.meters.energy import Energy
from quasim.targets.c.launch import load
from quasim.trial import Status
from quasim.worker.arena import aligned_block
from quasim.worker.prepared import Bench, Launch
from quasim.worker.protocol import Entry, Library, Outcome, Peak, PeakKind, Plan, Variant
from quasim.worker.windows import host_window

COPY_CACHES = 4
"""STREAM's rule: each array has at least four times the last-level cache."""

COPY_BYTES_MAX = 1 << 30

FMA_STEPS = 1_000_000
"""24 M flops per lane: a few milliseconds, long against the start of a team of threads."""


class HostCompetitor(ABC):
    """What all have in common on a CPU: the host's clock times them, and no meter reads one core's share."""

    @abstractmethod
    def check(self) -> Outcome:
        """Run once and judge the answer."""

    @abstractmethod
    def next_launch(self) -> Launch:
        """The next launch to time."""

    def window(self, plan: Plan, best_ns: float | None) -> tuple[int, ...]:
        """One window of launches, timed one by one."""
        return host_window(self.next_launch, plan, best_ns)

    def energy(self, window_ns: int) -> Energy:
        """Unmetered."""
        return Energy(voided="a CPU worker has no meter")


def competitor(entry: Entry, bench: Bench) -> HostCompetitor:
    """The competitor that an entry names.

    Raises:
        OSError, QuasimError: its library cannot be loaded.
    """
    if isinstance(entry, Peak):
        return PeakCompetitor(Path(entry.path), entry.kind)
    if isinstance(entry, Variant):
        loaded = load(Path(entry.path), bench.family.kernel)
        return KernelCompetitor(bench, lambda arrays: loaded.prepare(bench.problem.dims, arrays))
    if isinstance(entry, Library):
        return KernelCompetitor(bench, lambda arrays: _library(bench, arrays))
    raise QuasimError(f"a CPU worker cannot run a {type(entry).__name__}", "ask a GPU worker")


class KernelCompetitor(HostCompetitor):
    """Anything that computes the problem's outputs from its inputs.

    Args:
        prepare: gives the launch on one set of arrays.
    """

    def __init__(self, bench: Bench, prepare: Callable[[Arrays], Launch]) -> None:
        self._bench, self._prepare = bench, prepare
        self._launches: dict[int, Launch] = {}

    def check(self) -> Outcome:
        """Run once on clean outputs and compare with the reference."""
        return self._bench.check(self._prepare).outcome

    def next_launch(self) -> Launch:
        """A launch on the set that was used longest ago."""
        index = self._bench.next_set()
        if index not in self._launches:
            self._launches[index] = self._prepare(self._bench.arena.sets[index])
        return self._launches[index]


def _library(bench: Bench, arrays: Arrays) -> Launch:
    roles = {role: {t.name: arrays[t.name] for t in bench.family.kernel.tensors if t.role is role} for role in Role}

    def launch() -> None:
        if not bench.family.library(roles[Role.INPUT], roles[Role.OUTPUT]):
            raise QuasimError(f"no library computes {bench.family.name}")

    return launch


class PeakCompetitor(HostCompetitor):
    """What the machine can do at most, measured like everyone else."""

    def __init__(self, path: Path, kind: PeakKind) -> None:
        run = ctypes.CDLL(str(path)).quasim_run
        size = 64
        amount = FMA_STEPS
        if kind is not PeakKind.FMA:
            size = min(COPY_CACHES * this_machine().llc_bytes, COPY_BYTES_MAX)
            amount = size // 64
        self._block = aligned_block(2 * size)
        self._block[:] = 1
        self._work = np.zeros(1)
        at = self._block.ctypes.data
        dims = (ctypes.c_int64 * 2)(list(PeakKind).index(kind), amount)
        tensors = (ctypes.c_void_p * 3)(self._work.ctypes.data, at, at + size)
        self._launch: Launch = lambda: run(dims, tensors)

    def check(self) -> Outcome:
        """Run once, to learn how much work a launch is."""
        if self._launch():
            return Outcome(status=Status.LAUNCH_ERROR, detail="the peak is not of this kind")
        return Outcome(status=Status.OK, work=int(self._work[0]))

    def next_launch(self) -> Launch:
        """The only one: its arrays exceed the caches by themselves."""
        return self._launch
