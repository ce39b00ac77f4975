"""Whether a plan may run on these very inputs: a decision from counts that the split pass makes as it goes.

What can go wrong with scaled words is range: an element far below its row's largest keeps an absolute accuracy only
(2^``floor``), and where just such elements meet large ones of the other operand the product is wrong. With scaled
operands a, b (largest in [2^top, 2^(top+1))), n_A(i) elements of row i below 2^``small`` but not zero, and likewise
n_B(j), underflow adds at most

    E_ij <= 2^floor * 2^(top+1) * (n_A(i) + n_B(j)).

L_A(i) elements of row i and L_B(j) of column j are at least 2^``large``; of K positions, L_A(i) + L_B(j) - K at least
are large in both, wherever they lie, so that

    (|A||B|)_ij >= (L_A(i) + L_B(j) - K) * 2^(2 large),

and ``large`` is chosen so that 2^floor * 2^(top+1) <= 2^unit * 2^(2 large). Therefore E_ij <= 2^unit * (|A||B|)_ij for
every i and j as soon as each row and each column by itself has

    2 * (L - n) >= K.

No element has to be looked at in pairs, no structure along K is assumed, and nothing is sampled: where the condition
holds the bound is certain. A row of zeros is exact. Where no operand has any small element, E is zero whatever the
counts. So the pass sets three bits, and the product is refused by them:

- ``NOT_FINITE``: an infinity or NaN in any input, which words cannot carry (inf - inf).
- ``UNEVEN``: a row with 2 * (L - n) < K that is not all zeros.
- ``SMALL``: an element of either operand below 2^small, not zero.

A refused product is answered by the safe plan, which is right for all inputs.

The rule is sufficient, not necessary: data spread over 2^+-20 element by element are refused, although words would do,
because nothing cheap tells them from opposed scalings that balancing cannot undo.
"""

from __future__ import annotations

from enum import IntFlag

import msgspec
import numpy as np
import numpy.typing as npt

from quasim.precision.formats import Floats
from quasim.precision.plan import Plan
from quasim.precision.split import (
    NOT_FINITE,
    Exponents,
    balance,
    by_element,
    exponents,
    scale_exponents,
    scaled,
    starts,
)

Marks = npt.NDArray[np.bool_]


class Flag(IntFlag):
    """What a split pass ORs into one int32, cleared before."""

    CLEAR = 0
    NOT_FINITE = 1
    UNEVEN = 2
    SMALL = 4


class Verdict(msgspec.Struct, frozen=True):
    """The guard's answer for one product.

    Attributes:
        safe: whether the plan may run.
        reason: why not; empty where it may.
    """

    safe: bool
    reason: str = ""


_NOT_FINITE_REASON = "an input is infinite or NaN"
_RANGE_REASON = (
    "a row or column has fewer than half its elements near its largest, and elements too small for the words"
)


def verdict(flag: int) -> Verdict:
    """What the flag means: refuse where (flag & 1) or (flag & 6) == 6."""
    if flag & Flag.NOT_FINITE:
        return Verdict(False, _NOT_FINITE_REASON)
    if (flag & (Flag.UNEVEN | Flag.SMALL)) == (Flag.UNEVEN | Flag.SMALL):
        return Verdict(False, _RANGE_REASON)
    return Verdict(True)


def flag_rows(x: Floats, plan: Plan, along: Exponents | None = None) -> Flag:
    """The bits of one operand (R, K), as its split pass finds them.

    Where the plan scales by blocks, a row is a row of a block. Counting needs nothing but the scaled elements, so that
    the kernel that writes the words counts on its way.
    """
    found = exponents(x)
    if (found == NOT_FINITE).any():
        return Flag.NOT_FINITE
    if not plan.scaled:
        return Flag.CLEAR
    shift = by_element(scale_exponents(x, plan, along), x.shape[1], plan) + (0 if along is None else along)
    magnitude = np.abs(scaled(x, shift.astype(np.int32)))
    small = (x != 0) & (magnitude < np.float32(2.0**plan.small))
    large = magnitude >= np.float32(2.0**plan.large)
    marks = {Flag.SMALL: small, Flag.UNEVEN: _uneven(x, small, large, plan)}
    return Flag(sum(bit for bit, mark in marks.items() if mark.any()))


def _uneven(x: Floats, small: Marks, large: Marks, plan: Plan) -> Marks:
    first = starts(x.shape[1], plan)
    lengths = np.diff(np.append(first, x.shape[1]))
    count = np.add.reduceat(large.astype(np.int64) - small, first, axis=1)
    anything = np.logical_or.reduceat(x != 0, first, axis=1)
    return np.asarray(anything & (2 * count < lengths))


def examine(a: Floats, b: Floats, plan: Plan) -> Verdict:
    """The verdict on A (M, K) times B given as its transpose (N, K)."""
    along = balance(a, b) if plan.scaling == "row_col_k" else None
    return verdict(flag_rows(a, plan, along) | flag_rows(b, plan, None if along is None else -along))
