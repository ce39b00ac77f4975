"""Which shape a kernel's IR has, and so which schedules it can take; asked for each genome, so answers are kept."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from quasim.errors import ExitCode, QuasimError
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
    Reduce,
    Set,
    Store,
    Value,
    Var,
)
from quasim.kernels.walk import axes, walk


class LoweringError(QuasimError):
    """A kernel that no schedule of ours can run."""

    exit_code = ExitCode.CONFIG


class Pattern(str, Enum):
    """What a kernel does with its axes."""

    CONTRACTION = "contraction"
    """Products of two operands, summed along a loop that both share."""
    ROWS = "rows"
    """Whole rows, reduced and mapped."""
    POINTWISE = "pointwise"
    """Each element from a few neighbours."""
    SPLITS = "splits"
    """Whole rows, reduced or written in other formats."""
    BLOCKS = "blocks"
    """Blocks of rows, each reduced and written in other formats."""
    FOLDS = "folds"
    """A few whole arrays, each reduced to one number."""
    SECTIONS = "sections"
    """Sections of the arrays, at constant positions of some dimensions, combined lane by lane."""


@lru_cache(maxsize=64)
def pattern(kernel: Kernel) -> Pattern:
    """The pattern of a kernel.

    Raises:
        LoweringError: it has tensors or operations that no schedule covers.
    """
    nodes = list(walk(kernel.body))
    formats = {tensor.dtype for tensor in kernel.tensors} | {node.dtype for node in nodes if isinstance(node, Map)}
    if any(isinstance(node, Dot) for node in nodes):
        return Pattern.CONTRACTION
    if any(axis.block for axis in kernel.grid):
        return Pattern.BLOCKS
    whole = any(axis.whole for axis in axes(kernel).values())
    if whole and not kernel.grid:
        return Pattern.FOLDS
    if whole and formats != {"float32"}:
        return Pattern.SPLITS
    if formats != {"float32"}:
        raise unsupported(kernel, "a tensor or arithmetic that is not float32")
    if any(isinstance(node, Affine) and node.axis is None for node in nodes):
        return Pattern.SECTIONS
    return Pattern.ROWS if whole else Pattern.POINTWISE


def unsupported(kernel: Kernel, what: str) -> LoweringError:
    """The error for a kernel that has ``what``."""
    return LoweringError(f"kernel {kernel.name!r} has {what}", "no schedule covers this; rewrite its IR")


@dataclass(frozen=True, slots=True)
class Contraction:
    """``store ← Σ_k left·right``: left varies over the rows, right over the columns; the sum may be cast when stored.

    Attributes:
        batch: an axis over which all three vary, their first; None: there is none.
        precision: of the operands in a product.
    """

    batch: Axis | None
    rows: Axis
    cols: Axis
    over: Axis
    left: Load
    right: Load
    store: Store
    precision: Precision

    @property
    def right_rows(self) -> bool:
        """Whether columns of the right operand lie next to one another, rather than steps of the sum."""
        return self.right.index[-1].axis == self.cols


@lru_cache(maxsize=64)
def contraction(kernel: Kernel) -> Contraction:
    """The parts of a kernel that clears a variable, loops a ``Dot`` into it, and stores it.

    Raises:
        LoweringError: it is not of that form.
    """
    if len(kernel.body) == 3 and all(tensor.dtype != "float64" for tensor in kernel.tensors):
        clear, loop, store = kernel.body
        if isinstance(clear, Set) and isinstance(loop, Loop) and isinstance(store, Store) and len(loop.body) == 1:
            parts = _contraction(clear, loop, store)
            if parts and set(kernel.grid) == {parts.rows, parts.cols, *_some(parts.batch)}:
                return parts
    raise unsupported(kernel, "a dot that is not cleared, summed along one loop and stored")


def _contraction(clear: Set, loop: Loop, store: Store) -> Contraction | None:
    step = loop.body[0]
    if not isinstance(step, Set) or not isinstance(step.value, Dot):
        return None
    dot, left, right = step.value, step.value.a, step.value.b
    if not isinstance(left, Load) or not isinstance(right, Load) or dot.over != loop.axis:
        return None
    stored = store.value
    if isinstance(stored, Map) and stored.op == "cast" and stored.dtype == store.tensor.dtype:
        (stored,) = stored.args
    if {clear.var, step.var, dot.acc, stored} != {clear.var} or clear.value != Const(0.0):
        return None
    *batch, row, col = (at.axis for at in store.index)
    if row is None or col is None or len(batch) > 1 or None in batch:
        return None
    fits = _varies(left, batch, {row, dot.over}) and _varies(right, batch, {col, dot.over})
    first = batch[0] if batch else None
    return Contraction(first, row, col, dot.over, left, right, store, dot.precision) if fits else None


def _varies(load: Load, batch: list[Axis | None], over: set[Axis]) -> bool:
    """Whether an operand is by the batch, and then by these two axes in any order."""
    found = [at.axis for at in load.index]
    return found[:-2] == batch and len(found) > 1 and set(found[-2:]) == over


def _some(axis: Axis | None) -> tuple[Axis, ...]:
    return () if axis is None else (axis,)


@dataclass(frozen=True, slots=True)
class Elementwise:
    """Stores of expressions over two axes, the second of which is contiguous in every tensor; no variables are left.

    Attributes:
        accesses: the stores and all distinct loads; a load may be by the columns alone, the same for each row.
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
    stores, found = _inlined(kernel), tuple(axes(kernel).values())
    if len(found) != 2 or not stores:
        raise unsupported(kernel, f"{len(found)} axes and {len(stores)} stores instead of two axes and a store")
    rows, cols = found
    accesses = tuple(dict.fromkeys(node for node in walk(stores) if isinstance(node, Load | Store)))
    for access in accesses:
        if _over(access) not in ((rows, cols), (cols,) if isinstance(access, Load) else ()):
            raise unsupported(kernel, f"an access to {access.tensor.name} that is not by ({rows.name}, {cols.name})")
    return Elementwise(rows, cols, stores, accesses)


