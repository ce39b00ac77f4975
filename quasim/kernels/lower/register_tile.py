"""The innermost part of a contraction: a tile of results held in named registers while k runs."""

from __future__ import annotations

from collections.abc import Callable

from quasim.kernels.index import Index, Num, Sym, num, round_down
from quasim.kernels.lower.blocking import (
    COL,
    COL_BLOCK,
    COL_TILE,
    DEPTH,
    K_BLOCK,
    LEFT,
    RIGHT,
    ROW,
    ROW_TILE,
    STEP,
    SUMS,
    Blocking,
    whole,
)
from quasim.kernels.lower.parts import extent, lanes
from quasim.kernels.lowered import (
    Apply,
    Assign,
    Bind,
    Compare,
    Fixed,
    For,
    Get,
    If,
    Let,
    Local,
    Node,
    Put,
    Spread,
    Touch,
)

_Result = Callable[[Blocking, Local, int, int, Index | None], Node]
"""What is done with a register: its row, first column and live lanes (None: all)."""


def register_tile(blocking: Blocking) -> tuple[Node, ...]:
    """One tile, from its partial sums (0 in the first k block) to its place in the output."""
    clear = tuple(Bind(acc, Fixed(0.0, acc.lanes)) for acc, _, _ in _accumulators(blocking))
    waiting = _waiting(blocking) if blocking.sums_wait_apart else _results(blocking, _resume)
    resume = If((Compare(Num(0), "<", K_BLOCK),), waiting)
    return (*_left_rows(blocking), *clear, resume, *_sum(blocking), *_finish(blocking))


def _waiting(blocking: Blocking) -> tuple[Node, ...]:
    """Read the tile's sums from where they wait apart, which has room for dead lanes."""
    return tuple(Assign(acc, Get(SUMS, _apart(r, offset), acc.lanes)) for acc, r, offset in _accumulators(blocking))


def _finish(blocking: Blocking) -> tuple[Node, ...]:
    """Leave the sums in the output; where it would round them, not before the last k block."""
    if not blocking.sums_wait_apart:
        return _results(blocking, _write)
    last = Compare(extent(blocking.parts.over), "<=", K_BLOCK + blocking.kc)
    wait = tuple(Put(SUMS, _apart(r, offset), acc, acc.lanes) for acc, r, offset in _accumulators(blocking))
    return (If((last,), _results(blocking, _write), wait),)


def _apart(r: int, offset: int) -> tuple[Index, ...]:
    return (ROW + r, COL - COL_BLOCK + offset)


def _accumulators(blocking: Blocking) -> list[tuple[Local, int, int]]:
    """Each register of the tile, with its row and its first column."""
    return [
        (Local(f"acc_{r}_{v}", blocking.lanes), r, v * blocking.lanes)
        for r in range(blocking.mr)
        for v in range(blocking.nv)
    ]


def _left_rows(blocking: Blocking) -> tuple[Node, ...]:
    """Where the rows stand that are read in place: a guarded dead row repeats the last live one."""
    if blocking.pack_a:
        return ()
    load, rows = blocking.parts.left, blocking.parts.rows
    last = (lanes(load, rows, Num(0), ROW + (r + 1)) - 1 for r in range(blocking.mr))
    return tuple(Let(f"row{r}", row) for r, row in enumerate(last))


def _sum(blocking: Blocking) -> tuple[Node, ...]:
    """The ``Dot``: over the live steps of the k block, in ascending order."""
    unrolled = Let("unrolled", round_down(DEPTH, blocking.ku))
    conditions = whole(blocking.parts.right.guard, blocking.parts.cols, COL, blocking.nr)
    if blocking.pack_b or not conditions:
        return (unrolled, *_steps(blocking, not blocking.pack_b))
    return (unrolled, If(conditions, _steps(blocking, True), _steps(blocking, False)))


def _steps(blocking: Blocking, in_place: bool) -> tuple[Node, ...]:
    written_out = tuple(node for u in range(blocking.ku) for node in _multiply(blocking, STEP + u, u, in_place))
    main = For(STEP.name, Num(0), Sym("unrolled"), blocking.ku, written_out)
    rest = For(STEP.name, Sym("unrolled"), DEPTH, 1, _multiply(blocking, STEP, 0, in_place))
    return (main, *((rest,) if blocking.ku > 1 else ()), *_unused_steps(blocking, in_place))


