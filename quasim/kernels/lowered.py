"""Level 2 of a kernel's description, the lowered kernel: how it is computed, as an explicit loop nest.

A genome has chosen the schedule; nothing is left to choose. Emitters print the nest node by node, and proofs are made
about it. Every access to memory is a ``Get``, ``Put`` or ``Touch`` in the body, and what guards it is what stands
around it: loop bounds, conditions, clamped positions and the number of ``live`` lanes. ``Lowered.accesses`` collects
these by walking the body, so that there is nothing to keep in step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import reduce
from itertools import pairwise
from typing import Literal

from quasim.errors import SpaceError
from quasim.kernels.index import Index, Num, Sym, extent_name
from quasim.kernels.ir import Axis, Blocks, Dim, Kernel, MapOp
from quasim.trial import Genome


@dataclass(frozen=True, slots=True)
class Fixed:
    """A number in every lane."""

    value: float
    lanes: int


@dataclass(frozen=True, slots=True)
class Count:
    """An integer as a scalar."""

    value: Index


@dataclass(frozen=True, slots=True)
class Local:
    """A named register of ``lanes`` floats (1: a scalar)."""

    name: str
    lanes: int


@dataclass(frozen=True, slots=True)
class Get:
    """Read ``lanes`` neighbours along the last dimension of a buffer, the first at ``index``.

    Registers hold float32: what a tensor holds in 16 bits is widened as it is read, and rounded by ``Put``.

    Attributes:
        live: touch only so many of them (clamped to 0…lanes) and put 0 in the others; None: touch all.
    """

    buffer: str
    index: tuple[Index, ...]
    lanes: int
    live: Index | None = None


@dataclass(frozen=True, slots=True)
class Spread:
    """A scalar in every lane."""

    value: Operand
    lanes: int


LoweredOp = MapOp | Literal["larger"]
"""Operations of the IR, and those that a lowering needs besides."""


@dataclass(frozen=True, slots=True)
class Apply:
    """An elementwise operation. ``max`` is NaN where either is; ``larger`` is the second where they are unordered."""

    op: LoweredOp
    args: tuple[Operand, ...]
    lanes: int


@dataclass(frozen=True, slots=True)
class Lane:
    """One lane of a vector, as a scalar."""

    value: Local
    lane: int


@dataclass(frozen=True, slots=True)
class Keep:
    """The first ``live`` lanes of a vector, and ``fill`` in the others."""

    value: Operand
    live: Index
    fill: float
    lanes: int


Operand = Fixed | Count | Local | Get | Spread | Apply | Lane | Keep


@dataclass(frozen=True, slots=True)
class Let:
    """Name an integer for the rest of the enclosing block."""

    name: str
    value: Index


@dataclass(frozen=True, slots=True)
class Bind:
    """Declare a register with a first value.

    Attributes:
        pinned: the value is in a register from here on: not read from memory again at each use, nor moved elsewhere.
    """

    local: Local
    value: Operand
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Assign:
    """Give a register a new value; ``pinned`` as in ``Bind``."""

    local: Local
    value: Operand
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Put:
    """Write a vector to neighbours along the last dimension of a buffer; ``live`` as in ``Get``.

    Attributes:
        stream: go past the caches where the address is aligned to the vector. Fast where whole cache lines are
            streamed one after the other, slow where a line is written in part.
    """

    buffer: str
    index: tuple[Index, ...]
    value: Operand
    lanes: int
    live: Index | None = None
    stream: bool = False


@dataclass(frozen=True, slots=True)
class Touch:
    """A read whose value nobody uses: the dead lanes of a load that lacks a guard."""

    value: Get


@dataclass(frozen=True, slots=True)
class Prefetch:
    """A hint that an element, which must exist, is soon read."""

    buffer: str
    index: tuple[Index, ...]


@dataclass(frozen=True, slots=True)
class Compare:
    """``left op right``."""

    left: Index
    op: Literal["<", "<=", "=="]
    right: Index


@dataclass(frozen=True, slots=True)
class If:
    """``then`` where every condition holds, else ``otherwise``."""

    conditions: tuple[Compare, ...]
    then: tuple[Node, ...]
    otherwise: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class For:
    """``name`` from ``low`` in steps while below ``high``; ``shared``: each iteration is run by one thread of the
    region, and all threads wait for one another at the end."""

    name: str
    low: Index
    high: Index
    step: int
    body: tuple[Node, ...]
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Region:
    """Run the body by a team of threads; what is not in a shared loop, every one of them does."""

    threads: int
    body: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Fence:
    """Make the streamed stores of this thread visible to all."""


Node = Let | Bind | Assign | Put | Touch | Prefetch | If | For | Region | Fence


class Scope(str, Enum):
    """Who sees a buffer."""

    SHARED = "shared"
    THREAD = "thread"


@dataclass(frozen=True, slots=True)
class Buffer:
    """Scratch memory of float32.

    Attributes:
        shape: sizes, in launch extents alone.
        alignment: of its first element, in bytes.
    """

    name: str
    shape: tuple[Index, ...]
    scope: Scope
    alignment: int = 64


@dataclass(frozen=True, slots=True)
class Partition:
    """How an axis is cut, outermost first: by each size into pieces, those into smaller ones, and so on.

    Each size is a multiple of the next, so pieces never straddle a cut and every position has exactly one owner.

    Attributes:
        sizes: (what the pieces are, steps in each), such as ``("block", 96), ("register tile", 6)``.
        shared: the level whose pieces are dealt out to threads; None: all threads see all of the axis.
    """

    axis: Axis
    sizes: tuple[tuple[str, int], ...]
    shared: str | None = None

    def __post_init__(self) -> None:
        steps = [size for _, size in self.sizes]
        if any(size < 1 for size in steps) or any(a % b for a, b in pairwise(steps)):
            raise SpaceError(f"axis {self.axis.name}: {self.sizes} do not nest", "make each a multiple of the next")


@dataclass(frozen=True, slots=True)
class SumOrder:
    """The true order of a summation, on which its error bound rests.

    With one lane and one accumulator the terms are added one after the other. Otherwise terms are dealt out to
    ``lanes`` × ``unroll`` running sums, those are added pairwise, and then the lanes pairwise.
    """

    over: Axis
    lanes: int = 1
    unroll: int = 1

    def depth(self, terms: int) -> int:
        """Most additions that any of so many terms passes through."""
        step = self.lanes * self.unroll
        running = terms // step + -(-(terms % step) // self.lanes)
        return running + (self.unroll - 1).bit_length() + (self.lanes - 1).bit_length()


@dataclass(frozen=True, slots=True)
class Access:
    """One access of the body, and all that stands around it, outermost first.

    Attributes:
        kind: ``load`` or ``store``.
        around: the loops, conditions and names in whose scope it is; a condition of an ``otherwise`` is left out, so
            that what is stated always holds.
    """

    kind: Literal["load", "store"]
    buffer: str
    index: tuple[Index, ...]
    lanes: int
    live: Index | None
    around: tuple[For | Compare | Let, ...]


@dataclass(frozen=True, slots=True)
class Lowered:
    """A kernel with its schedule.

    Attributes:
        partitions: how each axis is cut.
        buffers: scratch memory.
        sums: the order of every summation.
        body: the loop nest.
    """

    kernel: Kernel
    genome: Genome
    partitions: tuple[Partition, ...]
    buffers: tuple[Buffer, ...]
    sums: tuple[SumOrder, ...]
    body: tuple[Node, ...]

    @property
    def accesses(self) -> tuple[Access, ...]:
        """Every access to memory, in the order of the body."""
        return tuple(_accesses(self.body, ()))

    @property
    def shapes(self) -> dict[str, tuple[Index, ...]]:
        """Sizes of every tensor and buffer by name, in launch extents."""
        tensors = {t.name: tuple(size(d) for d in t.shape) for t in self.kernel.tensors}
        return {**tensors, **{b.name: b.shape for b in self.buffers}}


def size(dim: Dim | Blocks | int) -> Index:
    """The extent of a tensor's dimension as an expression."""
    if isinstance(dim, Blocks):
        return (size(dim.dim) + (dim.size - 1)) // dim.size
    return Num(dim) if isinstance(dim, int) else Sym(extent_name(dim.name))


