"""Schedules of kernels that combine sections of their arrays: tiles over all axes, dealt out to threads as one list.

The contiguous axis may be as short as a single step (a gate on the lowest qubit), so what does not fill a vector is
computed step by step rather than by masked vectors, which would cost as much for one lane as for all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from quasim.kernels.index import Index, Num, Sym, least, num, round_down
from quasim.kernels.ir import Axis, Kernel, Load, Store, Value
from quasim.kernels.lower.parts import FLOAT_BYTES, LINE_BYTES, Span, extent, flag, lanes, place
from quasim.kernels.lower.pattern import Sections, sections
from quasim.kernels.lower.vectors import Vectors
from quasim.kernels.lowered import (
    Bind,
    Fence,
    Fixed,
    For,
    Get,
    Let,
    Local,
    Lowered,
    Node,
    Partition,
    Prefetch,
    Put,
    Region,
    Touch,
    size,
)
from quasim.trial import Genome

_LINE = LINE_BYTES // FLOAT_BYTES
_WORK, _STEPS, _TAIL = Sym("work"), Sym("steps"), Sym("tail")


@dataclass(frozen=True, slots=True)
class _Schedule:
    """The genes.

    Attributes:
        lanes: floats in a vector.
        unroll: vectors in a step.
        tile_rows: steps of each leading axis in the tile that one thread works on before it takes the next.
        tile_cols: steps of the contiguous axis in it.
        ahead: how many cache lines ahead to prefetch; 0: none.
        stream: results go past the caches.
    """

    lanes: int
    unroll: int
    tile_rows: int
    tile_cols: int
    ahead: int
    stream: bool
    threads: int

    @classmethod
    def of(cls, genome: Genome) -> _Schedule:
        names = ("lanes", "unroll", "tile_rows", "tile_cols", "ahead")
        width, unroll, rows, cols, ahead = (genome.integer(name) for name in names)
        return cls(width, unroll, rows, cols, ahead, flag(genome, "stream"), genome.integer("threads"))


def lower_sections(kernel: Kernel, genome: Genome) -> Lowered:
    """The loop nest of a kernel whose accesses stand at constant positions of some dimensions.

    Raises:
        LoweringError, SpaceError: see ``lower``.
    """
    parts, genes = sections(kernel), _Schedule.of(genome)
    steps = (("tile", genes.tile_cols), ("step", genes.lanes * genes.unroll), ("vector", genes.lanes))
    rows = (Partition(axis, (("tile", genes.tile_rows), ("step", 1)), shared="tile") for axis in parts.rows)
    body = (Region(genes.threads, _Nest(parts, genes).nodes()),)
    return Lowered(kernel, genome, (*rows, Partition(parts.cols, steps, shared="tile")), (), (), body)


@dataclass(frozen=True)
class _Nest:
    parts: Sections
    genes: _Schedule

    @cached_property
    def axes(self) -> tuple[Axis, ...]:
        return (*self.parts.rows, self.parts.cols)

    @cached_property
    def scalars(self) -> dict[Value, Local]:
        """Registers of what is the same everywhere."""
        return {load: Local(f"s{number}", 1) for number, load in enumerate(self.parts.scalars)}

    def nodes(self) -> tuple[Node, ...]:
        held = [Bind(self.scalars[load], _read(load)) for load in self.parts.scalars]
        tiles: Index = num(1)
        for axis in self.axes:
            tiles = tiles * self._tiles(axis)
        fence = (Fence(),) if self.genes.stream else ()
        return (*held, For(_WORK.name, Num(0), tiles, 1, (*self._decode(), *self._tile()), shared=True), *fence)

    def _size(self, axis: Axis) -> int:
        return self.genes.tile_cols if axis == self.parts.cols else self.genes.tile_rows

    def _tiles(self, axis: Axis) -> Index:
        return (extent(axis) + (self._size(axis) - 1)) // self._size(axis)

    def _decode(self) -> Iterator[Node]:
        """Where the tile of this number begins along each axis, and where its live steps end."""
        rest: Index = _WORK
        for axis in reversed(self.axes):
            number = rest if axis == self.axes[0] else rest % self._tiles(axis)
            yield Let(_start(axis).name, number * self._size(axis))
            yield Let(_end(axis).name, least(_start(axis) + self._size(axis), extent(axis)))
            rest = rest // self._tiles(axis)

    def _tile(self) -> tuple[Node, ...]:
        dead = (node for access in self.parts.accesses for node in self._dead(access))
        low, count = _start(self.parts.cols), _end(self.parts.cols) - _start(self.parts.cols)
        steps = Let(_STEPS.name, low + round_down(count, self.genes.lanes * self.genes.unroll))
        tail = Let(_TAIL.name, low + round_down(count, self.genes.lanes))
        body = self._columns()
        for axis in reversed(self.parts.rows):
            body = (For(_at(axis).name, _start(axis), _end(axis), 1, body),)
        return (*dead, steps, tail, *body)

    def _columns(self) -> tuple[Node, ...]:
        """Several vectors at a time, then single ones, then what fills none."""
        cols, width, unroll = self.parts.cols, self.genes.lanes, self.genes.unroll
        at = _at(cols)
        spans = tuple(Span(at + u * width, width) for u in range(unroll))
        single = (For(at.name, _STEPS, _TAIL, width, self._compute(spans[:1])),) if unroll > 1 else ()
        return (
            For(at.name, _start(cols), _STEPS, width * unroll, (*self._prefetch(), *self._compute(spans))),
            *single,
            For(at.name, _TAIL, _end(cols), 1, self._compute((Span(at, 1),))),
        )

    def _compute(self, spans: tuple[Span, ...]) -> tuple[Node, ...]:
        """Loads first, stores last: sections are often a power of two apart, and a load that follows a store waits for
        it when the two addresses agree in their last 12 bits."""
        vectors = Vectors(self.parts.cols, scalars=self.scalars)
        at: dict[Axis, Index] = {axis: _at(axis) for axis in self.parts.rows}
        places = [(store, span) for span in spans for store in self.parts.stores]
        results = [vectors.value(store.value, at, span) for store, span in places]
        bound = [vectors.bind(result, span.lanes) for result, (_, span) in zip(results, places, strict=True)]
        stores = (self._put(*where, value) for where, value in zip(places, bound, strict=True))
        return (*vectors.nodes, *stores)

    def _put(self, store: Store, span: Span, value: Local) -> Put:
        index = place(store, {axis: _at(axis) for axis in self.parts.rows} | {self.parts.cols: span.start})
        return Put(store.tensor.name, index, value, span.lanes, stream=self.genes.stream and span.lanes > 1)

    def _prefetch(self) -> Iterator[Node]:
        """Ask for what lies some lines ahead in the same row; past its end, for its last element."""
        if not self.genes.ahead:
            return
        step, cols = self.genes.lanes * self.genes.unroll, self.parts.cols
        for load in self.parts.loads:
            for skip in range(0, step, _LINE):
                at = {axis: _at(axis) for axis in self.axes} | {cols: _at(cols) + (self.genes.ahead * _LINE + skip)}
                *front, last = place(load, at)
                yield Prefetch(load.tensor.name, (*front, least(last, size(load.tensor.shape[-1]) - 1)))

    def _dead(self, access: Load | Store) -> Iterator[Node]:
        """What an access does in the dead steps of a tile: nothing along an axis that it is guarded against."""
        counts = {axis: lanes(access, axis, _start(axis), self._size(axis)) for axis in self.axes}
        index = place(access, {axis: _start(axis) + _at(axis) for axis in self.axes})
        touch: Node = Touch(Get(access.tensor.name, index, 1))
        if isinstance(access, Store):
            touch = Put(access.tensor.name, index, Fixed(0.0, 1), 1)
        for unguarded in self.axes:
            live = _end(unguarded) - _start(unguarded)
            if counts[unguarded] == num(self._size(unguarded)):
                body = touch
                for axis in reversed(self.axes):
                    first = live if axis == unguarded else Num(0)
                    body = For(_at(axis).name, first, counts[axis], 1, (body,))
                yield body


def _read(load: Load) -> Get:
    return Get(load.tensor.name, place(load, {}), 1)


def _start(axis: Axis) -> Sym:
    return Sym(f"{axis.name}_low")


def _end(axis: Axis) -> Sym:
    return Sym(f"{axis.name}_high")


def _at(axis: Axis) -> Sym:
    return Sym(f"at_{axis.name}")
