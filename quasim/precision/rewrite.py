"""A precision plan as a rewrite of the tile IR: one kernel becomes the kernels that carry the plan out.

A product of float32 matrices becomes: a split pass for either operand, the guard, the product of the words, a look at
what came out, and the product in float64 that answers instead where guard or look refuse. Plans whose words the units
for products make by themselves only change the precision of the product.

Sums of products of words are kept apart by their order w + v of (word w of A, word v of B): all of one order have the
same factor, 2^(-shift·order). Only what is of order 0 is promoted where words are shifted: what the units cut off from
the others is smaller by that factor.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from quasim.errors import ConfigError
from quasim.kernels.balance import along_tensor, balance_kernel, tops_kernel
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
from quasim.kernels.probe import Seen, column, probe_kernel, verdict_kernel
from quasim.kernels.split import WORD, Balance, Words, guard_kernel, split_kernel, words_for
from quasim.kernels.tiled import Runs
from quasim.precision.blocks import quantised, quantises
from quasim.precision.plan import Plan

PRECISIONS: dict[str, Precision] = {"ieee": "float32", "tf32": "tf32", "tf32x3": "tf32x3", "bf16x6": "bf16x6"}
"""The IR's name of each precision that a plan asks the units for."""

PROMOTIONS = (0, 1, 2, 4)
"""Blocks between promotions; they are written out one after the other, so that many would fill shared memory."""

FLAG = Tensor("refused", (1,), "float32", Role.OUTPUT)
"""Who refused the product of the words, by its place in ``probe.REFUSALS``; 0: nobody."""

GUARDED = Tensor("guarded", (1,), "float32", Role.OUTPUT)
"""1 where the guard did, of a product that is looked at afterwards."""


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
        signs: vectors beside it that hold ``probe.signs`` before the first launch, and ever after.
    """

    stages: tuple[Stage, ...]
    workspace: tuple[Tensor, ...]
    signs: tuple[Tensor, ...] = ()


def rewritten(kernel: Kernel, plan: Plan, promote: int) -> Staged:
    """The kernel under a plan.

    Args:
        kernel: a product of two float32 matrices.
        plan: whose words a kernel can hold, or that the units for products carry out.
        promote: blocks along the loop whose sum leaves the units for products together; 0: none does before the last.

    Raises:
        LoweringError: the kernel is no such product.
        ConfigError: no kernel carries the plan out.
    """
    parts = contraction(kernel)
    if parts.batch or {tensor.dtype for tensor in kernel.tensors} != {"float32"}:
        raise unsupported(kernel, "a batch, or tensors other than float32, and a plan")
    if plan.inner == "fp64":
        return Staged((Stage(_in_float64(kernel, parts), main=True),), ())
    if plan.dot:
        return Staged((Stage(_with_precision(kernel, PRECISIONS[plan.dot]), main=True),), ())
    if quantises(plan):
        return _unguarded(*quantised(kernel, parts, plan, promote))
    if plan.inner not in WORD or plan.block:
        raise ConfigError(
            f"no kernel carries out plan {plan.name!r}", "take one of floating-point words, scaled by rows"
        )
    if promote not in PROMOTIONS:
        raise ConfigError(f"{promote} blocks between promotions", f"take one of {PROMOTIONS}")
    return _staged(kernel, parts, plan, promote)


def _staged(kernel: Kernel, parts: Contraction, plan: Plan, promote: int) -> Staged:
    m, n, k = parts.rows.dim, parts.cols.dim, parts.over.dim
    left, right = (words_for(load.tensor.name, dim, k, plan) for load, dim in ((parts.left, m), (parts.right, n)))
    evened = _balanced(parts) if plan.scaling == "row_col_k" else Staged((), ())
    splits = (
        *evened.stages,
        *(
            Stage(split_kernel(f"split_{load.tensor.name}", load.tensor, dim, k, plan, balance))
            for load, dim, balance in zip((parts.left, parts.right), (m, n), _balances(evened), strict=True)
        ),
    )
    product = _product(kernel, parts, left, right, plan, promote)
    handed_on = (*evened.workspace, *left.tensors, *right.tensors)
    if left.rows is None or right.rows is None:
        return Staged((*splits, Stage(product, main=True)), handed_on)
    guarded = GUARDED if plan.verified else FLAG
    taken = Runs(guarded, raised=False)
    look = _look(parts, taken, plan.verified) if plan.verified else Staged((), ())
    stages = (
        *splits,
        Stage(guard_kernel("guard", left.rows, right.rows, guarded)),
        Stage(product, taken, main=True),
        *look.stages,
        Stage(replace(_in_float64(kernel, parts), name=f"{kernel.name}_safe"), Runs(FLAG, raised=True)),
    )
    return Staged(stages, (*handed_on, *dict.fromkeys((guarded, FLAG)), *look.workspace), look.signs)


def _balanced(parts: Contraction) -> Staged:
    """What finds the powers along the sum by which A is scaled, and B back."""
    k = parts.over.dim
    tops, balance = along_tensor("tops", k), along_tensor("balance", k)
    of_b = tops_kernel("tops_b", parts.right.tensor, k, tops)
    of_both = balance_kernel("balance_ab", parts.left.tensor, k, tops, balance)
    return Staged((Stage(of_b), Stage(of_both)), (tops, balance))


def _balances(evened: Staged) -> tuple[Balance | None, Balance | None]:
    if not evened.workspace:
        return None, None
    return Balance(evened.workspace[-1], inverse=False), Balance(evened.workspace[-1], inverse=True)


def _look(parts: Contraction, taken: Runs, tolerance: float) -> Staged:
    """What sees a finished product from one side, and judges it; the result is looked at while it is in the cache."""
    signs = Tensor("signs", (parts.cols.dim,), "float32", Role.INPUT)
    turned = column("turned", parts.over.dim)
    seen = Seen(*(column(name, parts.rows.dim) for name in ("due", "got", "squares")))
    probes = (
        probe_kernel("probe_c", parts.store.tensor, signs, seen.got, seen.squares),
        probe_kernel("probe_b", parts.right.tensor, signs, turned),
        probe_kernel("probe_a", parts.left.tensor, turned, seen.due),
    )
    verdict = verdict_kernel("verdict", seen, taken.flag, FLAG, tolerance)
    stages = (*(Stage(probe, taken) for probe in probes), Stage(verdict))
    return Staged(stages, (turned, seen.due, seen.got, seen.squares), (signs,))


def _unguarded(kernels: tuple[Kernel, ...], handed_on: tuple[Tensor, ...]) -> Staged:
    """Launches without conditions, the last of which is the product."""
    return Staged(tuple(Stage(each, main=each is kernels[-1]) for each in kernels), handed_on)


def _in_float64(kernel: Kernel, parts: Contraction) -> Kernel:
    """Float32 operands multiplied and summed in float64, and rounded once: NaN and infinities are IEEE's."""
    acc = Var("acc", (parts.rows, parts.cols))
    left, right = (Map("cast", (load,), "float64") for load in (parts.left, parts.right))
    body: tuple[Statement, ...] = (
        Set(acc, Const(0.0, "float64")),
        Loop(parts.over, (Set(acc, Dot(left, right, over=parts.over, acc=acc)),)),
        replace(parts.store, value=Map("cast", (acc,), "float32")),
    )
    return replace(kernel, name=f"{kernel.name}_fp64", body=body)


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
    clears = (Set(var, Const(0.0)) for var in sums)
    total = Var("total", (parts.rows, parts.cols))
    joined: Value = sums[0]
    for order, var in zip(orders[1:], sums[1:], strict=True):
        joined = Map("add", (joined, Map("mul", (var, Const(2.0 ** (-plan.shift * order))))))
    body: tuple[Statement, ...] = (
        *clears,
        _loop(parts, left, right, plan, promote),
        Set(total, joined),
        replace(parts.store, value=_scaled_back(total, parts, left, right)),
    )
    used = (*left.words, *right.words, *(words.rows.scale for words in (left, right) if words.rows))
    tensors = tuple(replace(tensor, role=Role.INPUT) for tensor in used)
    return Kernel(f"{kernel.name}_{plan.name}", kernel.dims, (*tensors, parts.store.tensor), kernel.grid, body)


