"""The quantising pass: float32 rows as one word of 8 bits, scaled by powers of two for each row or each block of it.

Nothing is counted and nothing is refused on the way: words of 8 bits err on every element, and how much is measured on
classes of data. What is not finite has no scale: the power that scales its block back is NaN, which the product hands
on to every element that it reaches. Arithmetic is that of ``quasim.precision.split``, bit for bit, but that no scale is
above 2^149, which makes whole numbers of all float32: blocks below 2^-135, whose formats lose nothing by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from quasim.kernels.ir import (
    Affine,
    Axis,
    Blocks,
    Const,
    Dim,
    Dtype,
    Kernel,
    Load,
    Map,
    Reduce,
    Role,
    Set,
    Statement,
    Store,
    Tensor,
    Value,
    Var,
)
from quasim.precision.plan import Plan
from quasim.precision.split import NOT_FINITE, ZERO

WORD: Mapping[str, Dtype] = {"e4m3": "float8_e4m3fn", "e5m2": "float8_e5m2", "int8": "int8"}
"""Formats of the words."""

SUM: Mapping[str, Dtype] = {"e4m3": "float32", "e5m2": "float32", "int8": "int32"}
"""In which the units for products add up their products."""

_LARGEST_SCALE = 149.0
"""Exponent of the largest scale: 2^-149 is the least float32, by which results can be scaled back."""


@dataclass(frozen=True, slots=True)
class Quantised:
    """What the pass writes of one operand.

    Attributes:
        word: (rows, along).
        back: the powers of two that scale it back, float32: (rows,), or (blocks, rows) where blocks have their own.
    """

    word: Tensor
    back: Tensor


def quantised_for(name: str, rows: Dim, along: Dim, plan: Plan) -> Quantised:
    """The tensors that a quantised operand takes, named after it."""
    shape = (Blocks(along, plan.block), rows) if plan.block else (rows,)
    return Quantised(
        Tensor(f"{name}_word0", (rows, along), WORD[plan.inner], Role.OUTPUT),
        Tensor(f"{name}_back", shape, "float32", Role.OUTPUT),
    )


def quantise_kernel(name: str, x: Tensor, rows: Dim, along: Dim, plan: Plan) -> Kernel:
    """The pass over ``x``, which is (rows, along), or (along, rows) where its last dimension is that of the rows.

    Words always come out with ``along`` last, as a product takes them.
    """
    r = Axis(rows.name, rows)
    c = Axis(along.name, along, whole=not plan.block, block=plan.block)
    found = quantised_for(x.name, rows, along, plan)
    load = Load(x, tuple(Affine(r if dim == rows else c) for dim in x.shape), guard=(r, c))
    body = (*_scale(load, r, c, plan), *_stores(found, r, c, plan))
    grid = (r, c) if plan.block else (r,)
    return Kernel(name, tuple(dict.fromkeys((rows, along))), (x, found.word, found.back), grid, body)


def _scale(load: Load, r: Axis, c: Axis, plan: Plan) -> tuple[Statement, ...]:
    """The largest magnitude in [2^top, 2^(top + 1)); zeros stay as they are."""
    x, top, scale = Var("x", (r, c)), Var("top", (r,)), Var("scale_of", (r,))
    size = Map("max", (x, _negative(x)))
    shift = Map("mul", (Map("sub", (Const(float(plan.format.top)), top)), Map("below", (Const(float(ZERO)), top))))
    return (
        Set(x, load),
        Set(top, Map("exponent", (Reduce("max", size, over=c),))),
        Set(scale, _at_most(shift, _LARGEST_SCALE)),
    )


def _stores(found: Quantised, r: Axis, c: Axis, plan: Plan) -> tuple[Statement, ...]:
    scale = Var("scale_of", (r,))
    word: Value = Map("scale", (Var("x", (r, c)), scale))
    if plan.format.integer:
        word = _within(Map("round", (word,)), plan.format.greatest)
    endless = Map("below", (Const(NOT_FINITE - 0.5), Var("top", (r,))))
    nothing_or_nan = Map("div", (Const(0.0), Map("sub", (Const(1.0), endless))))
    back = Map("add", (Map("scale", (Const(1.0), _negative(scale))), nothing_or_nan))
    at = (Affine(c, by_block=True), Affine(r)) if plan.block else (Affine(r),)
    return (
        Store(found.word, (Affine(r), Affine(c)), Map("cast", (word,), found.word.dtype), guard=(r, c)),
        Store(found.back, at, back, guard=(r,)),
    )


def _negative(x: Value) -> Value:
    return Map("neg", (x,))


def _at_most(x: Value, most: float) -> Value:
    return _negative(Map("max", (_negative(x), Const(-most))))


def _within(x: Value, most: float) -> Value:
    return _at_most(Map("max", (x, Const(-most))), most)
