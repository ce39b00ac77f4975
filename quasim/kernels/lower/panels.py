"""Packing the operands of a contraction into panels, in the order in which the register tile reads them.

16-bit operands are widened on the way. Dead rows and columns of a panel are 0 and meet only dead results; no step of k
is padded, as 0 · NaN is not 0.
"""

from __future__ import annotations

from dataclasses import dataclass

from quasim.kernels.index import Index, Num, Sym, num
from quasim.kernels.ir import Axis, Load
from quasim.kernels.lower.blocking import COL, COL_TILE, K_BLOCK, LEFT, RIGHT, ROW, ROW_TILE, STEP, Blocking, whole
from quasim.kernels.lower.parts import lanes
from quasim.kernels.lowered import Fixed, For, Get, If, Node, Put


@dataclass(frozen=True, slots=True)
class _Panel:
    """A panel that is copied element by element, for an operand whose steps of k lie next to one another.

    Attributes:
        axis: rows or columns.
        start: where on it the panel begins.
        tile: the panel's number in its buffer.
        width: of the panel.
    """

    load: Load
    axis: Axis
    start: Index
    tile: Index
    buffer: str
    width: int


def pack_left(blocking: Blocking) -> tuple[Node, ...]:
    """Rows of a block into panels of ``mr`` rows, step by step of k."""
    if not blocking.pack_a:
        return ()
    panel = _Panel(blocking.parts.left, blocking.parts.rows, ROW, ROW_TILE, LEFT, blocking.mr)
    return (blocking.rows(_by_element(blocking, panel)),)


def pack_right(blocking: Blocking) -> tuple[Node, ...]:
    """Columns of a block into panels of ``nr`` columns; when read in place, only the panel that is not whole."""
    parts, shared = blocking.parts, not blocking.by_batch
    if not parts.right_rows:
        panel = _Panel(parts.right, parts.cols, COL, COL_TILE, RIGHT, blocking.nr)
        return (blocking.cols(_by_element(blocking, panel), shared),)
    full, part = (_by_vector(blocking, masked) for masked in (False, True))
    conditions = whole(parts.right.guard, parts.cols, COL, blocking.nr)
    if not conditions:
        return (blocking.cols((full,), shared),) if blocking.pack_b else ()
    return (blocking.cols((If(conditions, (full,) if blocking.pack_b else (), (part,)),), shared),)


def _by_element(blocking: Blocking, panel: _Panel) -> tuple[Node, ...]:
    count, lane = lanes(panel.load, panel.axis, panel.start, panel.width), Sym("r")
    clear = Put(panel.buffer, (panel.tile, STEP, lane), Fixed(0.0, 1), 1)
    full = _steps(blocking, panel.load, tuple(_copy_element(blocking, panel, num(r)) for r in range(panel.width)))
    live = For(lane.name, Num(0), count, 1, (_copy_element(blocking, panel, lane),))
    part = _steps(blocking, panel.load, (live, For(lane.name, count, num(panel.width), 1, (clear,))))
    conditions = whole(panel.load.guard, panel.axis, panel.start, panel.width)
    return (If(conditions, (full,), (part,)) if conditions else full,)


def _steps(blocking: Blocking, load: Load, body: tuple[Node, ...]) -> For:
    return For(STEP.name, Num(0), lanes(load, blocking.parts.over, K_BLOCK, blocking.kc), 1, body)


def _copy_element(blocking: Blocking, panel: _Panel, lane: Index) -> Put:
    source = blocking.place(panel.load, {panel.axis: panel.start + lane, blocking.parts.over: K_BLOCK + STEP})
    return Put(panel.buffer, (panel.tile, STEP, lane), Get(panel.load.tensor.name, source, 1), 1)


def _by_vector(blocking: Blocking, masked: bool) -> For:
    body = tuple(_copy_vector(blocking, v * blocking.lanes, masked) for v in range(blocking.nv))
    return _steps(blocking, blocking.parts.right, body)


def _copy_vector(blocking: Blocking, offset: int, masked: bool) -> Put:
    parts, width = blocking.parts, blocking.lanes
    source = blocking.place(parts.right, {parts.over: K_BLOCK + STEP, parts.cols: COL + offset})
    live = lanes(parts.right, parts.cols, COL + offset, width) if masked else None
    return Put(RIGHT, (COL_TILE, STEP, num(offset)), Get(parts.right.tensor.name, source, width, live), width)
