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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from quasim.errors import DataError
from quasim.kernels._base import Array, Arrays, Reference, numpy_dtype
from quasim.kernels.ir import Dtype, Kernel, Role, Tensor, extents

UNTOUCHED = float(np.float32(-6.02214076e23))
"""What outputs hold before a launch: finite, so that NaN written by mistake differs from it; far from any answer."""

_UNTOUCHED_HALF = -61440.0
"""The same for float16, whose range ends at 65504."""

CHUNK = 1 << 16
"""Elements at a time: the two float64 buffers of this size stay in a second-level cache."""

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


def kernel_errors(kernel: Kernel, outputs: Arrays, references: Mapping[str, Reference]) -> Errors:
    """The worst of each norm over all outputs of a kernel."""
    each = [tensor_errors(t, outputs[t.name], references[t.name]) for t in kernel.tensors if t.role is Role.OUTPUT]
    return Errors(max(e.frobenius for e in each), max(e.componentwise for e in each))


def tensor_errors(tensor: Tensor, computed: Array, reference: Reference) -> Errors:
    """Both norms of one output that was filled with ``untouched`` before it was computed.

    Raises:
        DataError: the shapes differ.
    """
    if computed.shape != reference.value.shape:
        raise DataError(
            f"{tensor.name} has shape {computed.shape}, its reference {reference.value.shape}", "match them"
        )
    if not _untouched_outside(tensor, computed):
        return WRONG
    square_error, square_norm, worst = 0.0, 0.0, 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        for c, r, s in _chunks(tensor, computed, reference):
            error, norm, component = _chunk_errors(c, r, s)
            square_error, square_norm, worst = square_error + error, square_norm + norm, max(worst, component)
    if not math.isfinite(square_error):
        return WRONG
    return Errors(_ratio(math.sqrt(square_error), math.sqrt(square_norm)), worst)


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


def _chunks(tensor: Tensor, computed: Array, reference: Reference) -> Iterator[tuple[Array, Array, Array]]:
    """Computed, reference and scale, some rows at a time; the whole array counts as one-column rows."""
    arrays: tuple[Array, Array, Array] = (computed, reference.value, reference.scale)
    if tensor.cover is None:
        arrays = (arrays[0].reshape(-1), arrays[1].reshape(-1), arrays[2].reshape(-1))
    else:
        box = tuple(slice(low, n - high) for n, (low, high) in zip(computed.shape, tensor.cover, strict=True))
        arrays = (arrays[0][box], arrays[1][box], arrays[2][box])
    rows = max(1, CHUNK // max(1, math.prod(arrays[0].shape[1:])))
    for at in range(0, len(arrays[0]), rows):
        part = slice(at, at + rows)
        yield arrays[0][part], arrays[1][part], arrays[2][part]


def _chunk_errors(computed: Array, value: Array, scale: Array) -> tuple[float, float, float]:
    """Squared error, squared norm of the reference, and largest error relative to its scale."""
    error = np.subtract(computed, value, dtype=np.float64).reshape(-1)
    square = float(error @ error)
    if not math.isfinite(square):
        return _special_errors(computed, value, scale)
    flat = value.reshape(-1)
    np.abs(error, out=error)
    error /= np.maximum(scale, SMALLEST_SCALE).reshape(-1)
    return square, float(flat @ flat), float(error.max(initial=0.0))


def _special_errors(computed: Array, value: Array, scale: Array) -> tuple[float, float, float]:
    """The same for a chunk that holds NaN or infinities: these are compared, the finite rest is measured."""
    finite = np.isfinite(value)
    same = np.array_equal(computed[~finite], value[~finite], equal_nan=True)
    if finite.all() or not same or not np.isfinite(computed[finite]).all():
        return math.inf, 0.0, math.inf
    return _chunk_errors(computed[finite], value[finite], scale[finite])