def _loop(parts: Contraction, left: Words, right: Words, plan: Plan, promote: int) -> Loop:
    """All blocks; a few of them have a sum of their own, which leaves the units for products."""
    if not promote:
        return Loop(parts.over, tuple(_step(parts, left, right, plan, "sum0")))
    part, total = (Var(name, (parts.rows, parts.cols)) for name in ("part", "sum0"))
    blocks = Loop(parts.over, tuple(_step(parts, left, right, plan, part.name)))
    added = Set(total, Map("add", (total, Map("promote", (part,)))))
    return Loop(parts.over, (Set(part, Const(0.0)), blocks, added), tiles=promote)


def _step(parts: Contraction, left: Words, right: Words, plan: Plan, largest: str) -> Iterator[Statement]:
    """One block along the loop. The ``largest`` sum comes first: where it is promoted, that goes on beside the rest."""
    for words, axis in ((left, parts.rows), (right, parts.cols)):
        for tensor in words.words:
            yield Set(_word(tensor, parts, axis), _load(tensor, (axis, parts.over)))
    # By order, and within one order the smallest first, as the plan has them.
    pairs = sorted(plan.pairs, key=lambda pair: sum(pair) if plan.shift else 0)
    for pair in pairs:
        order = sum(pair) if plan.shift else 0
        acc = Var(f"sum{order}" if order else largest, (parts.rows, parts.cols))
        factors = (_word(left.words[pair[0]], parts, parts.rows), _word(right.words[pair[1]], parts, parts.cols))
        yield Set(acc, Dot(*factors, over=parts.over, acc=acc))


def _word(tensor: Tensor, parts: Contraction, axis: Axis) -> Var:
    return Var(tensor.name, (axis, parts.over))


def _load(tensor: Tensor, axes: tuple[Axis, ...]) -> Load:
    return Load(replace(tensor, role=Role.INPUT), tuple(Affine(axis) for axis in axes), guard=axes)


def _scaled_back(total: Var, parts: Contraction, left: Words, right: Words) -> Value:
    if left.rows is None or right.rows is None:
        return total
    exponent = Map("add", (_load(left.rows.scale, (parts.rows,)), _load(right.rows.scale, (parts.cols,))))
    return Map("scale", (total, Map("neg", (exponent,))))
