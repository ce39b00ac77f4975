"""A precision plan as a rewrite of the tile IR: one kernel becomes the kernels that carry the plan out.

A product of float32 matrices becomes: a split pass for either operand, the guard, the product of the words, and the
product that answers instead where the guard refuses. Plans whose words the units for products make by themselves only
change the precision of the product.

Sums of products of words are kept apart by their order w + v of (word w of A, word v of B): all of one order have the
same factor, 2^(-shift·order). Only what is of order 0 is promoted where words are shifted: what the units cut off from
the others is smaller by that factor.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

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
    Precision,
    Role,
    Set,
    Statement,
    Tensor,
    Value,
    Var,
)
from quasim.kernels.lower.pattern import Contraction, contraction, unsupported
from quasim.kernels.split import WORD, Words, guard_kernel, split_kernel, words_for
from quasim.kernels.tiled import Runs
from quasim.precision.plan import SAFE, Plan, plan_named

PRECISIONS: dict[str, Precision] = {"ieee": "float32", "tf32": "tf32", "tf32x3": "tf32x3", "bf16x6": "bf16x6"}
"""The IR's name of each precision that a plan asks the units for."""

FLAG = Tensor("refused", (1,), "float32", Role.OUTPUT)
"""Other than 0 where the guard refuses the product of the words."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One launch of a plan.

    Attributes:
        kernel: what it computes.
        runs: when it does anything; None: always.
        main: whether this is the plan's product.
    """

    kernel: Kernel
    runs: Runs | None = None
    main: bool = False


@dataclass(frozen=True, slots=True)
class Staged:
    """A kernel under a plan.

    Attributes:
        stages: launched in this order.
        workspace: what they hand on.
    """

    stages: tuple[Stage, ...]
    workspace: tuple[Tensor, ...]


def rewritten(kernel: Kernel, plan: Plan, promote: int) -> Staged:
    """The kernel under a plan.

    Args:
        kernel: a product of two float32 matrices.
        plan: whose words a kernel can hold, or that the units for products carry out.
        promote: 1: the sum of each block along the loop leaves the units for products; 0: none does before the last.

    Raises:
        LoweringError: the kernel is no such product.
        ConfigError: no kernel carries the plan out.
    """
    parts = contraction(kernel)
    if parts.batch or {tensor.dtype for tensor in kernel.tensors} != {"float32"}:
        raise unsupported(kernel, "a batch, or tensors other than float32, and a plan")
    if plan.dot:
        return Staged((Stage(_with_precision(kernel, PRECISIONS[plan.dot]), main=True),), ())
    if plan.inner not in WORD or plan.block or plan.scaling == "row_col_k":
        raise ConfigError(
            f"no kernel carries out plan {plan.name!r}", "take one of floating-point words, scaled by rows"
        )
    if promote not in (0, 1):
        raise ConfigError(f"{promote} blocks between promotions", "take 0 or 1")
    return _staged(kernel, parts, plan, promote)


def _staged(kernel: Kernel, parts: Contraction, plan: Plan, promote: int) -> Staged:
    m, n, k = parts.rows.dim, parts.cols.dim, parts.over.dim
    left, right = (words_for(load.tensor.name, dim, k, plan) for load, dim in ((parts.left, m), (parts.right, n)))
    splits = tuple(
        Stage(split_kernel(f"split_{load.tensor.name}", load.tensor, dim, k, plan))
        for load, dim in ((parts.left, m), (parts.right, n))
    )
    product = _product(kernel, parts, left, right, plan, promote)
    handed_on = (*left.tensors, *right.tensors)
    if left.rows is None or right.rows is None:
        return Staged((*splits, Stage(product, main=True)), handed_on)
    safe = _with_precision(kernel, PRECISIONS[plan_named(SAFE).dot])
    stages = (
        *splits,
        Stage(guard_kernel("guard", left.rows, right.rows, FLAG)),
        Stage(product, runs=Runs(FLAG, raised=False), main=True),
        Stage(replace(safe, name=f"{kernel.name}_safe"), runs=Runs(FLAG, raised=True)),
    )
    return Staged(stages, (*handed_on, FLAG))


