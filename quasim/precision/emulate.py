"""What a plan would answer, in numpy: exact words, and tensor cores that truncate.

A model for predictions at small sizes, not a device. A tensor core multiplies exactly, aligns the products of one step
and the accumulator to the largest of them, cuts what lies below its last bit, adds, and cuts again to float32 (Fasi,
Higham, Mikaitis, Pranesh 2021, "Numerical behavior of NVIDIA tensor cores"; Khattak, Mikaitis 2025,
arXiv:2512.07004). Cutting always goes towards zero, so that errors of a long sum add up instead of averaging out: this
is why partial sums are promoted. For fp8 an H100 keeps 13 bits of fraction alone (DeepSeek-V3, arXiv:2412.19437).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from quasim.errors import ShapeError
from quasim.precision.formats import Floats, Format
from quasim.precision.guard import examine
from quasim.precision.plan import Plan
from quasim.precision.probe import Refusal, holds
from quasim.precision.split import Exponents, balance, by_element, scale_exponents, scaled, unscaled, words

Doubles = npt.NDArray[np.float64]

K_BLOCK = 64
"""Elements along K that a kernel's loop takes at a time; ``Plan.promote`` counts these."""

_STEP_BYTES = 32
"""Bytes along K that one tensor-core step takes from an operand: 16 elements of fp16, 8 of tf32, 32 of fp8."""

_FRACTION = 24
"""Bits of fraction kept when products are aligned: one more than float32 has."""

_FRACTION_FP8 = 13


def emulate(a: Floats, b: Floats, plan: Plan) -> Floats:
    """A (M, K) times B (K, N) as the plan would answer it on a tensor core, without its guard.

    Raises:
        ShapeError: the inner dimensions differ.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise ShapeError(f"no product of {a.shape} and {b.shape}", "give A (M, K) and B (K, N)")
    if plan.boundary == "fp64":
        return in_float64(a, b)
    rows, columns = a, np.ascontiguousarray(b.T)
    if plan.dot == "ieee":
        return sequential(rows, columns)
    along = balance(rows, columns) if plan.scaling == "row_col_k" else None
    parts_a, scale_a = _prepared(rows, plan, along)
    parts_b, scale_b = _prepared(columns, plan, None if along is None else -along)
    total = np.zeros((len(rows), len(columns)), np.float32)
    for number, part in enumerate(_segments(a.shape[1], plan)):
        block = number if plan.block else 0
        partial = _partial([w[:, part] for w in parts_a], [w[:, part] for w in parts_b], plan)
        if plan.block:
            partial = unscaled(partial, scale_a[:, block], scale_b[:, block])
        total = total + partial
    return total if plan.block else unscaled(total, scale_a[:, 0], scale_b[:, 0])


def answered(a: Floats, b: Floats, plan: Plan) -> tuple[Floats, Refusal]:
    """What is returned for A (M, K) times B (K, N), guard and verification included, and which of them refused.

    Raises:
        ShapeError: the inner dimensions differ.
    """
    if plan.guarded and not examine(a, np.ascontiguousarray(b.T), plan).safe:
        return in_float64(a, b), "guard"
    c = emulate(a, b, plan)
    if plan.verified and not holds(a, b, c, plan.verified):
        return in_float64(a, b), "verification"
    return c, ""


def in_float64(a: Floats, b: Floats) -> Floats:
    """A (M, K) times B (K, N) in float64, rounded once."""
    with np.errstate(over="ignore", invalid="ignore"):
        return (a.astype(np.float64) @ b.astype(np.float64)).astype(np.float32)


def sequential(rows: Floats, columns: Floats) -> Floats:
    """float32 fused multiply-adds, one after the other along K: rows (M, K) by columns (N, K)."""
    total = np.zeros((len(rows), len(columns)), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for k in range(rows.shape[1]):
            exact = np.multiply.outer(rows[:, k].astype(np.float64), columns[:, k].astype(np.float64))
            total = (exact + total).astype(np.float32)
    return total


def _prepared(x: Floats, plan: Plan, along: Exponents | None) -> tuple[tuple[Floats, ...], Exponents]:
    if not plan.scaled:
        return words(x, plan), np.zeros((len(x), 1), np.int32)
    scales = scale_exponents(x, plan, along)
    shift = by_element(scales, x.shape[1], plan)
    return words(scaled(x, shift if along is None else shift + along), plan), scales


def _segments(length: int, plan: Plan) -> list[slice]:
    step = plan.block or plan.promote * K_BLOCK or length
    return [slice(start, start + step) for start in range(0, length, step)]


def _partial(a: list[Floats], b: list[Floats], plan: Plan) -> Floats:
    """The sum of one segment before promotion.

    Unscaled remainders go with their k-block into the one accumulator; scaled ones are summed over the segment first,
    scaled down, and the next order of words is added to them.
    """
    if plan.format.integer:
        return np.asarray(a[0].astype(np.float64) @ b[0].astype(np.float64).T, np.float32)
    total = np.zeros((len(a[0]), len(b[0])), np.float32)
    length = a[0].shape[1]
    block = length if plan.shift else K_BLOCK
    for start in range(0, length, block):
        order = sum(plan.pairs[0])
        for i, j in plan.pairs:
            total = total * np.float32(2.0 ** (-plan.shift * (order - i - j)))
            order = i + j
            at = slice(start, start + block)
            total = _tensor_core(a[i][:, at], b[j][:, at], total, plan.format)
    return total


def _tensor_core(a: Floats, b: Floats, total: Floats, form: Format) -> Floats:
    step = _STEP_BYTES * 8 // form.bits
    fraction = _FRACTION_FP8 if form.bits == 8 else _FRACTION
    left, right, sums = a.astype(np.float64), b.astype(np.float64), total.astype(np.float64)
    for start in range(0, a.shape[1], step):
        terms = left[:, None, start : start + step] * right[None, :, start : start + step]
        sums = _aligned(terms, sums, fraction)
    return sums.astype(np.float32)


def _aligned(terms: Doubles, sums: Doubles, fraction: int) -> Doubles:
    """One step: cut every term and the accumulator at the last bit below the largest, add, cut to float32."""
    largest = np.maximum(np.abs(terms).max(axis=2), np.abs(sums))
    last = np.frexp(largest)[1] - 1 - fraction
    inverse = np.ldexp(1.0, -last)
    total = np.trunc(terms * inverse[:, :, None]).sum(axis=2) + np.trunc(sums * inverse)
    return _cut(np.ldexp(total, last), min(fraction, 23))


def _cut(x: Doubles, fraction: int) -> Doubles:
    """Towards zero, to that many bits of fraction."""
    last = np.frexp(x)[1] - 1 - fraction
    return np.asarray(np.ldexp(np.trunc(np.ldexp(x, -last)), last))
