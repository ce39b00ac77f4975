"""The passes over one row: what each does with the vectors of a step, and how a reduction ends."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from quasim.errors import SpaceError
from quasim.kernels.index import Index, least
from quasim.kernels.ir import Load, Map, Reduce, ReduceOp, Store, Value
from quasim.kernels.lower.parts import FLOAT_BYTES, LINE_BYTES, Span, extent, flag, place, varies
from quasim.kernels.lower.pattern import Elementwise
from quasim.kernels.lower.vectors import Vectors
from quasim.kernels.lowered import (
    Apply,
    Assign,
    Bind,
    Fixed,
    Get,
    Keep,
    Lane,
    Local,
    LoweredOp,
    Node,
    Operand,
    Prefetch,
    Put,
)
from quasim.kernels.walk import walk
from quasim.trial import Genome

KEEP = ("nothing", "scratch", "output")
"""Values of gene ``keep``: where a value that several passes need is kept from the first on."""

SCRATCH = "kept"
"""Name of the scratch rows."""

_LINE = LINE_BYTES // FLOAT_BYTES
_COMBINE: dict[ReduceOp, tuple[LoweredOp, float]] = {"sum": ("add", 0.0), "max": ("larger", -math.inf)}
"""How two partial reductions become one, and what a lane without a term holds. A partial maximum is never NaN."""

Body = Callable[[tuple[Span, ...]], tuple[Node, ...]]


@dataclass(frozen=True, slots=True)
class Schedule:
    """The genes.

    Attributes:
        lanes: floats in a vector.
        unroll: vectors, and running reductions, in a step.
        keep: one of ``KEEP``.
        chunk: rows that a thread takes at a time.
        overlap: store each row during the last reduction of the next, so that reading, computing and writing overlap.
        prefetch: ask for the next row during the last reduction.
        stream: results go past the caches.
    """

    lanes: int
    unroll: int
    keep: str
    chunk: int
    overlap: bool
    prefetch: bool
    stream: bool
    threads: int

    @classmethod
    def of(cls, genome: Genome) -> Schedule:
        """The schedule of a genome.

        Raises:
            SpaceError: a gene is missing or not known.
        """
        keep = genome.get("keep")
        if keep not in KEEP:
            raise SpaceError(f"keep={keep!r} of genome {genome} is not known", f"choose one of {KEEP}")
        lanes, unroll, chunk, threads = (genome.integer(name) for name in ("lanes", "unroll", "chunk", "threads"))
        overlap, prefetch, stream = (flag(genome, name) for name in ("overlap", "prefetch", "stream"))
        return cls(lanes, unroll, str(keep), chunk, overlap, prefetch, stream, threads)


@dataclass(frozen=True, slots=True)
class At:
    """Which row a pass is about.

    Attributes:
        row: its position.
        slot: its place in scratch memory.
        scalars: registers of what is the same all along it.
    """

    row: Index
    slot: Index
    scalars: Mapping[Value, Local]


@dataclass(frozen=True, slots=True)
class Passes:
    """The passes over a row.

    Attributes:
        reductions: in the order of their dependence.
        uniform: the largest expressions that are the same all along a row, and are computed once for each.
        kept: a value that several passes need; None: nothing is kept.
    """

    parts: Elementwise
    genes: Schedule
    reductions: tuple[Reduce, ...]
    uniform: tuple[Value, ...]
    kept: Value | None

    @classmethod
    def of(cls, parts: Elementwise, genes: Schedule) -> Passes:
        """The passes that the single store of a kernel needs; ``walk`` names parents before what they depend on."""
        found = [node for node in walk(parts.stores) if isinstance(node, Reduce)]
        reductions = tuple(dict.fromkeys(reversed(found)))
        values = [*(r.x for r in reductions), parts.stores[0].value]
        uniform = tuple(dict.fromkeys(found for value in values for found in _uniform(value)))
        return cls(parts, genes, reductions, uniform, _repeated(values) if genes.keep != "nothing" else None)

    @property
    def output(self) -> Store:
        """The store."""
        return self.parts.stores[0]

    def running(self, number: int) -> list[Local]:
        """The running reductions of a pass, one for each vector of a step."""
        name = self.result(number).name
        return [Local(f"{name}_u{u}", self.genes.lanes) for u in range(self.genes.unroll)]

    def result(self, number: int) -> Local:
        """The register that a reduction ends in."""
        return Local(f"{self.reductions[number].op}_{number}", 1)

    def results(self) -> dict[Value, Local]:
        """The results by what they reduce."""
        return {reduction: self.result(number) for number, reduction in enumerate(self.reductions)}

    def scalars(self) -> dict[Value, Local]:
        """The results, and registers for what is computed of them once for each row."""
        return {**self.results(), **{value: Local(f"scalar_{n}", 1) for n, value in enumerate(self.uniform)}}

    def scalars_before(self) -> dict[Value, Local]:
        """Registers for the scalars of the row before, as far as storing it takes them."""
        scalars = self.scalars()
        needed = set(_needed(self.output.value, scalars, self.kept))
        return {value: Local(f"before_{local.name}", 1) for value, local in scalars.items() if value in needed}

    def begin(self, number: int) -> tuple[Node, ...]:
        """The running reductions, without a term."""
        _, identity = _COMBINE[self.reductions[number].op]
        return tuple(Bind(local, Fixed(identity, local.lanes)) for local in self.running(number))

    def end(self, number: int) -> tuple[Node, ...]:
        """Combine the running reductions pairwise, then the lanes of the last one, and compute what is now known."""
        op, _ = _COMBINE[self.reductions[number].op]
        vectors, scalars = Vectors(self.parts.cols, scalars=self.results()), self.scalars()
        known = (Assign(scalars[value], vectors.scalar(value)) for value in self.uniform if self._last(value) == number)
        return (*_tree(op, self.running(number), self.result(number)), *known)

    def _last(self, value: Value) -> int:
        """The last reduction that a value needs."""
        return max(self.reductions.index(part) for part in _above_reductions(value) if isinstance(part, Reduce))

    def reduce(self, number: int, at: At) -> Body:
        """What a reduction does with the vectors of a step."""
        reduction, lanes = self.reductions[number], self.genes.lanes
        op, identity = _COMBINE[reduction.op]

        def body(spans: tuple[Span, ...]) -> tuple[Node, ...]:
            vectors = Vectors(self.parts.cols, "x", at.scalars)
            if self.genes.prefetch and 0 < number == len(self.reductions) - 1 and len(spans) == self.genes.unroll:
                vectors.nodes += self._prefetch(spans, at)
            for running, span in zip(self.running(number), spans, strict=False):
                self._hold(vectors, span, at, number)
                x = vectors.value(reduction.x, {self.parts.rows: at.row}, span)
                x = x if span.end is None else Keep(x, span.count, identity, lanes)
                vectors.nodes.append(Assign(running, Apply(op, (x, running), lanes)))
            return tuple(vectors.nodes)

        return body

    def store(self, at: At) -> Body:
        """What the last pass does with the vectors of a step."""
        store, cols = self.output, self.parts.cols

        def body(spans: tuple[Span, ...]) -> tuple[Node, ...]:
            vectors = Vectors(cols, "y", at.scalars)
            for span in spans:
                self._hold(vectors, span, at, len(self.reductions))
                value = vectors.value(store.value, {self.parts.rows: at.row}, span)
                index, live = place(store, {self.parts.rows: at.row, cols: span.start}), span.live(store, cols)
                stream = self.genes.stream and live is None and len(spans) == self.genes.unroll
                vectors.nodes.append(Put(store.tensor.name, index, value, span.lanes, live, stream))
            return tuple(vectors.nodes)

        return body

    def _hold(self, vectors: Vectors, span: Span, at: At, number: int) -> None:
        """Make the kept value known at some columns, if the pass needs it: the first to do so computes and keeps it."""
        if self.kept is None:
            return
        values = (*(r.x for r in self.reductions), self.output.value)
        needs = [self.kept in _above_reductions(value) for value in values]
        if not needs[number]:
            return
        buffer, index, live = self._home(span, at)
        if any(needs[:number]):
            value: Operand = vectors.get(Get(buffer, index, span.lanes, live))
        else:
            value = vectors.bind(vectors.value(self.kept, {self.parts.rows: at.row}, span), span.lanes)
            vectors.nodes.append(Put(buffer, index, value, span.lanes, live))
        vectors.known[self.kept, span.start] = value

    def _home(self, span: Span, at: At) -> tuple[str, tuple[Index, ...], Index | None]:
        if self.genes.keep == "scratch":
            return SCRATCH, (at.slot, span.start), None
        index = place(self.output, {self.parts.rows: at.row, self.parts.cols: span.start})
        return self.output.tensor.name, index, span.live(self.output, self.parts.cols)

    def _prefetch(self, spans: tuple[Span, ...], at: At) -> Iterator[Node]:
        """Ask for the same columns of the next row, one element a cache line; the last row asks for itself."""
        below = least(at.row + 1, extent(self.parts.rows) - 1)
        loads = [a for a in self.parts.accesses if isinstance(a, Load) and varies(a, self.parts.rows)]
        for load in loads:
            for offset in range(0, self.genes.unroll * self.genes.lanes, _LINE):
                index = place(load, {self.parts.rows: below, self.parts.cols: spans[0].start + offset})
                yield Prefetch(load.tensor.name, index)


def _repeated(values: list[Value]) -> Value | None:
    """The first, largest value that varies along the row, is more than a load, and is needed by two passes."""
    parts = [tuple(_above_reductions(value)) for value in values]
    for i, found in enumerate(parts):
        for value in found:
            varies = any(isinstance(part, Load) for part in _above_reductions(value))
            if isinstance(value, Map) and varies and any(value in later for later in parts[i + 1 :]):
                return value
    return None


def _above_reductions(value: Value) -> Iterator[Value]:
    """A value and its parts, largest first, but not what reductions reduce: they are scalars by then."""
    yield value
    if isinstance(value, Map):
        for arg in value.args:
            yield from _above_reductions(arg)


def _uniform(value: Value) -> Iterator[Value]:
    """The largest parts of a value that reductions make and no load does."""
    if isinstance(value, Map):
        parts = tuple(_above_reductions(value))
        if any(isinstance(part, Reduce) for part in parts) and not any(isinstance(part, Load) for part in parts):
            yield value
        else:
            for arg in value.args:
                yield from _uniform(arg)


def _needed(value: Value, scalars: Mapping[Value, Local], kept: Value | None) -> Iterator[Value]:
    """The scalars that a value takes, unless by way of the kept one."""
    if value in scalars:
        yield value
    elif isinstance(value, Map) and value != kept:
        for arg in value.args:
            yield from _needed(arg, scalars, kept)


def _tree(op: LoweredOp, running: list[Local], result: Local) -> Iterator[Node]:
    vectors: list[Operand] = list(running)
    lanes = running[0].lanes
    while len(vectors) > 1:
        pairs: list[Operand] = [Apply(op, (a, b), lanes) for a, b in zip(vectors[::2], vectors[1::2], strict=False)]
        vectors = [*pairs, *vectors[len(pairs) * 2 :]]
    whole = Local(f"{result.name}_lanes", lanes)
    yield Bind(whole, vectors[0])
    scalars: list[Operand] = [Lane(whole, lane) for lane in range(lanes)]
    while len(scalars) > 1:
        half = len(scalars) // 2
        scalars = [Apply(op, (scalars[i], scalars[i + half]), 1) for i in range(half)]
    yield Assign(result, scalars[0])
