"""Matrix products of float32 on one GPU, in this process: contestants on given data, their times, joules and errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from quasim.kernels import family
from quasim.kernels.accuracy import Errors
from quasim.kernels.ir import Role
from quasim.measure import Windows
from quasim.meters import MIN_WORK_NS, Energy
from quasim.precision.classes import draw
from quasim.precision.probe import Refusal, refusal
from quasim.targets.gpu.image import Bundle, Loadable
from quasim.trial import Problem
from quasim.worker.cuda.device import open_gpu
from quasim.worker.cuda.joules import Wattmeter
from quasim.worker.cuda.launcher import Launch, LoadedBundle, Tensors, loaded
from quasim.worker.cuda.norms import DeviceReference, tensor_errors
from quasim.worker.cuda.timing import GraphClock
from quasim.worker.protocol import Plan

Contestant = Callable[[Tensors], Launch]
"""Gives the launch on one set of arrays a, b and c."""

ROUNDS = Plan(rounds=11, window_ns=30_000_000, min_samples=3)
TRY = Plan(window_ns=10_000_000, min_samples=3)

SETS = 2
"""Three matrices of 4096² exceed the second-level cache four times already."""

_C = next(tensor for tensor in family("matmul").kernel.tensors if tensor.role is Role.OUTPUT)


def square(side: int) -> Problem:
    """The problem of a side."""
    return Problem.of("matmul", m=side, n=side, k=side)


class Device:
    """One GPU, opened in this process, with its meter.

    Raises:
        MissingToolError: the driver, PyTorch, cuda-bindings or the GPU is missing.
    """

    def __init__(self, index: int) -> None:
        self.device, self.gpu = open_gpu(index)
        self._meter = Wattmeter(self.gpu.uuid)

    def variant(self, image: Loadable, side: int) -> Contestant:
        """One of ours; loaded once."""
        kernel = loaded(image, self.gpu)
        return lambda arrays: kernel.prepare(square(side).dims, arrays)

    def stages(self, bundle: Bundle, side: int, arrays: Tensors) -> dict[str, Launch]:
        """The launches of a bundle by the names of their kernels, after all of them ran once."""
        kernel = LoadedBundle(bundle, self.gpu)
        launches = kernel.prepare_stages(square(side).dims, arrays)
        for launch in launches:
            launch()
        return dict(zip((stage.kernel for stage in bundle.stages), launches, strict=True))

    def energy(self, clock: GraphClock) -> Energy:
        """Of one launch, from replays of three seconds."""
        return self._meter.energy(clock.graph(), MIN_WORK_NS)


def library(tf32: bool) -> Contestant:
    """cuBLAS by PyTorch, on the same arrays."""
    return lambda arrays: partial(_multiply, arrays, tf32)


def _multiply(arrays: Tensors, tf32: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.matmul(arrays["a"], arrays["b"], out=arrays["c"])


def library_prepared(dtype: torch.dtype) -> Contestant:
    """cuBLAS on operands that were converted before, and a result that stays in their format."""
    return lambda arrays: partial(_multiply_prepared, arrays, *(arrays[name].to(dtype) for name in "ab"))


def _multiply_prepared(arrays: Tensors, a: torch.Tensor, b: torch.Tensor) -> None:
    kept = torch.matmul(a, b)
    if not torch.cuda.is_current_stream_capturing():  # timed without the copy, which the check alone needs
        arrays["c"].copy_(kept)


def library_converted(dtype: torch.dtype) -> Contestant:
    """cuBLAS on operands converted by PyTorch, conversion included; the result is converted back."""
    return lambda arrays: partial(_multiply_converted, arrays, dtype)


def _multiply_converted(arrays: Tensors, dtype: torch.dtype) -> None:
    arrays["c"].copy_(torch.matmul(arrays["a"].to(dtype), arrays["b"].to(dtype)))


@dataclass(frozen=True, slots=True)
class Matrices:
    """Equal sets of a, b and c of one class of data, and the float64 answer."""

    sets: tuple[dict[str, torch.Tensor], ...]
    reference: DeviceReference

    @classmethod
    def of(cls, data: str, side: int, seed: int, device: torch.device, count: int = SETS) -> Matrices:
        """Drawn on the host, as everywhere; the answer and its scale |A||B| are computed on the device."""
        a, b = (torch.from_numpy(np.ascontiguousarray(x)).to(device) for x in draw(data, seed, side, side, side))
        sets = tuple({"a": a.clone(), "b": b.clone(), "c": torch.empty_like(a)} for _ in range(count))
        exact = torch.matmul(a.double(), b.double())
        return cls(sets, DeviceReference(exact, torch.matmul(a.double().abs(), b.double().abs())))

    def errors(self, contestant: Contestant) -> Errors:
        """Both norms of what a contestant answers."""
        arrays = self.sets[0]
        arrays["c"].fill_(float("nan"))  # what is not written shows
        launch = contestant(arrays)
        launch()
        torch.cuda.synchronize()
        return tensor_errors(_C, arrays["c"], self.reference)

    def clock(self, contestant: Contestant) -> GraphClock:
        """What times a contestant, in rotation through the sets."""
        return GraphClock([contestant(arrays) for arrays in self.sets])


def timed(clock: GraphClock) -> tuple[int, ...]:
    """A short window by itself."""
    return clock.window(TRY, None)


def interleaved(clocks: Mapping[str, GraphClock], seed: int, plan: Plan = ROUNDS) -> dict[str, Windows]:
    """In each round every contestant has one window, in shuffled order."""
    rng = np.random.default_rng(seed)
    names: Sequence[str] = list(clocks)
    found: dict[str, list[tuple[int, ...]]] = {name: [] for name in names}
    for _ in range(plan.rounds):
        for number in rng.permutation(len(names)):
            found[names[number]].append(clocks[names[number]].window(plan, None))
    return {name: tuple(windows) for name, windows in found.items()}


def refused(bundle: LoadedBundle, side: int) -> Refusal:
    """Which check refused what the bundle multiplied last."""
    return refusal(float(bundle.workspace(square(side).dims)["refused"].item()))
