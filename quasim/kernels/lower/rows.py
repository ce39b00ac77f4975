"""Schedules of kernels that reduce whole rows: one pass over the row for each reduction, and one to store.

A value that several passes need is computed again in each, or kept. Done row by row, reading, computing and writing
take turns, and the memory idles for a while in each. Overlapped, a row is stored while the next is reduced: a software
pipeline of two stages (Lam 1988), which comes near a copy's bandwidth where the simple order gets two thirds of it.
"""

from __future__ import annotations

from quasim.kernels.index import Index, Num, Sym, least, most, num, round_down, round_up
from quasim.kernels.ir import Kernel
from quasim.kernels.lower.parts import LINE_BYTES, NOTHING, Span, Sweep, aligned_head, common_lanes, extent, overrun
from quasim.kernels.lower.pattern import elementwise, unsupported
from quasim.kernels.lower.row_passes import SCRATCH, At, Passes, Schedule
from quasim.kernels.lowered import (
    Assign,
    Bind,
    Buffer,
    Compare,
    Fence,
    Fixed,
    For,
    If,
    Let,
    Lowered,
    Node,
    Partition,
    Region,
    Scope,
    SumOrder,
)
from quasim.trial import Genome

_TOP, _NUMBER, _ROW, _HEAD, _PAIRED = (Sym(name) for name in ("top", "r", "row", "head", "paired"))


def lower_rows(kernel: Kernel, genome: Genome) -> Lowered:
    """The loop nest of a kernel that reduces rows.

    Raises:
        LoweringError, SpaceError: see ``lower``.
    """
    parts, genes = elementwise(kernel), Schedule.of(genome)
    if len(parts.stores) != 1 or parts.rows.whole:
        raise unsupported(kernel, "several stores, or two whole axes")
    passes = Passes.of(parts, genes)
    if not passes.reductions or any(r.over != parts.cols for r in passes.reductions):
        raise unsupported(kernel, "no reduction, or one along another axis than the contiguous one")
    partitions = (
        Partition(parts.rows, (("chunk", genes.chunk), ("row", 1)), shared="chunk"),
        Partition(parts.cols, (("step", genes.lanes * genes.unroll), ("vector", genes.lanes))),
    )
    sums = tuple(SumOrder(r.over, genes.lanes, genes.unroll) for r in passes.reductions if r.op == "sum")
    body = (Region(genes.threads, _chunks(passes)),)
    return Lowered(kernel, genome, partitions, _buffers(passes), sums, body)


def _buffers(passes: Passes) -> tuple[Buffer, ...]:
    """Scratch rows, with a vector to spare as stores begin at an aligned column and so their vectors end later."""
    if passes.kept is None or passes.genes.keep != "scratch":
        return ()
    size = round_up(extent(passes.parts.cols), passes.genes.lanes) + passes.genes.lanes
    return (Buffer(SCRATCH, (Num(2 if passes.genes.overlap else 1), size), Scope.THREAD, LINE_BYTES),)


def _chunks(passes: Passes) -> tuple[Node, ...]:
    parts, genes = passes.parts, passes.genes
    found = parts.accesses
    common = common_lanes(found, parts.rows, _TOP, genes.chunk)
    cols = (parts.cols, Num(0), extent(parts.cols), genes.lanes)
    dead = (node for access in found for node in overrun(access, (parts.rows, _TOP, num(genes.chunk), common), cols))
    rows = _overlapped(passes, common) if genes.overlap else _one_by_one(passes, common)
    fence = (Fence(),) if genes.stream else ()
    return (For(_TOP.name, Num(0), extent(parts.rows), genes.chunk, (*rows, *dead), shared=True), *fence)


def _one_by_one(passes: Passes, common: Index) -> tuple[Node, ...]:
    at = At(_ROW, Num(0), passes.scalars())
    head, named = _head(passes, _ROW)
    store = _sweep(passes, "col", head, head)
    body = (
        Let(_ROW.name, _TOP + _NUMBER),
        *(Bind(local, Fixed(0.0, 1)) for local in at.scalars.values()),
        *(node for number in range(len(passes.reductions)) for node in _reduction(passes, number, at)),
        *named,
        *store.peel(passes.store(at)),
        *store.loops(passes.store(at)),
    )
    return (For(_NUMBER.name, Num(0), common, 1, body),)


def _overlapped(passes: Passes, common: Index) -> tuple[Node, ...]:
    """One turn more than there are rows: in turn r, row r is reduced and row r − 1 stored.

    The columns that are paired are those of whole steps, and none in the first and last turn; the rest of each row
    follows on its own.
    """
    last = len(passes.reductions) - 1
    now = At(_ROW, _NUMBER % 2, passes.scalars())
    before = At(_ROW - 1, (_NUMBER + 1) % 2, passes.scalars_before())
    begun, stored = (Compare(_NUMBER, "<", common),), (Compare(Num(0), "<", _NUMBER),)
    head, named = _head(passes, most(before.row, 0))
    peeled, rest = _sweep(passes, "col", head, head), _sweep(passes, "col", _PAIRED + head)
    step = passes.genes.lanes * passes.genes.unroll
    at, body = Sym("pair"), passes.reduce(last, now)
    pair = (*body(_spans(passes, at)), *passes.store(before)(_spans(passes, at + head)))
    both = least(_NUMBER, 1) * least(common - _NUMBER, 1)
    turn = (
        Let(_ROW.name, _TOP + _NUMBER),
        *(Bind(local, Fixed(0.0, 1)) for local in now.scalars.values()),
        If(begun, tuple(node for number in range(last) for node in _reduction(passes, number, now))),
        *passes.begin(last),
        *named,
        If(stored, peeled.peel(passes.store(before))),
        Let(_PAIRED.name, round_down(extent(passes.parts.cols) - head, step) * both),
        For(at.name, Num(0), _PAIRED, step, pair),
        If(begun, (*_sweep(passes, "left", _PAIRED).loops(body), *passes.end(last))),
        If(stored, rest.loops(passes.store(before))),
        *(Assign(old, now.scalars[value]) for value, old in before.scalars.items()),
    )
    first = (Bind(local, Fixed(0.0, 1)) for local in before.scalars.values())
    return (*first, For(_NUMBER.name, Num(0), common + 1, 1, turn))


def _reduction(passes: Passes, number: int, at: At) -> tuple[Node, ...]:
    """One whole reduction."""
    loops = _sweep(passes, f"col_{number}", Num(0)).loops(passes.reduce(number, at))
    return (*passes.begin(number), *loops, *passes.end(number))


def _sweep(passes: Passes, name: str, low: Index, head: Index = NOTHING) -> Sweep:
    genes, cols = passes.genes, passes.parts.cols
    return Sweep(name, cols, low, extent(cols), genes.lanes, genes.unroll, head)


def _spans(passes: Passes, at: Index) -> tuple[Span, ...]:
    lanes = passes.genes.lanes
    return tuple(Span(at + u * lanes, lanes) for u in range(passes.genes.unroll))


def _head(passes: Passes, row: Index) -> tuple[Index, tuple[Node, ...]]:
    """Columns of a row before the first aligned one, if results are streamed, and the name that holds their number."""
    parts = passes.parts
    if not passes.genes.stream:
        return Num(0), ()
    aligned = aligned_head(passes.output, {parts.rows: row, parts.cols: Num(0)})
    return _HEAD, (Let(_HEAD.name, least(aligned, extent(parts.cols))),)
