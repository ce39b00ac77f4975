"""Family ``split``: float32 rows as two words of 16 bits, scaled by powers of two, with what a guard asks of them.

The kernel is made for a tensor in any orientation (``split_kernel``); the registered family is that of plain rows.
Arithmetic is that of ``quasim.precision.split``, bit for bit, and the counts are those of ``quasim.precision.guard``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from quasim.kernels._base import Arrays, CostFacts, Reference
from quasim.kernels.cost import cost_facts
from quasim.kernels.ir import (
    Affine,
    Axis,
    Const,
    Dim,
    Dtype,
    Extent,
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
from quasim.precision import split as words_of
from quasim.precision.guard import Flag, flag_rows
from quasim.precision.plan import PLANS, Plan
from quasim.trial import Problem

ROWS, COLS = Dim("rows", 1, 65536), Dim("cols", 1, 65536)

PLAN = PLANS["fp16x2"]
"""Of the registered family."""

WORD: Mapping[str, Dtype] = {"fp16": "float16", "bf16": "bfloat16", "e4m3": "float8_e4m3fn"}
"""Formats whose words a kernel can hold."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What a split pass writes of each row, (rows,) float32 all.

    Attributes:
        scale: exponents of the powers of two that the rows were multiplied by.
        uneven, small: 1 where the row is as ``guard`` says, or holds what is not finite.
    """

    scale: Tensor
    uneven: Tensor
    small: Tensor


@dataclass(frozen=True, slots=True)
class Words:
    """What a split pass writes of one operand.

    Attributes:
        words: the largest first, each (rows, along).
        rows: what the guard asks of, and the product scales back; None where the plan does not scale.
    """

    words: tuple[Tensor, ...]
    rows: Rows | None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All of them."""
        return (*self.words, *((self.rows.scale, self.rows.uneven, self.rows.small) if self.rows else ()))


def words_for(name: str, rows: Dim, along: Dim, plan: Plan) -> Words:
    """The tensors that the words of an operand take, named after it."""
    dtype = WORD[plan.inner]
    words = tuple(Tensor(f"{name}_word{w}", (rows, along), dtype, Role.OUTPUT) for w in range(plan.words))
    if not plan.scaled:
        return Words(words, None)
    each = (Tensor(f"{name}_{part}", (rows,), "float32", Role.OUTPUT) for part in ("scale", "uneven", "small"))
    return Words(words, Rows(*each))


@dataclass(frozen=True, slots=True)
class Balance:
    """Powers of two by which an operand is scaled along the sum beforehand.

    Attributes:
        exponents: (along,) float32.
        inverse: whether they are negated for this operand.
    """

    exponents: Tensor
    inverse: bool

    def at(self, c: Axis) -> Value:
        """The exponents along an axis."""
        load = Load(replace(self.exponents, role=Role.INPUT), (Affine(c),), guard=(c,))
        return Map("neg", (load,)) if self.inverse else load


def split_kernel(name: str, x: Tensor, rows: Dim, along: Dim, plan: Plan, balance: Balance | None = None) -> Kernel:
    """The pass over ``x``, which is (rows, along), or (along, rows) where its last dimension is that of the rows.

    Words always come out with ``along`` last, as a product takes them.
    """
    r, c = Axis(rows.name, rows), Axis(along.name, along, whole=True)
    found = words_for(x.name, rows, along, plan)
    at = tuple(Affine(r if dim == rows else c) for dim in x.shape)
    value = Load(x, at, guard=(r, c))
    scaled: tuple[Statement, ...] = (Set(Var("scaled", (r, c)), value),)
    counts: tuple[Statement, ...] = ()
    if found.rows is not None:
        scaled = _scale(value, r, c, plan) if balance is None else _balanced(value, r, c, plan, balance)
        counts = _counts(found.rows, r, c, plan, balance)
    body: tuple[Statement, ...] = (*scaled, *counts, *_words(found, r, c, plan))
    given = () if balance is None else (replace(balance.exponents, role=Role.INPUT),)
    return Kernel(name, tuple(dict.fromkeys((rows, along))), (x, *found.tensors, *given), grid=(r,), body=body)


