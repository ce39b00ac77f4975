"""Which shape a kernel's IR has, and so which schedules it can take; asked for each genome, so answers are kept."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from quasim.errors import QuasimError
from quasim.kernels.ir import Axis, Const, Dot, Kernel, Load, Loop, Map, Reduce, Set, Store, Value, Var
from quasim.kernels.walk import axes, walk


class LoweringError(QuasimError):
    """A kernel that no schedule of ours can run."""


class Pattern(str, Enum):
    """What a kernel does with its axes."""

    CONTRACTION = "contraction"
    """Products of two operands, summed along a loop that both share."""
    ROWS = "rows"
    """Whole rows, reduced and mapped."""
    POINTWISE = "pointwise"
    """Each element from a few neighbours."""


@lru_cache(maxsize=64)
def pattern(kernel: Kernel) -> Pattern:
    """The pattern of a kernel.

    Raises:
        LoweringError: it has tensors or operations that no schedule covers.
    """
    if any(tensor.dtype != "float32" for tensor in kernel.tensors):
        raise unsupported(kernel, "a tensor that is not float32")
    nodes = list(walk(kernel.body))
    if any(isinstance(node, Map) and node.dtype != "float32" for node in nodes):
        raise unsupported(kernel, "arithmetic that is not float32")
    if any(isinstance(node, Dot) for node in nodes):
        return Pattern.CONTRACTION
    return Pattern.ROWS if any(axis.whole for axis in axes(kernel).values()) else Pattern.POINTWISE


def unsupported(kernel: Kernel, what: str) -> LoweringError:
    """The error for a kernel that has ``what``."""
    return LoweringError(f"kernel {kernel.name!r} has {what}", "no schedule covers this; rewrite its IR")


@dataclass(frozen=True, slots=True)
class Contraction:
    """``store ← Σ_k left·right``: left varies over the rows, right over the columns, which lie next to one another."""

    rows: Axis
    cols: Axis
    over: Axis
    left: Load
    right: Load
    store: Store


@lru_cache(maxsize=64)
def contraction(kernel: Kernel) -> Contraction:
    """The parts of a kernel that clears a variable, loops a ``Dot`` into it, and stores it.

    Raises:
        LoweringError: it is not of that form.
    """
    if len(kernel.grid) == 2 and len(kernel.body) == 3:
        clear, loop, store = kernel.body
        if isinstance(clear, Set) and isinstance(loop, Loop) and isinstance(store, Store) and len(loop.body) == 1:
            parts = _contraction(clear, loop, store)
            if parts and set(kernel.grid) == {parts.rows, parts.cols}:
                return parts
    raise unsupported(kernel, "a dot that is not cleared, summed along one loop and stored")


def _contraction(clear: Set, loop: Loop, store: Store) -> Contraction | None:
    step = loop.body[0]
    if not isinstance(step, Set) or not isinstance(step.value, Dot) or step.value.precision != "float32":
        return None
    dot, left, right = step.value, step.value.a, step.value.b
    if not isinstance(left, Load) or not isinstance(right, Load) or dot.over != loop.axis:
        return None
    if {clear.var, step.var, dot.acc, store.value} != {clear.var} or clear.value != Const(0.0):
        return None
    row, col = (at.axis for at in store.index)
    fits = {at.axis for at in left.index} == {row, dot.over} and {at.axis for at in right.index} == {col, dot.over}
    return Contraction(row, col, dot.over, left, right, store) if fits and right.index[-1].axis == col else None


@dataclass(frozen=True, slots=True)
class Elementwise:
    """Stores of expressions over two axes, the second of which is contiguous in every tensor; no variables are left.

    Attributes:
        accesses: the stores and all distinct loads.
    """

    rows: Axis
    cols: Axis
    stores: tuple[Store, ...]
    accesses: tuple[Load | Store, ...]


@lru_cache(maxsize=64)
def elementwise(kernel: Kernel) -> Elementwise:
    """The stores of a kernel without loops, every variable replaced by its value.

    Raises:
        LoweringError: it has a loop, or an access whose last dimension is not the contiguous axis.
    """
    bound: dict[Var, Value] = {}
    stores: list[Store] = []
    for statement in kernel.body:
        if isinstance(statement, Loop):
            raise unsupported(kernel, "a loop without a dot")
        value = _inline(statement.value, bound)
        if isinstance(statement, Set):
            bound[statement.var] = value
        else:
            stores.append(Store(statement.tensor, statement.index, value, statement.guard))
    found = tuple(axes(kernel).values())
    if len(found) != 2 or not stores:
        raise unsupported(kernel, f"{len(found)} axes and {len(stores)} stores instead of two axes and a store")
    rows, cols = found
    accesses = tuple(dict.fromkeys(node for node in walk(tuple(stores)) if isinstance(node, Load | Store)))
    for access in accesses:
        if tuple(at.axis for at in access.index) != (rows, cols):
            raise unsupported(kernel, f"an access to {access.tensor.name} that is not by ({rows.name}, {cols.name})")
    return Elementwise(rows, cols, tuple(stores), accesses)


def _inline(value: Value, bound: dict[Var, Value]) -> Value:
    if isinstance(value, Var):
        return bound[value]
    if isinstance(value, Map):
        return Map(value.op, tuple(_inline(arg, bound) for arg in value.args), value.dtype)
    if isinstance(value, Reduce):
        return Reduce(value.op, _inline(value.x, bound), value.over)
    return value
