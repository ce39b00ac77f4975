"""How wrong an answer is: two error norms against float64, with rules for NaN and for what must stay untouched.

Frobenius: ‖C−R‖_F / ‖R‖_F over the elements of the cover whose reference is finite; 0/0 counts as 0.
Componentwise: max |C−R| / scale over the same elements (Higham 2002, section 3.5, for the scale |A||B| of a product);
a scale below the smallest normal float32 counts as that, since nothing smaller can be resolved.

NaN is right exactly where the reference is NaN, an infinity exactly where the reference is the same infinity. Anything
else that is not finite, and any change outside the cover, makes both errors infinite. To see such a change, outputs
are filled with ``untouched`` before a launch; an element that was never written then shows as a huge error.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from quasim.errors import DataError
from quasim.kernels._base import Array, Arrays, Reference, numpy_dtype
from quasim.kernels.ir import Dtype, Kernel, Role, Tensor, extents

UNTOUCHED = float(np.float32(-6.02214076e23))
"""What outputs hold before a launch: finite, so that NaN written by mistake differs from it; far from any answer."""

_UNTOUCHED_HALF = -61440.0
"""The same for float16, whose range ends at 65504."""

CHUNK = 1 << 16
"""Elements at a time: the float64 buffer of this size stays in a second-level cache."""

PIECE = 1 << 13
"""Products that are summed at a time: OpenBLAS gives sums of more than 10,000 to several threads, which then spin for a
tenth of a second, on cores that variants are timed on next, and which wait for one another on a busy machine."""

Float64s = npt.NDArray[np.float64]
T = TypeVar("T", bound=np.generic)

SMALLEST_SCALE = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True, slots=True)
class Errors:
    """Both norms; infinite when an answer is wrong beyond measure."""

    frobenius: float
    componentwise: float


WRONG = Errors(math.inf, math.inf)


def untouched(dtype: Dtype) -> float:
    """What outputs of a format hold before a launch: ``UNTOUCHED``, or what is like it in that format.

    Words of integers are never the least one.
    """
    kind = numpy_dtype(dtype)
    if np.issubdtype(kind, np.integer):
        return float(np.iinfo(kind.name).min)
    return _UNTOUCHED_HALF if dtype == "float16" else float(kind.type(UNTOUCHED))


def untouched_outputs(kernel: Kernel, shape: Mapping[str, int]) -> Arrays:
    """New output arrays of a launch at ``shape``, filled with ``untouched``."""
    return {
        t.name: np.full(extents(t, shape), untouched(t.dtype), dtype=numpy_dtype(t.dtype))
        for t in kernel.tensors
        if t.role is Role.OUTPUT
    }


@dataclass(frozen=True, slots=True)
class Yardstick:
    """What answers of one output are held against, made ready once for all of them.

    Attributes:
        shape: of the output.
        value: of the reference, within the cover; flat where the cover is everything.
        scale: the same, nowhere below ``SMALLEST_SCALE``.
        square_norm: sum of the squares of the finite values.
    """

    tensor: Tensor
    shape: tuple[int, ...]
    value: Float64s
    scale: Float64s
    square_norm: float

    @classmethod
    def of(cls, tensor: Tensor, reference: Reference) -> Yardstick:
        """The arrays of the reference are kept, not copied, but for a scale that is too small somewhere."""
        value, scale = _covered(tensor, reference.value), _covered(tensor, reference.scale)
        if not scale.min(initial=math.inf) >= SMALLEST_SCALE:  # NaN is below nothing
            scale = np.maximum(scale, SMALLEST_SCALE)
        return cls(tensor, reference.value.shape, value, scale, _square_norm(value))

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        return self.value.nbytes + self.scale.nbytes

    def errors(self, computed: Array) -> Errors:
        """Both norms of an output that was filled with ``untouched`` before it was computed.

        Raises:
            DataError: the shapes differ.
        """
        if computed.shape != self.shape:
            raise DataError(f"{self.tensor.name} has shape {computed.shape}, its reference {self.shape}", "match them")
        if not _untouched_outside(self.tensor, computed):
            return WRONG
        square, worst = self._measure(_covered(self.tensor, computed))
        if not math.isfinite(square):
            return WRONG
        return Errors(_ratio(math.sqrt(square), math.sqrt(self.square_norm)), worst)

    def _measure(self, computed: Array) -> tuple[float, float]:
        """Squared error, and largest error relative to its scale."""
        square, worst, buffer = 0.0, 0.0, _buffer(computed)
        with np.errstate(invalid="ignore", over="ignore"):
            for part in _parts(computed):
                more, largest = _part_errors(computed[part], self.value[part], self.scale[part], buffer)
                square, worst = square + more, max(worst, largest)
        return square, worst


def yardsticks(kernel: Kernel, references: Mapping[str, Reference]) -> tuple[Yardstick, ...]:
    """One for each output of a kernel."""
    return tuple(Yardstick.of(t, references[t.name]) for t in kernel.tensors if t.role is Role.OUTPUT)


def worst_errors(held: Sequence[Yardstick], outputs: Arrays) -> Errors:
    """The worst of each norm over all outputs."""
    each = [yardstick.errors(outputs[yardstick.tensor.name]) for yardstick in held]
    return Errors(max(e.frobenius for e in each), max(e.componentwise for e in each))


def kernel_errors(kernel: Kernel, outputs: Arrays, references: Mapping[str, Reference]) -> Errors:
    """The same for one answer of a kernel."""
    return worst_errors(yardsticks(kernel, references), outputs)


def tensor_errors(tensor: Tensor, computed: Array, reference: Reference) -> Errors:
    """Both norms of one answer of one output; see ``Yardstick.errors``."""
    return Yardstick.of(tensor, reference).errors(computed)


def _ratio(error: float, norm: float) -> float:
    if norm == 0:
        return math.inf if error else 0.0
    return error / norm


def _untouched_outside(tensor: Tensor, computed: Array) -> bool:
    mark = untouched(tensor.dtype)
    for axis, (low, high) in enumerate(tensor.cover or ()):
        lanes = np.moveaxis(computed, axis, 0)
        if (lanes[:low] != mark).any() or (lanes[len(lanes) - high :] != mark).any():
            return False
    return True


def _covered(tensor: Tensor, array: npt.NDArray[T]) -> npt.NDArray[T]:
    """What of an output counts: the box of its cover, or all of it in one dimension."""
    if tensor.cover is None:
        return array.reshape(-1)
    return array[tuple(slice(low, n - high) for n, (low, high) in zip(array.shape, tensor.cover, strict=True))]


def _rows(array: Array) -> int:
    """How many rows are about ``CHUNK`` elements; the elements of a flat array count as rows."""
    return max(1, CHUNK // max(1, math.prod(array.shape[1:])))


def _parts(array: Array) -> Iterator[slice]:
    rows = _rows(array)
    return (slice(at, at + rows) for at in range(0, len(array), rows))


def _buffer(array: Array) -> Float64s:
    """Room for one part of the array."""
    return np.empty(min(len(array), _rows(array)) * math.prod(array.shape[1:]))


def _square_norm(value: Float64s) -> float:
    buffer = _buffer(value)
    with np.errstate(invalid="ignore", over="ignore"):
        return sum(_finite_squares(_converted(value[part], buffer).reshape(-1)) for part in _parts(value))


def _finite_squares(flat: Float64s) -> float:
    total = _sum_of_squares(flat)
    return total if math.isfinite(total) else _sum_of_squares(flat[np.isfinite(flat)])


def _sum_of_squares(flat: Float64s) -> float:
    return sum(float(part @ part) for part in (flat[at : at + PIECE] for at in range(0, flat.size, PIECE)))


def _converted(array: Array, buffer: Float64s) -> Float64s:
    """The array in float64, in the buffer."""
    room = buffer[: array.size].reshape(array.shape)
    np.copyto(room, array)
    return room


def _part_errors(computed: Array, value: Float64s, scale: Float64s, buffer: Float64s) -> tuple[float, float]:
    # Converted first: a subtraction that converts by itself takes longer than both.
    error = _converted(computed, buffer)
    error -= value
    square = _sum_of_squares(error.reshape(-1))
    if not math.isfinite(square):
        return _special_errors(computed, value, scale, buffer)
    np.abs(error, out=error)
    error /= scale
    return square, float(error.max(initial=0.0))


def _special_errors(computed: Array, value: Float64s, scale: Float64s, buffer: Float64s) -> tuple[float, float]:
    """The same for a part that holds NaN or infinities: these are compared, the finite rest is measured."""
    finite = np.isfinite(value)
    same = np.array_equal(computed[~finite], value[~finite], equal_nan=True)
    if finite.all() or not same or not np.isfinite(computed[finite]).all():
        return math.inf, math.inf
    return _part_errors(computed[finite], value[finite], scale[finite], buffer)