def _inlined(kernel: Kernel) -> tuple[Store, ...]:
    """The stores of a kernel without loops, every variable replaced by its value.

    Raises:
        LoweringError: it has a loop.
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
    return tuple(stores)


def _inline(value: Value, bound: dict[Var, Value]) -> Value:
    if isinstance(value, Var):
        return bound[value]
    if isinstance(value, Map):
        return Map(value.op, tuple(_inline(arg, bound) for arg in value.args), value.dtype)
    if isinstance(value, Reduce):
        return Reduce(value.op, _inline(value.x, bound), value.over)
    return value


@dataclass(frozen=True, slots=True)
class Sections:
    """Stores of expressions over several axes, the last of which is contiguous in every tensor.

    Attributes:
        rows: the other axes, in the order of every tensor's dimensions.
        scalars: loads that vary over no axis.
        loads: the other distinct loads.
    """

    rows: tuple[Axis, ...]
    cols: Axis
    stores: tuple[Store, ...]
    scalars: tuple[Load, ...]
    loads: tuple[Load, ...]

    @property
    def accesses(self) -> tuple[Load | Store, ...]:
        """What varies over the axes."""
        return (*self.loads, *self.stores)


@lru_cache(maxsize=64)
def sections(kernel: Kernel) -> Sections:
    """The stores of a kernel without loops, every variable replaced by its value.

    Raises:
        LoweringError: it has a loop, a reduction, or an access whose axes are not those of the grid in order.
    """
    stores = _inlined(kernel)
    if any(isinstance(node, Reduce) for node in walk(stores)) or not stores:
        raise unsupported(kernel, "a reduction beside constant positions, or no store")
    loads = tuple(dict.fromkeys(node for node in walk(stores) if isinstance(node, Load)))
    scalars = tuple(load for load in loads if not _over(load))
    others = tuple(load for load in loads if _over(load))
    accesses: tuple[Load | Store, ...] = (*others, *stores)
    for access in accesses:
        if _over(access) != kernel.grid or access.index[-1].axis is None:
            raise unsupported(kernel, f"an access to {access.tensor.name} that is not by the grid's axes in order")
    return Sections(kernel.grid[:-1], kernel.grid[-1], stores, scalars, others)


def _over(access: Load | Store) -> tuple[Axis, ...]:
    return tuple(at.axis for at in access.index if at.axis is not None)
