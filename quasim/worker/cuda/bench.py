"""A problem made ready on a GPU: numpy's inputs and float64 reference, copied once, and the sets to launch on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from quasim.errors import QuasimError
from quasim.kernels import family
from quasim.kernels.accuracy import untouched
from quasim.kernels.ir import Role, Tensor
from quasim.trial import Problem
from quasim.worker.cuda.arena import Arena
from quasim.worker.cuda.launcher import Launch, LoadedKernel, Tensors
from quasim.worker.cuda.norms import DeviceReference, kernel_errors
from quasim.worker.prepared import Verdict, judge

Prepare = Callable[[Tensors], Launch]
"""Gives the launch on one set of arrays."""


class Bench:
    """One prepared problem.

    Args:
        seed: of the inputs; the same seed gives the same bytes as on the CPU.
        total_bytes: the sets together take at least this much.

    Raises:
        torch.OutOfMemoryError: the device has not enough memory for it.
    """

    def __init__(self, problem: Problem, seed: int, total_bytes: int, device: torch.device) -> None:
        self.problem = problem
        self.family = family(problem.kernel)
        inputs = self.family.inputs(problem.dims, np.random.default_rng(seed))
        references = self.family.reference(problem.dims, inputs)
        self.arena = Arena(self.family.kernel, problem.dims, inputs, total_bytes, device)
        self._references = {name: DeviceReference.of(each, device) for name, each in references.items()}
        if references:
            self._judge()  # loads PyTorch's kernels now, and not on the time of the first entry

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        return self.arena.bytes + sum(reference.bytes for reference in self._references.values())

    @property
    def set_count(self) -> int:
        """How many sets of arrays there are."""
        return len(self.arena.sets)

    @property
    def set_bytes(self) -> int:
        """Bytes of the arrays of one set."""
        return self.arena.set_bytes

    def follow(self, kernel: LoadedKernel) -> None:
        """Take what a kernel computes for the reference; the scale of an output is its largest magnitude.

        Raises:
            CudaError: it cannot run.
            QuasimError: it does not write its outputs.
        """
        self.arena.clear_outputs(0)
        launch = kernel.prepare(self.problem.dims, self.arena.sets[0])
        _wait()
        launch()
        _wait()
        for tensor in self.family.kernel.tensors:
            if tensor.role is Role.OUTPUT:
                self._references[tensor.name] = _as_computed(tensor, self.arena.outputs(0)[tensor.name])

    def check(self, prepare: Prepare) -> Verdict:
        """Run once on outputs that were filled with what marks them as untouched, and compare with the reference.

        Raises:
            Exception: whatever the launch raises, or the driver tells of it afterwards.
        """
        self.arena.clear_outputs(0)
        launch = prepare(self.arena.sets[0])
        _wait()
        launch()
        _wait()
        return self._judge()

    def _judge(self) -> Verdict:
        trespass = self.arena.trespass(0)
        outputs = self.arena.outputs(0)
        errors = kernel_errors(self.family.kernel, outputs, self._references)
        return judge(errors, trespass, self.family.tolerance, lambda: _special(outputs))


def _as_computed(tensor: Tensor, output: torch.Tensor) -> DeviceReference:
    if bool((output == untouched(tensor.dtype)).any()):
        raise QuasimError(f"the default configuration does not write all of {tensor.name}", "give a reference")
    value = output.double()
    scale = torch.where(torch.isfinite(value), value, 0.0).abs().amax()
    return DeviceReference(value, scale.expand_as(value))


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _special(outputs: Tensors) -> tuple[bool, bool]:
    arrays = outputs.values()
    return any(bool(array.isnan().any()) for array in arrays), any(bool(array.isinf().any()) for array in arrays)