def _with_precision(kernel: Kernel, precision: Precision) -> Kernel:
    """The kernel with its product in another precision."""
    return replace(kernel, body=tuple(_precise(statement, precision) for statement in kernel.body))


def _precise(statement: Statement, precision: Precision) -> Statement:
    if isinstance(statement, Loop):
        return replace(statement, body=tuple(_precise(each, precision) for each in statement.body))
    if isinstance(statement, Set) and isinstance(statement.value, Dot):
        return replace(statement, value=replace(statement.value, precision=precision))
    return statement


def _product(kernel: Kernel, parts: Contraction, left: Words, right: Words, plan: Plan, promote: int) -> Kernel:
    """The sum over the plan's pairs of words, scaled back."""
    orders = sorted({sum(pair) * bool(plan.shift) for pair in plan.pairs})
    sums = [Var(f"sum{order}", (parts.rows, parts.cols)) for order in orders]
    clears = [Set(var, Const(0.0)) for var in sums]
    if promote:
        clears.append(Set(_nothing(parts), Const(0.0)))
    total = Var("total", (parts.rows, parts.cols))
    joined: Value = sums[0]
    for order, var in zip(orders[1:], sums[1:], strict=True):
        joined = Map("add", (joined, Map("mul", (var, Const(2.0 ** (-plan.shift * order))))))
    body: tuple[Statement, ...] = (
        *clears,
        Loop(parts.over, tuple(_step(parts, left, right, plan, promote))),
        Set(total, joined),
        replace(parts.store, value=_scaled_back(total, parts, left, right)),
    )
    used = (*left.words, *right.words, *(words.rows.scale for words in (left, right) if words.rows))
    tensors = tuple(replace(tensor, role=Role.INPUT) for tensor in used)
    return Kernel(f"{kernel.name}_{plan.name}", kernel.dims, (*tensors, parts.store.tensor), kernel.grid, body)


def _step(parts: Contraction, left: Words, right: Words, plan: Plan, promote: int) -> Iterator[Statement]:
    """One block along the loop. What is promoted comes first, and is added while the rest is multiplied."""
    for words, axis in ((left, parts.rows), (right, parts.cols)):
        for tensor in words.words:
            yield Set(_word(tensor, parts, axis), _load(tensor, (axis, parts.over)))
    # By order, and within one order the smallest first, as the plan has them.
    pairs = sorted(plan.pairs, key=lambda pair: sum(pair) if plan.shift else 0)
    part = Var("part", (parts.rows, parts.cols))
    begun = False
    for pair in pairs:
        order = sum(pair) if plan.shift else 0
        acc = target = Var(f"sum{order}", part.axes)
        if promote and order == 0:
            acc, target = part if begun else _nothing(parts), part
            begun = True
        factors = (_word(left.words[pair[0]], parts, parts.rows), _word(right.words[pair[1]], parts, parts.cols))
        yield Set(target, Dot(*factors, over=parts.over, acc=acc))
    if promote:
        yield Set(Var("sum0", part.axes), Map("add", (Var("sum0", part.axes), Map("promote", (part,)))))


def _word(tensor: Tensor, parts: Contraction, axis: Axis) -> Var:
    return Var(tensor.name, (axis, parts.over))


def _load(tensor: Tensor, axes: tuple[Axis, ...]) -> Load:
    return Load(replace(tensor, role=Role.INPUT), tuple(Affine(axis) for axis in axes), guard=axes)


def _nothing(parts: Contraction) -> Var:
    """What a promoted sum starts from."""
    return Var("nothing", (parts.rows, parts.cols))


def _scaled_back(total: Var, parts: Contraction, left: Words, right: Words) -> Value:
    if left.rows is None or right.rows is None:
        return total
    exponent = Map("add", (_load(left.rows.scale, (parts.rows,)), _load(right.rows.scale, (parts.cols,))))
    return Map("scale", (total, Map("neg", (exponent,))))