def _multiply(blocking: Blocking, p: Index, u: int, in_place: bool) -> tuple[Node, ...]:
    """One step of k. The product stands within the sum, so that the compiler fuses the two."""
    width = blocking.lanes
    rights = {v * width: Local(f"b{u}_{v}", width) for v in range(blocking.nv)}
    nodes: list[Node] = [Bind(b, _right(blocking, p, offset, in_place), pinned=True) for offset, b in rights.items()]
    for acc, r, offset in _accumulators(blocking):
        a = Local(f"a{u}_{r}", width)
        if offset == 0:
            nodes.append(Bind(a, Spread(_left(blocking, p, r), width)))
        total = Apply("add", (acc, Apply("mul", (a, rights[offset]), width)), width)
        nodes.append(Assign(acc, total, pinned=u + 1 < blocking.ku))
    return tuple(nodes)


def _left(blocking: Blocking, p: Index, row: int) -> Get:
    if blocking.pack_a:
        return Get(LEFT, (ROW_TILE, p, num(row)), 1)
    load = blocking.parts.left
    at = {blocking.parts.rows: Sym(f"row{row}"), blocking.parts.over: K_BLOCK + p}
    return Get(load.tensor.name, blocking.place(load, at), 1)


def _right(blocking: Blocking, p: Index, offset: int, in_place: bool) -> Get:
    if not in_place:
        return Get(RIGHT, (COL_TILE, p, num(offset)), blocking.lanes)
    load = blocking.parts.right
    at = {blocking.parts.cols: COL + offset, blocking.parts.over: K_BLOCK + p}
    return Get(load.tensor.name, blocking.place(load, at), blocking.lanes)


def _unused_steps(blocking: Blocking, in_place: bool) -> tuple[Node, ...]:
    """Steps past the end of k that an operand read in place is not guarded against; the ``Dot`` ignores them."""
    lefts = [] if blocking.pack_a else [_left(blocking, STEP, r) for r in range(blocking.mr)]
    rights = [_right(blocking, STEP, v * blocking.lanes, True) for v in range(blocking.nv)] if in_place else []
    nodes: list[Node] = []
    for load, gets in ((blocking.parts.left, lefts), (blocking.parts.right, rights)):
        own = lanes(load, blocking.parts.over, K_BLOCK, blocking.kc)
        if gets and own != blocking.depth:
            nodes.append(For(STEP.name, DEPTH, own, 1, tuple(Touch(get) for get in gets)))
    return tuple(nodes)


def _results(blocking: Blocking, access: _Result) -> tuple[Node, ...]:
    """Read or write the tile's place in the output: at once where it is whole, else row by row and masked."""
    parts = blocking.parts
    rows = whole(parts.store.guard, parts.rows, ROW, blocking.mr)
    cols = whole(parts.store.guard, parts.cols, COL, blocking.nr)
    at_once = tuple(access(blocking, *place_of, None) for place_of in _accumulators(blocking))
    if not rows and not cols:
        return at_once
    masked: list[Node] = []
    for acc, r, offset in _accumulators(blocking):
        live = lanes(parts.store, parts.cols, COL + offset, blocking.lanes) if cols else None
        node = access(blocking, acc, r, offset, live)
        masked.append(If(whole(parts.store.guard, parts.rows, ROW + r, 1), (node,)) if rows else node)
    return (If((*rows, *cols), at_once, tuple(masked)),)


def _output(blocking: Blocking, r: int, offset: int) -> tuple[Index, ...]:
    parts = blocking.parts
    return blocking.place(parts.store, {parts.rows: ROW + r, parts.cols: COL + offset})


def _resume(blocking: Blocking, acc: Local, r: int, offset: int, live: Index | None) -> Node:
    get = Get(blocking.parts.store.tensor.name, _output(blocking, r, offset), acc.lanes, live)
    return Assign(acc, get)


def _write(blocking: Blocking, acc: Local, r: int, offset: int, live: Index | None) -> Node:
    return Put(blocking.parts.store.tensor.name, _output(blocking, r, offset), acc, acc.lanes, live)
