"""Plans of words of 8 bits as a rewrite of the tile IR: two quantising passes, and the product that scales back.

Where blocks along the sum have scales of their own, the loop multiplies a block, takes the sum out of the units for
products, scales it by the powers of A's row and B's column, and adds it up in float32. Where whole rows share a scale
int8 is summed in int32 to the end, exactly, and scaled back once.
"""

from __future__ import annotations

from dataclasses import replace

from quasim.errors import ConfigError
from quasim.kernels.ir import (
    Affine,
    Axis,
    Const,
    Dot,
    Kernel,
    Load,
    Loop,
    Map,
    Role,
    Set,
    Statement,
    Tensor,
    Value,
    Var,
)
from quasim.kernels.lower.pattern import Contraction
from quasim.kernels.split_blocks import SUM, WORD, Quantised, quantise_kernel, quantised_for
from quasim.precision.plan import Plan


def quantises(plan: Plan) -> bool:
    """Whether the plan is one of these."""
    return plan.inner in WORD and plan.scaled and not plan.guarded


def quantised(
    kernel: Kernel, parts: Contraction, plan: Plan, promote: int
) -> tuple[tuple[Kernel, ...], tuple[Tensor, ...]]:
    """The launches of a product under such a plan, itself last, and what they hand on.

    Raises:
        ConfigError: promotions are asked for: sums that are scaled back leave the units anyway, whole ones of int8 lose
            nothing there.
    """
    if promote:
        raise ConfigError(f"plan {plan.name!r} has nothing to promote", "take promote=0")
    sides = ((parts.left.tensor, parts.rows.dim), (parts.right.tensor, parts.cols.dim))
    passes = tuple(quantise_kernel(f"split_{x.name}", x, dim, parts.over.dim, plan) for x, dim in sides)
    left, right = (quantised_for(x.name, dim, parts.over.dim, plan) for x, dim in sides)
    product = _product(kernel, parts, left, right, plan)
    return (*passes, product), (left.word, left.back, right.word, right.back)


def _product(kernel: Kernel, parts: Contraction, left: Quantised, right: Quantised, plan: Plan) -> Kernel:
    over = replace(parts.over, block=plan.block)
    total = Var("total", (parts.rows, parts.cols))
    result: Value = total if plan.block else _scaled_back(total, *_backs(left, right, parts, over))
    body = (*_sum(parts, over, left, right, plan), replace(parts.store, value=result))
    used = tuple(replace(each, role=Role.INPUT) for each in (left.word, right.word, left.back, right.back))
    return Kernel(f"{kernel.name}_{plan.name}", kernel.dims, (*used, parts.store.tensor), kernel.grid, body)


def _sum(parts: Contraction, over: Axis, left: Quantised, right: Quantised, plan: Plan) -> tuple[Statement, ...]:
    """``total``: of the words, or of what their blocks stand for."""
    total, nothing, part = (Var(name, (parts.rows, parts.cols)) for name in ("total", "nothing", "part"))
    a, b = (_load(words.word, axis, over) for words, axis in ((left, parts.rows), (right, parts.cols)))
    clear = Const(0.0, SUM[plan.inner])
    if not plan.block:
        return Set(total, clear), Loop(over, (Set(total, Dot(a, b, over=over, acc=total)),))
    backs = Var("back_a", (parts.rows,)), Var("back_b", (parts.cols,))
    # The powers are on their way while the units multiply.
    step = (
        *(Set(var, load) for var, load in zip(backs, _backs(left, right, parts, over), strict=True)),
        Set(part, Dot(a, b, over=over, acc=nothing)),
        Set(total, Map("add", (total, _scaled_back(part, *backs)))),
    )
    return Set(total, Const(0.0)), Set(nothing, clear), Loop(over, step)


def _load(tensor: Tensor, *axes: Axis) -> Load:
    return Load(replace(tensor, role=Role.INPUT), tuple(map(Affine, axes)), guard=axes)


def _backs(left: Quantised, right: Quantised, parts: Contraction, over: Axis) -> tuple[Load, Load]:
    """The powers of A's rows and of B's columns."""
    block = (Affine(over, by_block=True),) if over.block else ()
    of_a, of_b = (replace(words.back, role=Role.INPUT) for words in (left, right))
    rows, cols = parts.rows, parts.cols
    return Load(of_a, (*block, Affine(rows)), (rows,)), Load(of_b, (*block, Affine(cols)), (cols,))


def _scaled_back(x: Value, of_a: Value, of_b: Value) -> Value:
    """By one power after the other: their product may be no float32."""
    return Map("mul", (Map("mul", (x, of_a)), of_b))