def _scale(value: Load, r: Axis, c: Axis, plan: Plan) -> tuple[Statement, ...]:
    """Rows with their largest magnitude in [2^top, 2^(top + 1)); rows of zeros stay as they are."""
    x, top, scale, scaled = Var("x", (r, c)), Var("top", (r,)), Var("scale_of", (r,)), Var("scaled", (r, c))
    return (
        Set(x, value),
        Set(top, Map("exponent", (Reduce("max", _size(x), over=c),))),
        Set(Var("anything", (r,)), _is(Const(float(words_of.ZERO)), top)),
        Set(scale, Map("mul", (_shift(top, plan), Var("anything", (r,))))),
        Set(scaled, Map("scale", (x, scale))),
    )


def _balanced(value: Load, r: Axis, c: Axis, plan: Plan, balance: Balance) -> tuple[Statement, ...]:
    """The same of rows whose elements are scaled along the sum first, by their exponents alone: no product of both
    powers is formed before it is known to fit."""
    x, raised, along = Var("x", (r, c)), Var("raised", (r, c)), Var("along", (c,))
    top, found, scale = Var("top", (r,)), Var("found", (r,)), Var("scale_of", (r,))
    # Zeros are below everything else, however it is scaled.
    there = _is(Const(float(words_of.ZERO)), Map("exponent", (x,)))
    lifted = Map("sub", (Map("add", (Map("exponent", (x,)), along)), Const(float(words_of.NOTHING))))
    return (
        Set(x, value),
        Set(along, balance.at(c)),
        Set(top, Map("exponent", (Reduce("max", _size(x), over=c),))),
        Set(raised, Map("add", (Map("mul", (lifted, there)), Const(float(words_of.NOTHING))))),
        Set(found, Reduce("max", raised, over=c)),
        Set(Var("anything", (r,)), _is(Const(float(words_of.NOTHING)), found)),
        Set(scale, Map("mul", (_shift(found, plan), Var("anything", (r,))))),
        Set(Var("scaled", (r, c)), Map("scale", (x, Map("add", (scale, along))))),
    )


def _below(exponent: int, r: Axis, c: Axis, balance: Balance | None) -> Value:
    """Whether an element is below a power of two, once it is scaled; from what it was, not to hold it twice."""
    scale = Var("scale_of", (r,))
    if balance is not None:
        return _is(Var("raised", (r, c)), Map("sub", (Const(float(exponent)), scale)))
    return _is(Map("scale", (_size(Var("x", (r, c))), scale)), Const(2.0**exponent))


def _there(r: Axis, c: Axis, balance: Balance | None) -> Value:
    """Whether an element is not zero."""
    if balance is not None:
        return _is(Const(float(words_of.NOTHING)), Var("raised", (r, c)))
    return _is(Const(0.0), _size(Var("x", (r, c))))


def _shift(top: Var, plan: Plan) -> Value:
    return Map("sub", (Const(float(plan.format.top)), top))


def _size(x: Value) -> Value:
    return Map("max", (x, Map("neg", (x,))))


def _words(found: Words, r: Axis, c: Axis, plan: Plan) -> tuple[Statement, ...]:
    statements: list[Statement] = []
    rest: Value = Var("scaled", (r, c))
    at = (Affine(r), Affine(c))
    for number, tensor in enumerate(found.words):
        word = Var(f"word{number}", (r, c))
        statements.append(Set(word, Map("cast", (rest,), tensor.dtype)))
        statements.append(Store(tensor, at, word, guard=(r, c)))
        rest = Map("mul", (Map("sub", (rest, word)), Const(2.0**plan.shift)))
    return tuple(statements)


