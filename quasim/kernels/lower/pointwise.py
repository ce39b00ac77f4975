"""Schedules of pointwise kernels: tiles of rows and columns, a few rows a step so that neighbours stay in registers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from quasim.kernels.index import Index, Num, Sym, extent_name, least, most
from quasim.kernels.ir import Kernel, Load, Tensor
from quasim.kernels.lower.parts import (
    FLOAT_BYTES,
    LINE_BYTES,
    Span,
    Sweep,
    aligned_head,
    common_lanes,
    extent,
    flag,
    overrun,
    place,
)
from quasim.kernels.lower.pattern import Elementwise, accesses, elementwise
from quasim.kernels.lower.vectors import At, Vectors
from quasim.kernels.lowered import Compare, Fence, For, If, Let, Lowered, Node, Partition, Prefetch, Put, Region
from quasim.trial import Genome


@dataclass(frozen=True, slots=True)
class _Schedule:
    """The genes.

    Attributes:
        lanes: floats in a vector.
        unroll: vectors in a step.
        step_rows: rows computed together.
        tile_rows, tile_cols: the tile that one thread works on before it takes the next.
        prefetch: ask for the rows below those that are computed on.
        stream: results go past the caches.
    """

    lanes: int
    unroll: int
    step_rows: int
    tile_rows: int
    tile_cols: int
    prefetch: bool
    stream: bool
    threads: int

    @classmethod
    def of(cls, genome: Genome) -> _Schedule:
        names = ("lanes", "unroll", "step_rows", "tile_rows", "tile_cols")
        lanes, unroll, step_rows, tile_rows, tile_cols = (genome.integer(name) for name in names)
        return cls(
            lanes,
            unroll,
            step_rows,
            tile_rows,
            tile_cols,
            flag(genome, "prefetch"),
            flag(genome, "stream"),
            genome.integer("threads"),
        )


def lower_pointwise(kernel: Kernel, genome: Genome) -> Lowered:
    """The loop nest of a kernel without reductions.

    Raises:
        LoweringError, SpaceError: see ``lower``.
    """
    parts, genes = elementwise(kernel), _Schedule.of(genome)
    partitions = (
        Partition(parts.rows, (("tile", genes.tile_rows), ("step", genes.step_rows)), shared="tile"),
        Partition(
            parts.cols, (("tile", genes.tile_cols), ("step", genes.lanes * genes.unroll), ("vector", genes.lanes))
        ),
    )
    nest = _Nest(parts, genes).nodes()
    return Lowered(kernel, genome, partitions, (), (), (Region(genes.threads, nest),))


_TOP, _LEFT, _ROW, _LOW, _HIGH, _HEAD = (Sym(name) for name in ("top", "left", "row", "low", "high", "head"))


@dataclass(frozen=True, slots=True)
class _Nest:
    parts: Elementwise
    genes: _Schedule

    def nodes(self) -> tuple[Node, ...]:
        rows, cols, genes = extent(self.parts.rows), extent(self.parts.cols), self.genes
        bottom = least(_TOP + genes.tile_rows, rows)
        steps = For(_ROW.name, _TOP, bottom, genes.step_rows, self._step())
        strips = For(_LEFT.name, Num(0), cols, genes.tile_cols, (steps,))
        fence = (Fence(),) if genes.stream else ()
        return (For(_TOP.name, Num(0), rows, genes.tile_rows, (strips,), shared=True), *fence)

    def _step(self) -> tuple[Node, ...]:
        """All columns of a tile, for as many rows as are computed together."""
        count, axis = self.genes.step_rows, self.parts.rows
        found = accesses(self.parts.stores)
        common = common_lanes(found, axis, _ROW, count)
        together = self._row_group(_ROW, count)
        if common == Num(count):
            return together
        single = For("last", Num(0), common, 1, self._row_group(_ROW + Sym("last"), 1))
        cols = (self.parts.cols, _LEFT, least(_LEFT + self.genes.tile_cols, extent(self.parts.cols)), self.genes.lanes)
        dead = (node for access in found for node in overrun(access, (axis, _ROW, Num(count), common), cols))
        return (If((Compare(_ROW + count, "<=", extent(axis)),), together, (single, *dead)),)

    def _row_group(self, first: Index, count: int) -> tuple[Node, ...]:
        cols = extent(self.parts.cols)
        head, names = Num(0) + 0, ()
        if self.genes.stream:
            at = {self.parts.rows: first, self.parts.cols: Num(0)}
            head = _HEAD
            names = (Let(_HEAD.name, aligned_head(self.parts.stores[0], at)),)
        high = most(_LOW, least(_LEFT + self.genes.tile_cols + head, cols))
        sweep = Sweep("col", self.parts.cols, _LOW, _HIGH, self.genes.lanes, self.genes.unroll, head)

        def body(spans: tuple[Span, ...]) -> tuple[Node, ...]:
            return self._compute([first + r for r in range(count)], spans)

        peel = tuple(If((*node.conditions, Compare(_LEFT, "==", Num(0))), node.then) for node in sweep.peel(body))
        return (*names, Let(_LOW.name, _LEFT + head), Let(_HIGH.name, high), *peel, *sweep.loops(body))

    def _compute(self, rows: list[Index], spans: tuple[Span, ...]) -> tuple[Node, ...]:
        vectors = Vectors(self.parts.cols)
        if self.genes.prefetch and spans[0].end is None:
            vectors.nodes += self._prefetch(rows, spans)
        for row in rows:
            for span in spans:
                self._store_row({self.parts.rows: row}, span, vectors)
        return tuple(vectors.nodes)

    def _prefetch(self, rows: list[Index], spans: tuple[Span, ...]) -> Iterator[Node]:
        """Ask for the same columns of the rows that the next step needs first; past the end, for the last one."""
        lowest: dict[Tensor, Load] = {}
        for load in accesses(self.parts.stores):
            if isinstance(load, Load) and load.index[0].offset >= lowest.get(load.tensor, load).index[0].offset:
                lowest[load.tensor] = load
        for load in lowest.values():
            for row, skip in product(rows, range(0, self.genes.lanes * len(spans), LINE_BYTES // FLOAT_BYTES)):
                at = {self.parts.rows: row + len(rows), self.parts.cols: spans[0].start + skip}
                below, col = place(load, at)
                yield Prefetch(load.tensor.name, (least(below, Sym(extent_name(load.tensor.shape[0].name)) - 1), col))

    def _store_row(self, at: At, span: Span, vectors: Vectors) -> None:
        for store in self.parts.stores:
            value = vectors.value(store.value, at, span)
            index = place(store, {**at, self.parts.cols: span.start})
            live = span.live(store, self.parts.cols)
            stream = self.genes.stream and live is None
            vectors.nodes.append(Put(store.tensor.name, index, value, span.lanes, live, stream))
