"""What all schedules share: genes, extents, and how a guard becomes a bound.

``lanes`` is the one place where a guard is read: an access that is guarded against an axis touches only the live lanes
of a tile, one that is not touches them all. Every clamp, mask and padded copy of a lowered kernel comes from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from quasim.errors import SpaceError
from quasim.kernels.index import Index, Num, Sym, ToAligned, extent_name, least, num, round_down, round_up
from quasim.kernels.ir import Axis, Load, Store
from quasim.kernels.lowered import Compare, Fixed, For, Get, If, Let, Node, Put, Touch
from quasim.trial import Genome

FLOAT_BYTES = 4
NOTHING = num(0)
LINE_BYTES = 64
"""A cache line, and the widest vector."""


def flag(genome: Genome, name: str) -> bool:
    """The value of a boolean gene.

    Raises:
        SpaceError: the genome has no such gene.
    """
    value = genome.get(name)
    if not isinstance(value, bool):
        raise SpaceError(f"{name}={value!r} is not a boolean of genome {genome}", "take it from the kernel's space")
    return value


def extent(axis: Axis) -> Index:
    """Steps of an axis."""
    return Sym(extent_name(axis.dim.name)) - axis.trim


def lanes(access: Load | Store, axis: Axis, start: Index, tile: Index | int) -> Index:
    """How many lanes of the tile that begins at ``start`` an access touches along an axis."""
    return least(tile, extent(axis) - start) if axis in access.guard else num(tile)


def varies(access: Load | Store, axis: Axis) -> bool:
    """Whether an access is to different elements along an axis."""
    return any(at.axis == axis for at in access.index)


def place(access: Load | Store, at: Mapping[Axis, Index]) -> tuple[Index, ...]:
    """The element of an access, from positions on its axes."""
    return tuple((at[a.axis] if a.axis else NOTHING) + a.offset for a in access.index)


@dataclass(frozen=True, slots=True)
class Span:
    """A vector's worth of columns: ``lanes`` from ``start`` on.

    Attributes:
        end: where the axis ends, if that may be within the vector; None: the whole vector is live.
        cut: own only so many of the lanes, whatever the axis' extent; None: all.
    """

    start: Index
    lanes: int
    end: Index | None = None
    cut: Index | None = None

    def live(self, access: Load | Store, axis: Axis) -> Index | None:
        """Lanes that an access touches; None: all."""
        if self.end is None:
            return self.cut
        guarded = lanes(access, axis, self.start, self.lanes if self.cut is None else self.cut)
        return None if guarded == Num(self.lanes) else guarded

    @property
    def count(self) -> Index:
        """Live lanes of the vector."""
        whole = num(self.lanes) if self.cut is None else self.cut
        return whole if self.end is None else least(whole, self.end - self.start)


@dataclass(frozen=True, slots=True)
class Sweep:
    """A walk along the contiguous axis in vectors, several a step, with single vectors and a partial one at the end.

    Attributes:
        low, high: columns of this walk; ``high`` is the end of the axis, or of a tile that is a multiple of ``lanes``.
        head: columns before ``low`` that belong to this walk, fewer than a cache line; 0: none.
    """

    name: str
    axis: Axis
    low: Index
    high: Index
    lanes: int
    unroll: int = 1
    head: Index = NOTHING

    def peel(self, body: Callable[[tuple[Span, ...]], tuple[Node, ...]]) -> tuple[Node, ...]:
        """What is done with the columns before ``low``."""
        if self.head == Num(0):
            return ()
        first = self.low - self.head
        return tuple(
            If(
                (Compare(Num(skip), "<", self.head),),
                body((Span(first + skip, self.lanes, extent(self.axis), least(self.lanes, self.head - skip)),)),
            )
            for skip in range(0, LINE_BYTES // FLOAT_BYTES, self.lanes)
        )

    def loops(self, body: Callable[[tuple[Span, ...]], tuple[Node, ...]]) -> tuple[Node, ...]:
        """What is done with the others; ``body`` says it of the vectors of one step."""
        at, tail, steps = Sym(self.name), Sym(f"{self.name}_tail"), Sym(f"{self.name}_steps")
        count, step = self.high - self.low, self.lanes * self.unroll
        spans = tuple(Span(at + u * self.lanes, self.lanes) for u in range(self.unroll))
        nodes: list[Node] = [Let(tail.name, self.low + round_down(count, self.lanes))]
        if self.unroll > 1:
            nodes.append(Let(steps.name, self.low + round_down(count, step)))
            nodes.append(For(self.name, self.low, steps, step, body(spans)))
        first = steps if self.unroll > 1 else self.low
        nodes.append(For(self.name, first, tail, self.lanes, body(spans[:1])))
        rest = Span(tail, self.lanes, end=extent(self.axis))
        nodes.append(If((Compare(tail, "<", self.high),), body((rest,))))
        return tuple(nodes)


def aligned_head(store: Store, at: Mapping[Axis, Index]) -> Index:
    """Columns of a row that come before its first whole cache line: streamed stores are slow unless they fill lines."""
    return ToAligned(store.tensor.name, place(store, at), LINE_BYTES // FLOAT_BYTES)


def overrun(
    access: Load | Store, rows: tuple[Axis, Index, Index, Index], cols: tuple[Axis, Index, Index, int]
) -> tuple[Node, ...]:
    """What an access does in the dead rows of a tile: nothing if it is guarded, else what it does in all others.

    Args:
        access: a load or store.
        rows: the axis, where the tile starts, its lanes, and how many of them are computed on.
        cols: the axis, first column, one past the last, and the width of the vectors.
    """
    row_axis, start, tile, common = rows
    col_axis, low, high, width = cols
    own = lanes(access, row_axis, start, tile)
    if own == common or not varies(access, row_axis):
        return ()
    row, col = Sym("dead_row"), Sym("dead_col")
    index = place(access, {row_axis: start + row, col_axis: low + col})
    touch: Node = Touch(Get(access.tensor.name, index, 1))
    if isinstance(access, Store):
        touch = Put(access.tensor.name, index, Fixed(0.0, 1), 1)
    count = high - low if col_axis in access.guard else round_up(high - low, width)
    return (For(row.name, common, own, 1, (For(col.name, Num(0), count, 1, (touch,)),)),)


def common_lanes(found: tuple[Load | Store, ...], axis: Axis, start: Index, tile: Index | int) -> Index:
    """Lanes of a tile that every access along an axis touches, and that are computed on."""
    own = [lanes(access, axis, start, tile) for access in found if varies(access, axis)]
    return next((count for count in own if count != num(tile)), num(tile))