def _counts(found: Rows, r: Axis, c: Axis, plan: Plan, balance: Balance | None) -> tuple[Statement, ...]:
    """With s small elements and l large ones of k: uneven where 2(l − s) < k, which is k < 2(s + those not large)."""
    top, few, many = Var("top", (r,)), Var("few", (r,)), Var("many", (r,))
    small = Map("mul", (_below(plan.small, r, c, balance), _there(r, c, balance)))
    endless = _is(Const(words_of.NOT_FINITE - 0.5), top)
    twice = Map("mul", (Const(2.0), Map("add", (few, many))))
    uneven = Map("mul", (_is(Extent(c), twice), Var("anything", (r,))))
    return (
        Set(few, Reduce("sum", small, over=c)),
        Set(many, Reduce("sum", _below(plan.large, r, c, balance), over=c)),
        Store(found.scale, (Affine(r),), Var("scale_of", (r,)), guard=(r,)),
        Store(found.uneven, (Affine(r),), Map("max", (uneven, endless)), guard=(r,)),
        Store(found.small, (Affine(r),), Map("max", (_is(Const(0.0), few), endless)), guard=(r,)),
    )


def _is(left: Value, right: Value) -> Value:
    return Map("below", (left, right))


def guard_kernel(name: str, left: Rows, right: Rows, flag: Tensor) -> Kernel:
    """Raises the flag where the product of the two is refused: one of them is uneven, and one has small elements."""
    given = (tensor for rows in (left, right) for tensor in (rows.uneven, rows.small))
    tensors = tuple(replace(tensor, role=Role.INPUT) for tensor in given)
    dims = [tensor.shape[0] for tensor in tensors]
    axes = [Axis(dim.name, dim, whole=True) for dim in dims if isinstance(dim, Dim)]
    tops = [Var(f"top_{tensor.name}", ()) for tensor in tensors]
    loads = (Load(tensor, (Affine(axis),), (axis,)) for tensor, axis in zip(tensors, axes, strict=True))
    found = [Set(top, Reduce("max", load, over=axis)) for top, load, axis in zip(tops, loads, axes, strict=True)]
    uneven, small = (Map("max", (tops[part], tops[part + 2])) for part in range(2))
    body: tuple[Statement, ...] = (*found, Store(flag, (Affine(None, 0),), Map("mul", (uneven, small)), guard=()))
    known = tuple(dict.fromkeys(dim for dim in dims if isinstance(dim, Dim)))
    return Kernel(name, known, (*tensors, flag), grid=(), body=body)


class Split:
    """x of shape (rows, cols) as two fp16 words, the rows' scales, and what the guard asks of each row."""

    name = "split"
    summary = "float32 rows as two fp16 words scaled by powers of two, with the guard's counts"
    kernel = split_kernel("split", Tensor("x", (ROWS, COLS), "float32", Role.INPUT), ROWS, COLS, PLAN)
    tolerance = 1e-12
    """The words are those of the reference, bit for bit: one bit that differs in 2^32 words shows."""

    def inputs(self, shape: Mapping[str, int], rng: np.random.Generator) -> Arrays:
        """Standard normal rows."""
        return {"x": rng.standard_normal((shape["rows"], shape["cols"]), dtype=np.float32)}

    def reference(self, shape: Mapping[str, int], inputs: Arrays) -> dict[str, Reference]:
        """The numpy pass. Every scale is 1: whatever differs at all is wrong."""
        x = inputs["x"].astype(np.float32, copy=False)
        scale = words_of.scale_exponents(x, PLAN)
        parts = words_of.words(words_of.scaled(x, scale), PLAN)
        flags = [flag_rows(row[None], PLAN) for row in x]
        endless = [bool(flag & Flag.NOT_FINITE) for flag in flags]
        uneven, small = ([bool(flag & bit) for flag in flags] for bit in (Flag.UNEVEN, Flag.SMALL))
        found = [*parts, scale[:, 0], np.array(uneven) | endless, np.array(small) | endless]
        names = [tensor.name for tensor in self.kernel.tensors if tensor.role is Role.OUTPUT]
        exact = (np.asarray(each, np.float64) for each in found)
        return {name: Reference(each, np.ones(each.shape)) for name, each in zip(names, exact, strict=True)}

    def library(self, inputs: Arrays, outputs: Arrays) -> bool:
        """There is none."""
        return False

    def cost(self, problem: Problem) -> CostFacts:
        """8 bytes an element, as the IR says."""
        return cost_facts(self.kernel, problem.dims)
