"""The split pass in numpy: exponents, power-of-two scales and words. Device kernels give the same bits.

Operands are taken with K last: A as (M, K), B as its transpose (N, K); "row" means row of A or column of B. Every
number here follows from integers and exact float32 operations, so that a kernel that does the same is equal bit for
bit:

1. ``exponents``: floor(log2 |x|) from the bits; a subnormal's by way of float32(bits), 128 for infinities and NaN.
2. ``balance`` (row_col_k only): ``d_k = (e_B[k] - e_A[k]) >> 1`` from the largest exponents of A's column k and B's row
   k, 0 where either is all zeros. A uses +d, B uses -d.
3. ``scale_exponents``: ``s = top - max_k(e + d)``, 0 for a row (or block) of zeros.
4. ``scaled``: ``t = min(max(s + d, -252), 252)``; ``x * 2^(t >> 1) * 2^(t - (t >> 1))``. Two factors, because one power
   of two beyond 2^127 is no float32. The result is exact unless it falls below 2^-126, far below every word's floor.
5. ``words``: ``hi = fp16(x)``, ``lo = fp16((x - hi) * 2^shift)``, rounding to nearest even.
6. ``unscaled``: ``c * 2^(t >> 1) * 2^(t - (t >> 1))`` with ``t = max(-(s_A + s_B), -252)``.

Subnormal float32 inputs must not be flushed to zero.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from quasim.errors import ShapeError
from quasim.precision.formats import Floats
from quasim.precision.plan import Plan

Exponents = npt.NDArray[np.int32]

ZERO = -150
"""Exponent that stands for zero: one below that of the least subnormal, so that a maximum passes over it."""

NOT_FINITE = 128
"""Exponent of infinities and NaN, so that a maximum keeps them."""

NOTHING = -600
"""Stands for a zero that was scaled along K: below the exponent of any element, however scaled."""

_LIMIT = 252
"""Both halves of such an exponent are exponents of normal float32 powers of two."""


def exponents(x: Floats) -> Exponents:
    """floor(log2 |x|) of each element, ``ZERO`` for zeros, ``NOT_FINITE`` for infinities and NaN."""
    bits = np.ascontiguousarray(x, np.float32).view(np.int32) & np.int32(0x7FFFFFFF)
    # An integer below 2^23 is a float32 exactly, and that float32's exponent is the integer's.
    counted = (bits.astype(np.float32).view(np.int32) >> 23) - np.int32(127 + 149)
    subnormal = np.where(bits == 0, np.int32(ZERO), counted)
    found: Exponents = np.where(bits >= 0x800000, (bits >> 23) - np.int32(127), subnormal)
    return found


def power(exponent: Exponents) -> Floats:
    """2^exponent as float32, for exponents from -126 to 127, made of its bits."""
    bits: Exponents = (np.asarray(exponent, np.int32) + np.int32(127)) << np.int32(23)
    return bits.view(np.float32)


def balance(a: Floats, b: Floats) -> Exponents:
    """Powers of two along K that even out A's columns (M, K) and B's rows (N, K): shape (K,).

    After A * 2^d and B * 2^-d the largest exponents of A's column k and B's row k differ by at most one, whatever
    factor D_k stood in A and 1/D_k in B.
    """
    in_a, in_b = exponents(a).max(axis=0), exponents(b).max(axis=0)
    d: Exponents = np.where((in_a == ZERO) | (in_b == ZERO), np.int32(0), (in_b - in_a) >> 1)
    return d


def scale_exponents(x: Floats, plan: Plan, along: Exponents | None = None) -> Exponents:
    """The exponents of the scales of x (R, K): (R, blocks), with one block for plans that scale by whole rows.

    Args:
        x: rows, K last.
        plan: that scales; its format gives the exponent that the largest element gets.
        along: (K,) exponents that each column is scaled by beforehand.
    """
    raised = np.where(x == 0, np.int32(NOTHING), exponents(x) + (np.int32(0) if along is None else along))
    largest: Exponents = np.maximum.reduceat(raised, starts(x.shape[1], plan), axis=1)
    found: Exponents = np.where(largest == NOTHING, np.int32(0), np.int32(plan.format.top) - largest)
    return found


def by_element(scales: Exponents, length: int, plan: Plan) -> Exponents:
    """The scales (R, blocks) as one exponent an element: (R, length)."""
    return np.asarray(np.repeat(scales, plan.block or length, axis=1)[:, :length], np.int32)


def scaled(x: Floats, exponent: Exponents) -> Floats:
    """x * 2^exponent, elementwise, in two exact factors."""
    t = np.clip(exponent, -_LIMIT, _LIMIT).astype(np.int32)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return x * power(t >> 1) * power(t - (t >> 1))


def unscaled(c: Floats, rows: Exponents, columns: Exponents) -> Floats:
    """Scaled sums c (M, N) as the result: times 2^-(rows[i] + columns[j])."""
    return scaled(c, -(rows[:, None] + columns[None, :]))


def words(x: Floats, plan: Plan) -> tuple[Floats, ...]:
    """The plan's words of scaled x, each a number of the plan's format held as float32; largest first.

    x is the sum over w of ``word[w] * 2^(-shift * w)`` but for the last word's rounding.
    """
    found: list[Floats] = []
    rest = np.asarray(x, np.float32)
    for _ in range(plan.words):
        found.append(plan.format.round(rest))
        with np.errstate(over="ignore", invalid="ignore"):
            rest = (rest - found[-1]) * np.float32(2.0**plan.shift)
    return tuple(found)


def joined(parts: tuple[Floats, ...], plan: Plan) -> npt.NDArray[np.float64]:
    """What the words stand for, exactly, in float64."""
    total = np.zeros(parts[0].shape)
    for w, part in enumerate(parts):
        total += np.ldexp(part.astype(np.float64), -plan.shift * w)
    return total


def starts(length: int, plan: Plan) -> npt.NDArray[np.int64]:
    """Where the runs of elements that share a scale begin.

    Raises:
        ShapeError: there are no elements.
    """
    if length < 1:
        raise ShapeError("a product over no elements", "give K of 1 or more")
    return np.arange(0, length, plan.block or length)
