"""What a kernel family is: its IR, its inputs, and a float64 reference that is not derived from the IR."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import ml_dtypes
import numpy as np
import numpy.typing as npt

from quasim.kernels.ir import Dtype, Kernel
from quasim.trial import Problem

Array = npt.NDArray[np.float32] | npt.NDArray[np.float64] | npt.NDArray[np.float16] | npt.NDArray[ml_dtypes.bfloat16]
Arrays = dict[str, Array]

_MORE: dict[Dtype, type[np.generic]] = {
    "bfloat16": ml_dtypes.bfloat16,
    "float8_e4m3fn": ml_dtypes.float8_e4m3fn,
    "float8_e5m2": ml_dtypes.float8_e5m2,
}


def numpy_dtype(dtype: Dtype) -> np.dtype[np.generic]:
    """The numpy format of a tensor; numpy itself has no bfloat16 and no format of 8 bits."""
    return np.dtype(_MORE.get(dtype, dtype))


@dataclass(frozen=True, slots=True)
class CostFacts:
    """What a launch must do at least.

    Attributes:
        flops: floating-point operations (a fused multiply-add counts two); 0: nobody knows, as of a user's own kernel.
        bytes: compulsory traffic, each input read and each output written once.
    """

    flops: int
    bytes: int

    @property
    def intensity(self) -> float:
        """FLOP per byte."""
        return self.flops / self.bytes if self.bytes else 0.0

    def roofline_ns(self, flops_per_s: float, bytes_per_s: float) -> float | None:
        """Least time in ns on a machine with these two peaks (Williams et al. 2009); None where flops are unknown."""
        if not self.flops:
            return None
        return 1e9 * max(self.flops / flops_per_s, self.bytes / bytes_per_s)


@dataclass(frozen=True, slots=True)
class Reference:
    """The float64 answer of one output.

    Attributes:
        value: the exact answer to float64.
        scale: componentwise scale of the error (|A||B| for matmul), same shape; errors are reported relative to it.
    """

    value: npt.NDArray[np.float64]
    scale: npt.NDArray[np.float64]


class Family(Protocol):
    """A registered kernel family."""

    name: str
    summary: str
    kernel: Kernel
    tolerance: float
    """Largest Frobenius error (relative, against float64) that counts as a right answer."""

    def inputs(self, shape: Mapping[str, int], rng: np.random.Generator) -> Arrays:
        """Random input arrays by tensor name; never zeros."""
        ...

    def reference(self, shape: Mapping[str, int], inputs: Arrays) -> dict[str, Reference]:
        """The float64 answer of each output, written in plain numpy independently of the IR."""
        ...

    def library(self, inputs: Arrays, outputs: Arrays) -> bool:
        """Compute the outputs by the platform's library (numpy) into ``outputs``; False where there is none."""
        ...

    def cost(self, problem: Problem) -> CostFacts:
        """Cost facts of one launch."""
        ...
