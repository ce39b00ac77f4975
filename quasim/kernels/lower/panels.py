"""Packing the operands of a contraction into panels, in the order in which the register tile reads them.

Dead rows and columns of a panel are 0 and meet only dead results; no step of k is padded, as 0 · NaN is not 0.
"""

from __future__ import annotations

from quasim.kernels.index import Index, Num, Sym, num
from quasim.kernels.lower.blocking import COL, COL_TILE, K_BLOCK, LEFT, RIGHT, ROW, ROW_TILE, STEP, Blocking, whole
from quasim.kernels.lower.parts import lanes, place
from quasim.kernels.lowered import Fixed, For, Get, If, Node, Put


def pack_left(blocking: Blocking) -> tuple[Node, ...]:
    """Rows of a block into panels of ``mr`` rows, step by step of k."""
    if not blocking.pack_a:
        return ()
    load, mr, rows = blocking.parts.left, blocking.mr, blocking.parts.rows
    count, lane = lanes(load, rows, ROW, mr), Sym("r")
    clear = Put(LEFT, (ROW_TILE, STEP, lane), Fixed(0.0, 1), 1)
    full = _steps_left(blocking, tuple(_copy_left(blocking, num(r)) for r in range(mr)))
    live = For(lane.name, Num(0), count, 1, (_copy_left(blocking, lane),))
    part = _steps_left(blocking, (live, For(lane.name, count, num(mr), 1, (clear,))))
    conditions = whole(load.guard, rows, ROW, mr)
    return (blocking.rows((If(conditions, (full,), (part,)) if conditions else full,)),)


def _steps_left(blocking: Blocking, body: tuple[Node, ...]) -> For:
    load = blocking.parts.left
    return For(STEP.name, Num(0), lanes(load, blocking.parts.over, K_BLOCK, blocking.kc), 1, body)


def _copy_left(blocking: Blocking, row: Index) -> Put:
    parts = blocking.parts
    source = place(parts.left, {parts.rows: ROW + row, parts.over: K_BLOCK + STEP})
    return Put(LEFT, (ROW_TILE, STEP, row), Get(parts.left.tensor.name, source, 1), 1)


def pack_right(blocking: Blocking) -> tuple[Node, ...]:
    """Columns of a block into panels of ``nr`` columns; when read in place, only the panel that is not whole."""
    full, part = (_steps_right(blocking, masked) for masked in (False, True))
    conditions = whole(blocking.parts.right.guard, blocking.parts.cols, COL, blocking.nr)
    if not conditions:
        return (blocking.cols((full,), shared=True),) if blocking.pack_b else ()
    return (blocking.cols((If(conditions, (full,) if blocking.pack_b else (), (part,)),), shared=True),)


def _steps_right(blocking: Blocking, masked: bool) -> For:
    load, over = blocking.parts.right, blocking.parts.over
    body = tuple(_copy_right(blocking, v * blocking.lanes, masked) for v in range(blocking.nv))
    return For(STEP.name, Num(0), lanes(load, over, K_BLOCK, blocking.kc), 1, body)


def _copy_right(blocking: Blocking, offset: int, masked: bool) -> Put:
    parts, width = blocking.parts, blocking.lanes
    source = place(parts.right, {parts.over: K_BLOCK + STEP, parts.cols: COL + offset})
    live = lanes(parts.right, parts.cols, COL + offset, width) if masked else None
    return Put(RIGHT, (COL_TILE, STEP, num(offset)), Get(parts.right.tensor.name, source, width, live), width)