def flat(index: tuple[Index, ...], shape: tuple[Index, ...]) -> Index:
    """Offset of an element from the first, row-major."""
    return reduce(lambda offset, at: offset * at[1] + at[0], zip(index, shape, strict=True), Num(0) + 0)


Around = tuple[For | Compare | Let, ...]


def _accesses(body: tuple[Node, ...], around: Around) -> Iterator[Access]:
    for node in body:
        yield from _node_accesses(node, around)
        if isinstance(node, Let):
            around = (*around, node)


def _node_accesses(node: Node, around: Around) -> Iterator[Access]:
    if isinstance(node, For):
        yield from _accesses(node.body, (*around, node))
    elif isinstance(node, If):
        yield from _accesses(node.then, (*around, *node.conditions))
        yield from _accesses(node.otherwise, around)
    elif isinstance(node, Region):
        yield from _accesses(node.body, around)
    elif isinstance(node, Bind | Assign | Put | Touch):
        yield from _loads(node.value, around)
    if isinstance(node, Put):
        yield Access("store", node.buffer, node.index, node.lanes, node.live, around)


def _loads(value: Operand, around: Around) -> Iterator[Access]:
    if isinstance(value, Get):
        yield Access("load", value.buffer, value.index, value.lanes, value.live, around)
    elif isinstance(value, Apply):
        for arg in value.args:
            yield from _loads(arg, around)
    elif isinstance(value, Spread | Lane | Keep):
        yield from _loads(value.value, around)
