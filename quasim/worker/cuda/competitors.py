"""Who can run on a prepared problem on a GPU: compiled images, PyTorch, and what the device reaches at most."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from functools import partial

import torch

from quasim.errors import QuasimError
from quasim.meters.energy import Energy
from quasim.trial import Status
from quasim.worker.cuda.arena import DTYPES
from quasim.worker.cuda.bench import Bench, Prepare
from quasim.worker.cuda.joules import Wattmeter
from quasim.worker.cuda.launcher import Launch, Tensors, loaded
from quasim.worker.cuda.peers import Answers, Compute, checked_launch, compute, set_precision
from quasim.worker.cuda.timing import GraphClock
from quasim.worker.protocol import Binary, DevicePeak, DevicePeakKind, Entry, Gpu, Outcome, Peer, Plan

COPY_L2S = 8
"""The arrays of the copy exceed L2 this many times, so that nearly all of it goes to memory and back."""

PRODUCT_SIDE = {"float32": 4096, "tf32": 8192, "float16": 8192, "bfloat16": 8192}
"""Large enough for every multiprocessor to be busy nearly all of the time: 2 to 3 ms on an H100."""


class Competitor(ABC):
    """What all have in common: graphs of launches time them, and the device's meter reads them."""

    def __init__(self, meter: Wattmeter) -> None:
        self._meter = meter
        self._clock: GraphClock | None = None

    @abstractmethod
    def check(self) -> Outcome:
        """Run once and judge the answer."""

    @abstractmethod
    def launches(self) -> list[Launch]:
        """One launch for each set of arrays."""

    def window(self, plan: Plan, best_ns: float | None) -> tuple[int, ...]:
        """One window of graph replays."""
        return self._timed().window(plan, best_ns)

    def energy(self, window_ns: int) -> Energy:
        """Energy of one launch, from graph replays that go on for so long."""
        return self._meter.energy(self._timed().graph(), window_ns)

    def _timed(self) -> GraphClock:
        if self._clock is None:
            self._clock = GraphClock(self.launches())
        return self._clock


def competitor(entry: Entry, bench: Bench, gpu: Gpu, meter: Wattmeter) -> Competitor:
    """The competitor that an entry names.

    Raises:
        CudaError, QuasimError: it cannot be loaded.
    """
    if isinstance(entry, Binary):
        kernel = loaded(entry.image, gpu)
        return KernelCompetitor(bench, meter, lambda arrays: kernel.prepare(bench.problem.dims, arrays))
    if isinstance(entry, Peer):
        return PeerCompetitor(bench, meter, entry)
    if isinstance(entry, DevicePeak):
        return CopyPeak(gpu, meter) if entry.kind is DevicePeakKind.COPY else ProductPeak(bench, meter)
    raise QuasimError(f"a GPU worker cannot run a {type(entry).__name__}", "ask a CPU worker")


class KernelCompetitor(Competitor):
    """Anything that writes the problem's outputs into a set."""

    def __init__(self, bench: Bench, meter: Wattmeter, prepare: Prepare) -> None:
        super().__init__(meter)
        self._bench, self._prepare = bench, prepare

    def check(self) -> Outcome:
        """Run once on clean outputs and compare with the reference."""
        return self._bench.check(self._prepare).outcome

    def launches(self) -> list[Launch]:
        """One for each set."""
        return [self._prepare(arrays) for arrays in self._bench.arena.sets]


class PeerCompetitor(Competitor):
    """PyTorch; timed without the copy into our outputs that the check makes."""

    def __init__(self, bench: Bench, meter: Wattmeter, entry: Peer) -> None:
        super().__init__(meter)
        self._bench = bench
        self._function = compute(bench.problem.kernel, entry.kind)

    def check(self) -> Outcome:
        """Run once on clean outputs and compare with the reference."""
        kernel = self._bench.family.kernel
        set_precision(kernel.name)
        return self._bench.check(lambda arrays: checked_launch(kernel, arrays, self._function)).outcome

    def launches(self) -> list[Launch]:
        """One for each set. As many answers are kept, so that they too go beyond L2."""
        set_precision(self._bench.problem.kernel)
        sets = self._bench.arena.sets
        kept: deque[Answers] = deque(maxlen=len(sets))
        return [partial(_launch_and_keep, self._function, arrays, kept) for arrays in sets]


def _launch_and_keep(function: Compute, arrays: Tensors, kept: deque[Answers]) -> None:
    kept.append(function(arrays))


class CopyPeak(Competitor):
    """PyTorch's copy within device memory."""

    def __init__(self, gpu: Gpu, meter: Wattmeter) -> None:
        super().__init__(meter)
        self._from = torch.ones(COPY_L2S * gpu.l2_bytes, dtype=torch.uint8, device="cuda")
        self._to = torch.empty_like(self._from)

    def check(self) -> Outcome:
        """Read plus written."""
        return Outcome(status=Status.OK, work=2 * self._from.numel())

    def launches(self) -> list[Launch]:
        """The only one: its arrays exceed L2 by themselves."""
        return [lambda: self._to.copy_(self._from)]


class ProductPeak(Competitor):
    """The vendor's square matrix product in the precision of the problem's operands, of random numbers."""

    def __init__(self, bench: Bench, meter: Wattmeter) -> None:
        super().__init__(meter)
        self._kernel = bench.family.kernel
        operand = self._kernel.tensors[0].dtype
        side = PRODUCT_SIDE["tf32" if "_tf32" in self._kernel.name else operand]
        self._work = 2 * side**3
        self._a, self._b = (torch.randn(side, side, device="cuda").to(DTYPES[operand]) for _ in "ab")
        self._c = torch.empty_like(self._a)

    def check(self) -> Outcome:
        """Two flops for each product."""
        self._multiply()
        torch.cuda.synchronize()
        return Outcome(status=Status.OK, work=self._work)

    def launches(self) -> list[Launch]:
        """The only one: it is not bound by memory."""
        return [self._multiply]

    def _multiply(self) -> None:
        set_precision(self._kernel.name)
        torch.matmul(self._a, self._b, out=self._c)
