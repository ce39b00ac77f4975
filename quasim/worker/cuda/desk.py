"""The desk of a GPU: what poisons its context is told, and ends the process with its answer."""

from __future__ import annotations

import torch

from quasim.targets.gpu.image import Image
from quasim.trial import Problem, Status
from quasim.worker.cuda.bench import Bench
from quasim.worker.cuda.competitors import Competitor, competitor
from quasim.worker.cuda.driver import TIMED_OUT, context_fault, name
from quasim.worker.cuda.joules import Wattmeter
from quasim.worker.cuda.launcher import LoadedKernel
from quasim.worker.desk import DeskBase, line
from quasim.worker.protocol import Entry, Gpu, Ready

L2S_TO_FILL = 2
"""The sets of a problem together exceed the second-level cache this many times."""

BENCH_SHARE = 0.4
"""Of the device's memory, for prepared problems; the rest is for what peers and error norms need."""


class Desk(DeskBase[Bench]):
    """Serves requests on one GPU, which is the current device of this process."""

    def __init__(self, device: torch.device, gpu: Gpu) -> None:
        super().__init__(int(gpu.memory_bytes * BENCH_SHARE))
        self.greeting = Ready(gpu)
        self._device, self._gpu = device, gpu
        self._meter = Wattmeter(gpu.uuid)

    def open_bench(self, problem: Problem, seed: int) -> Bench:
        """Inputs, reference, and enough sets."""
        return Bench(problem, seed, L2S_TO_FILL * self._gpu.l2_bytes, self._device)

    def follow(self, bench: Bench, standard: Image) -> None:
        """Take what a kernel computes for the reference of a bench.

        Raises:
            QuasimError: it cannot run, or does not write its outputs.
        """
        bench.follow(LoadedKernel(standard, self._gpu))

    def competitor(self, entry: Entry, bench: Bench) -> Competitor:
        """Whom an entry names.

        Raises:
            QuasimError: it cannot be loaded.
        """
        return competitor(entry, bench, self._gpu, self._meter)

    def settle(self) -> None:
        """Nothing to wait for: a window ends when the device is done."""

    def judge(self, error: Exception) -> tuple[Status, str]:
        """A launch error, unless the context is poisoned: then the entry has crashed, and this process is spent."""
        fault = context_fault()
        if not fault:
            return Status.LAUNCH_ERROR, line(error)
        self.spent = True
        return Status.TIMEOUT if fault == TIMED_OUT else Status.CRASHED, f"{name(fault)} poisoned the context"
