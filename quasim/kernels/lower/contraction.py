"""Schedules of contractions: blocks for the caches, packed panels, and a register tile (Goto and van de Geijn 2008).

The loops are those of BLIS (Van Zee and van de Geijn 2015): column blocks, k blocks, row blocks (dealt out to threads),
register tiles, k. A thread packs its own row blocks of the left operand; all pack the right operand together. Between
k blocks a tile's sums wait in the output, in full precision, so every sum runs over k in ascending order whatever the
schedule, and all genomes give the same bits.
"""

from __future__ import annotations

from quasim.kernels.index import Num, least, num
from quasim.kernels.ir import Kernel
from quasim.kernels.lower.blocking import COL_BLOCK, DEPTH, K_BLOCK, LEFT, RIGHT, ROW_BLOCK, Blocking
from quasim.kernels.lower.panels import pack_left, pack_right
from quasim.kernels.lower.parts import LINE_BYTES, extent
from quasim.kernels.lower.pattern import contraction
from quasim.kernels.lower.register_tile import register_tile
from quasim.kernels.lowered import Buffer, For, Let, Lowered, Node, Partition, Region, Scope, SumOrder
from quasim.trial import Genome


def lower_contraction(kernel: Kernel, genome: Genome) -> Lowered:
    """The loop nest of a contraction.

    Raises:
        LoweringError, SpaceError: see ``lower``.
    """
    parts = contraction(kernel)
    blocking = Blocking.of(parts, genome)
    partitions = (
        Partition(parts.rows, (("block", blocking.mc), ("register tile", blocking.mr)), shared="block"),
        Partition(parts.cols, (("block", blocking.nc), ("register tile", blocking.nr), ("vector", blocking.lanes))),
        Partition(parts.over, (("block", blocking.kc), ("step", 1))),
    )
    body = (Region(blocking.threads, _nest(blocking)),)
    return Lowered(kernel, genome, partitions, _buffers(blocking), (SumOrder(parts.over),), body)


def _nest(blocking: Blocking) -> tuple[Node, ...]:
    rows, cols, over = (extent(axis) for axis in (blocking.parts.rows, blocking.parts.cols, blocking.parts.over))
    row_end = Let("row_end", least(ROW_BLOCK + blocking.mc, rows))
    col_end = Let("col_end", least(COL_BLOCK + blocking.nc, cols))
    tiles = blocking.cols((blocking.rows(register_tile(blocking)),))
    block = (row_end, *pack_left(blocking), tiles)
    blocks = For(ROW_BLOCK.name, Num(0), rows, blocking.mc, block, shared=True)
    step = (Let(DEPTH.name, blocking.depth), *pack_right(blocking), blocks)
    steps = For(K_BLOCK.name, Num(0), over, blocking.kc, step)
    return (For(COL_BLOCK.name, Num(0), cols, blocking.nc, (col_end, steps)),)


def _buffers(blocking: Blocking) -> tuple[Buffer, ...]:
    """Panels of one block; of the right operand no more than there are columns."""
    width = least(num(blocking.nc), extent(blocking.parts.cols) + (blocking.nr - 1)) // blocking.nr
    left = Buffer(LEFT, (num(blocking.mc // blocking.mr), num(blocking.kc), num(blocking.mr)), Scope.THREAD, LINE_BYTES)
    right = Buffer(RIGHT, (width, num(blocking.kc), num(blocking.nr)), Scope.SHARED, LINE_BYTES)
    return (left, right) if blocking.pack_a else (right,)
