"""Schedules of pointwise kernels: tiles of rows and columns, a few rows a step so that neighbours stay in registers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from quasim.kernels.index import Index, Num, Sym, least, most, num
from quasim.kernels.ir import Kernel, Load, Store, Tensor
from quasim.kernels.lower.parts import (
    FLOAT_BYTES,
    LINE_BYTES,
    NOTHING,
    Span,
    Sweep,
    aligned_head,
    common_lanes,
    extent,
    flag,
    overrun,
    place,
    varies,
)
from quasim.kernels.lower.pattern import Elementwise, elementwise, unsupported
from quasim.kernels.lower.vectors import Vectors
from quasim.kernels.lowered import (
    Compare,
    Fence,
    For,
    If,
    Let,
    Local,
    Lowered,
    Node,
    Partition,
    Prefetch,
    Put,
    Region,
    size,
)
from quasim.trial import Genome

_LINE = LINE_BYTES // FLOAT_BYTES
_TOP, _LEFT, _ROW, _LAST, _LOW, _HIGH, _HEAD = (
    Sym(name) for name in ("top", "left", "row", "last", "low", "high", "head")
)


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
        prefetch, stream, threads = flag(genome, "prefetch"), flag(genome, "stream"), genome.integer("threads")
        return cls(lanes, unroll, step_rows, tile_rows, tile_cols, prefetch, stream, threads)


def lower_pointwise(kernel: Kernel, genome: Genome) -> Lowered:
    """The loop nest of a kernel without reductions.

    Raises:
        LoweringError, SpaceError: see ``lower``.
    """
    parts, genes = elementwise(kernel), _Schedule.of(genome)
    if len(parts.stores) != 1:
        raise unsupported(kernel, "several stores")
    steps = (("tile", genes.tile_cols), ("step", genes.lanes * genes.unroll), ("vector", genes.lanes))
    partitions = (
        Partition(parts.rows, (("tile", genes.tile_rows), ("step", genes.step_rows)), shared="tile"),
        Partition(parts.cols, steps),
    )
    body = (Region(genes.threads, _Nest(parts, genes).nodes()),)
    return Lowered(kernel, genome, partitions, (), (), body)


@dataclass(frozen=True, slots=True)
class _Nest:
    parts: Elementwise
    genes: _Schedule

    @property
    def store(self) -> Store:
        return self.parts.stores[0]

    def nodes(self) -> tuple[Node, ...]:
        rows, cols, genes = extent(self.parts.rows), extent(self.parts.cols), self.genes
        bottom = least(_TOP + genes.tile_rows, rows)
        steps = For(_ROW.name, _TOP, bottom, genes.step_rows, self._step())
        strips = For(_LEFT.name, Num(0), cols, genes.tile_cols, (steps,))
        fence = (Fence(),) if genes.stream else ()
        return (For(_TOP.name, Num(0), rows, genes.tile_rows, (strips,), shared=True), *fence)

    def _step(self) -> tuple[Node, ...]:
        """The columns of a tile, for as many rows as are computed together; the last rows of the grid one by one."""
        count, axis = self.genes.step_rows, self.parts.rows
        found = self.parts.accesses
        common = common_lanes(found, axis, _ROW, count)
        together = self._columns(_ROW, count)
        if common == Num(count):
            return together
        single = For(_LAST.name, Num(0), common, 1, self._columns(_ROW + _LAST, 1))
        cols = (self.parts.cols, _LEFT, least(_LEFT + self.genes.tile_cols, extent(self.parts.cols)), self.genes.lanes)
        dead = (node for access in found for node in overrun(access, (axis, _ROW, num(count), common), cols))
        return (If((Compare(_ROW + count, "<=", extent(axis)),), together, (single, *dead)),)

    def _columns(self, first: Index, count: int) -> tuple[Node, ...]:
        """The columns of a tile for ``count`` rows: streamed, a tile begins with a whole cache line of the first row,
        and the columns before it belong to the first tile."""
        genes, head = self.genes, _HEAD if self.genes.stream else NOTHING
        aligned = aligned_head(self.store, {self.parts.rows: first, self.parts.cols: Num(0)})
        named = (Let(_HEAD.name, aligned),) if genes.stream else ()
        high = most(_LOW, least(_LEFT + genes.tile_cols + head, extent(self.parts.cols)))
        sweep = Sweep("col", self.parts.cols, _LOW, _HIGH, genes.lanes, genes.unroll, head)

        def body(spans: tuple[Span, ...]) -> tuple[Node, ...]:
            return self._compute([first + r for r in range(count)], spans)

        peeled = sweep.peel(body)
        before = (If((Compare(_LEFT, "==", Num(0)),), peeled),) if peeled else ()
        return (*named, Let(_LOW.name, _LEFT + head), Let(_HIGH.name, high), *before, *sweep.loops(body))

    def _compute(self, rows: list[Index], spans: tuple[Span, ...]) -> tuple[Node, ...]:
        """Loads first, stores last: a load that follows a streamed store waits for it when the two addresses agree
        in their last 12 bits, as those of neighbouring columns in two grids often do."""
        vectors = Vectors(self.parts.cols)
        if self.genes.prefetch and spans[0].end is None:
            vectors.nodes += self._prefetch(rows, spans)
        places = list(product(rows, spans))
        results = [vectors.value(self.store.value, {self.parts.rows: row}, span) for row, span in places]
        bound = [vectors.bind(result, span.lanes) for (_, span), result in zip(places, results, strict=True)]
        stream = self.genes.stream and len(spans) == self.genes.unroll
        stores = (self._put(row, span, value, stream) for (row, span), value in zip(places, bound, strict=True))
        return (*vectors.nodes, *stores)

    def _put(self, row: Index, span: Span, value: Local, stream: bool) -> Put:
        index = place(self.store, {self.parts.rows: row, self.parts.cols: span.start})
        live = span.live(self.store, self.parts.cols)
        return Put(self.store.tensor.name, index, value, span.lanes, live, stream and live is None)

    def _prefetch(self, rows: list[Index], spans: tuple[Span, ...]) -> Iterator[Node]:
        """Ask for the same columns of the rows that the next step needs first; past the end, for the last one."""
        lowest: dict[Tensor, Load] = {}
        for load in self.parts.accesses:
            if not isinstance(load, Load) or not varies(load, self.parts.rows):
                continue
            if load.index[0].offset >= lowest.get(load.tensor, load).index[0].offset:
                lowest[load.tensor] = load
        for load in lowest.values():
            for row, skip in product(rows, range(0, self.genes.lanes * len(spans), _LINE)):
                at = {self.parts.rows: row + len(rows), self.parts.cols: spans[0].start + skip}
                below, col = place(load, at)
                yield Prefetch(load.tensor.name, (least(below, size(load.tensor.shape[0]) - 1), col))
