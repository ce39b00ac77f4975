"""Schedules of kernels that reduce whole rows: one pass over the row for each reduction, one to store.

A value that several passes need is computed again in each, or kept from the first on: in a row of scratch memory, or
where the result will stand.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from quasim.errors import SpaceError
from quasim.kernels.index import Index, Num, Sym, least, num, round_up
from quasim.kernels.ir import Kernel, Load, Map, MapOp, Reduce, ReduceOp, Store, Value
from quasim.kernels.lower.parts import (
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
from quasim.kernels.lower.pattern import Elementwise, accesses, elementwise, unsupported
from quasim.kernels.lower.vectors import Vectors
from quasim.kernels.lowered import (
    Apply,
    Assign,
    Bind,
    Buffer,
    Fence,
    Fixed,
    For,
    Get,
    Keep,
    Lane,
    Let,
    Local,
    Lowered,
    Node,
    Operand,
    Partition,
    Prefetch,
    Put,
    Region,
    Scope,
    SumOrder,
)
from quasim.kernels.walk import walk
from quasim.trial import Genome

KEEP = ("nothing", "scratch", "output")
"""Values of gene ``keep``: where a value that several passes need is kept."""

_COMBINE: dict[ReduceOp, tuple[MapOp, float]] = {"sum": ("add", 0.0), "max": ("max", -math.inf)}
"""How two partial reductions become one, and what a lane without a term holds."""


@dataclass(frozen=True, slots=True)
class _Schedule:
    """The genes.

    Attributes:
        lanes: floats in a vector.
        unroll: vectors, and running reductions, in a step.
        keep: one of ``KEEP``.
        chunk: rows that a thread takes at a time.
        prefetch: ask for the next row during the second pass.
        stream: results go past the caches.
    """

    lanes: int
    unroll: int
    keep: str
    chunk: int
    prefetch: bool
    stream: bool
    threads: int

    @classmethod
    def of(cls, genome: Genome) -> _Schedule:
        keep = genome.get("keep")
        if keep not in KEEP:
            raise SpaceError(f"keep={keep!r} of genome {genome} is not known", f"choose one of {KEEP}")
        lanes, unroll, chunk, threads = (genome.integer(name) for name in ("lanes", "unroll", "chunk", "threads"))
        return cls(lanes, unroll, str(keep), chunk, flag(genome, "prefetch"), flag(genome, "stream"), threads)


def lower_rows(kernel: Kernel, genome: Genome) -> Lowered:
    """The loop nest of a kernel that reduces rows.

    Raises:
        LoweringError, SpaceError: see ``lower``.
    """
    parts, genes = elementwise(kernel), _Schedule.of(genome)
    passes = _passes(parts)
    if len(parts.stores) != 1 or parts.rows.whole or any(r.over != parts.cols for r in passes):
        raise unsupported(kernel, "several stores, or a reduction along rows")
    partitions = (
        Partition(parts.rows, (("chunk", genes.chunk), ("row", 1)), shared="chunk"),
        Partition(parts.cols, (("step", genes.lanes * genes.unroll), ("vector", genes.lanes))),
    )
    nest = _Nest(parts, genes, passes, _repeated(passes, parts.stores[0]) if genes.keep != "nothing" else None)
    sums = tuple(SumOrder(r.over, genes.lanes, genes.unroll) for r in passes if r.op == "sum")
    body = (Region(genes.threads, nest.nodes()),)
    return Lowered(kernel, genome, partitions, nest.buffers(), sums, body)


def _passes(parts: Elementwise) -> tuple[Reduce, ...]:
    """The reductions, each after those it depends on: ``walk`` names parents first."""
    found = [node for node in walk(parts.stores) if isinstance(node, Reduce)]
    return tuple(dict.fromkeys(reversed(found)))


def _repeated(passes: tuple[Reduce, ...], store: Store) -> Value | None:
    """The largest value that varies along the row, is more than a load, and is needed in two passes."""
    needs = [tuple(_until_reduce(value)) for value in (*(r.x for r in passes), store.value)]
    for i, values in enumerate(needs):
        for value in values:
            if isinstance(value, Map) and any(isinstance(n, Load) for n in _until_reduce(value)):
                if any(value in later for later in needs[i + 1 :]):
                    return value
    return None


def _until_reduce(value: Value) -> Iterator[Value]:
    """A value and its parts, largest first, without those of reductions, which are scalars by then."""
    yield value
    if isinstance(value, Map):
        for arg in value.args:
            yield from _until_reduce(arg)


_TOP, _ROW, _HEAD = Sym("top"), Sym("row"), Sym("head")


@dataclass(frozen=True, slots=True)
class _Nest:
    parts: Elementwise
    genes: _Schedule
    passes: tuple[Reduce, ...]
    kept: Value | None
    scalars: dict[Value, Local] = field(default_factory=dict)

    def buffers(self) -> tuple[Buffer, ...]:
        if self.kept is None or self.genes.keep != "scratch":
            return ()
        size = round_up(extent(self.parts.cols), self.genes.lanes) + self.genes.lanes
        return (Buffer("kept", (size,), Scope.THREAD, LINE_BYTES),)

    def nodes(self) -> tuple[Node, ...]:
        rows, genes = self.parts.rows, self.genes
        found = accesses(self.parts.stores)
        common = common_lanes(found, rows, _TOP, genes.chunk)
        cols = (self.parts.cols, Num(0), extent(self.parts.cols), genes.lanes)
        dead = (node for access in found for node in overrun(access, (rows, _TOP, num(genes.chunk), common), cols))
        row = (Let(_ROW.name, _TOP + Sym("r")), *self._row())
        chunk = (For("r", Num(0), common, 1, row), *dead)
        fence = (Fence(),) if genes.stream else ()
        return (For(_TOP.name, Num(0), extent(rows), genes.chunk, chunk, shared=True), *fence)

    def _row(self) -> tuple[Node, ...]:
        nodes: list[Node] = []
        for number, reduction in enumerate(self.passes):
            nodes += self._reduce(number, reduction)
        return (*nodes, *self._store())

    def _reduce(self, number: int, reduction: Reduce) -> list[Node]:
        """One pass; its result is a scalar from here on."""
        lanes, unroll, (op, identity) = self.genes.lanes, self.genes.unroll, _COMBINE[reduction.op]
        name = f"{reduction.op}_{number}"
        running = [Local(f"{name}_{u}", lanes) for u in range(unroll)]
        first = self.kept is not None and not any(self.kept in _until_reduce(r.x) for r in self.passes[:number])

        def body(spans: tuple[Span, ...]) -> tuple[Node, ...]:
            vectors = Vectors(self.parts.cols, self.scalars)
            self._prefetch(number, spans, vectors)
            for accumulator, span in zip(running, spans, strict=False):
                if self.kept is not None and self.kept in _until_reduce(reduction.x):
                    self._hold(vectors, span, first)
                x = vectors.value(reduction.x, {self.parts.rows: _ROW}, span)
                x = x if span.end is None else Keep(x, span.count, identity, lanes)
                vectors.nodes.append(Assign(accumulator, Apply(op, (accumulator, x), lanes)))
            return tuple(vectors.nodes)

        start = [Bind(local, Fixed(identity, lanes)) for local in running]
        sweep = Sweep(f"col{number}", self.parts.cols, Num(0), extent(self.parts.cols), lanes, unroll)
        loops = sweep.loops(body)
        self.scalars[reduction] = Local(name, 1)
        return [*start, *loops, *_tree(op, running, Local(name, 1))]

    def _store(self) -> tuple[Node, ...]:
        store, cols = self.parts.stores[0], self.parts.cols

        def body(spans: tuple[Span, ...]) -> tuple[Node, ...]:
            vectors = Vectors(cols, self.scalars)
            for span in spans:
                if self.kept is not None:
                    self._hold(vectors, span, first=False)
                value = vectors.value(store.value, {self.parts.rows: _ROW}, span)
                index, live = place(store, {self.parts.rows: _ROW, cols: span.start}), span.live(store, cols)
                stream = self.genes.stream and live is None
                vectors.nodes.append(Put(store.tensor.name, index, value, span.lanes, live, stream))
            return tuple(vectors.nodes)

        names, head = (), Num(0) + 0
        if self.genes.stream:
            aligned = aligned_head(store, {self.parts.rows: _ROW, cols: Num(0)}, self.genes.lanes)
            names, head = (Let(_HEAD.name, least(aligned, extent(cols))),), _HEAD
        sweep = Sweep("col", cols, head, extent(cols), self.genes.lanes, self.genes.unroll, head)
        return (*names, *sweep.peel(body), *sweep.loops(body))

    def _hold(self, vectors: Vectors, span: Span, first: bool) -> None:
        """Make the kept value known at some columns: the first pass computes and keeps it, the others read it."""
        assert self.kept is not None
        buffer, index, live = self._home(span)
        if first:
            value: Operand = vectors.bind(vectors.value(self.kept, {self.parts.rows: _ROW}, span), span.lanes)
            vectors.nodes.append(Put(buffer, index, value, span.lanes, live))
        else:
            value = vectors.get(Get(buffer, index, span.lanes, live))
        vectors.known[self.kept, span.start] = value

    def _home(self, span: Span) -> tuple[str, tuple[Index, ...], Index | None]:
        store = self.parts.stores[0]
        if self.genes.keep == "scratch":
            return "kept", (span.start,), None
        index = place(store, {self.parts.rows: _ROW, self.parts.cols: span.start})
        return store.tensor.name, index, span.live(store, self.parts.cols)

    def _prefetch(self, number: int, spans: tuple[Span, ...], vectors: Vectors) -> None:
        """Ask for the next row, one element a cache line, while the second pass computes."""
        if not self.genes.prefetch or number != 1 or len(spans) != self.genes.unroll or spans[0].end is not None:
            return
        below = least(_ROW + 1, extent(self.parts.rows) - 1)
        line = LINE_BYTES // 4
        loads = [access for access in accesses(self.parts.stores) if isinstance(access, Load)]
        for load in loads:
            for offset in range(0, self.genes.unroll * self.genes.lanes, line):
                at = {self.parts.rows: below, self.parts.cols: spans[0].start + offset}
                vectors.nodes.append(Prefetch(load.tensor.name, place(load, at)))


def _tree(op: MapOp, running: list[Local], result: Local) -> Iterator[Node]:
    """Combine the running reductions pairwise, then the lanes of the last one."""
    vectors: list[Operand] = list(running)
    lanes = running[0].lanes
    while len(vectors) > 1:
        pairs = [Apply(op, (a, b), lanes) for a, b in zip(vectors[::2], vectors[1::2], strict=False)]
        vectors = [*pairs, *vectors[len(pairs) * 2 :]]
    whole = Local(f"{result.name}_lanes", lanes)
    yield Bind(whole, vectors[0])
    scalars: list[Operand] = [Lane(whole, lane) for lane in range(lanes)]
    while len(scalars) > 1:
        half = len(scalars) // 2
        scalars = [Apply(op, (scalars[i], scalars[i + half]), 1) for i in range(half)]
    yield Bind(result, scalars[0])
