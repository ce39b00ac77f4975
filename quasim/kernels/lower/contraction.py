"""Schedules of contractions: blocks for the caches, packed panels, and a register tile (Goto and van de Geijn 2008).

The loops are those of BLIS (Van Zee and van de Geijn 2015): column blocks, k blocks, row blocks (dealt out to threads),
register tiles, k. A thread packs its own row blocks of the left operand; all pack the right operand together. Between
k blocks a tile's sums wait in float32, in the output or, where that is narrower, beside it; so every sum runs over k in
ascending order whatever the schedule, and all genomes give the same bits. A batch is a loop around all this.
"""

from __future__ import annotations

from quasim.kernels.index import Num, least, num, round_up
from quasim.kernels.ir import Kernel
from quasim.kernels.lower.blocking import (
    BATCH,
    COL_BLOCK,
    DEPTH,
    K_BLOCK,
    LEFT,
    RIGHT,
    ROW_BLOCK,
    SUMS,
    Blocking,
)
from quasim.kernels.lower.panels import pack_left, pack_right
from quasim.kernels.lower.parts import LINE_BYTES, extent
from quasim.kernels.lower.pattern import Contraction, LoweringError, contraction
from quasim.kernels.lower.register_tile import register_tile
from quasim.kernels.lowered import Buffer, For, Let, Lowered, Node, Partition, Region, Scope, SumOrder
from quasim.trial import Genome


def exact_contraction(kernel: Kernel) -> Contraction:
    """The parts of a contraction whose products are those of float32.

    Raises:
        LoweringError: it is of another form, or asks for products that only tensor cores compute.
    """
    parts = contraction(kernel)
    if parts.precision != "float32":
        raise LoweringError(
            f"kernel {kernel.name!r} asks for {parts.precision} products, and CPUs have no such products",
            "tune it for a GPU target, or the float32 form here",
        )
    return parts


def lower_contraction(kernel: Kernel, genome: Genome) -> Lowered:
    """The loop nest of a contraction.

    Raises:
        LoweringError, SpaceError: see ``lower``.
    """
    parts = exact_contraction(kernel)
    blocking = Blocking.of(parts, genome)
    body = (Region(blocking.threads, _batch(blocking)),)
    return Lowered(kernel, genome, _partitions(blocking), _buffers(blocking), (SumOrder(parts.over),), body)


def _partitions(blocking: Blocking) -> tuple[Partition, ...]:
    parts, by_batch = blocking.parts, blocking.by_batch
    product = (("product", 1),)
    return (
        *((Partition(parts.batch, product, shared="product" if by_batch else None),) if parts.batch else ()),
        Partition(
            parts.rows,
            (("block", blocking.mc), ("register tile", blocking.mr)),
            shared=None if by_batch else "block",
        ),
        Partition(parts.cols, (("block", blocking.nc), ("register tile", blocking.nr), ("vector", blocking.lanes))),
        Partition(parts.over, (("block", blocking.kc), ("step", 1))),
    )


def _batch(blocking: Blocking) -> tuple[Node, ...]:
    nest = _nest(blocking)
    if blocking.parts.batch is None:
        return nest
    return (For(BATCH.name, Num(0), extent(blocking.parts.batch), 1, nest, shared=blocking.by_batch),)


def _nest(blocking: Blocking) -> tuple[Node, ...]:
    rows, cols, over = (extent(axis) for axis in (blocking.parts.rows, blocking.parts.cols, blocking.parts.over))
    row_end = Let("row_end", least(ROW_BLOCK + blocking.mc, rows))
    col_end = Let("col_end", least(COL_BLOCK + blocking.nc, cols))
    tiles = blocking.cols((blocking.rows(register_tile(blocking)),))
    block = (row_end, *pack_left(blocking), tiles)
    blocks = For(ROW_BLOCK.name, Num(0), rows, blocking.mc, block, shared=not blocking.by_batch)
    step = (Let(DEPTH.name, blocking.depth), *pack_right(blocking), blocks)
    steps = For(K_BLOCK.name, Num(0), over, blocking.kc, step)
    return (For(COL_BLOCK.name, Num(0), cols, blocking.nc, (col_end, steps)),)


def _buffers(blocking: Blocking) -> tuple[Buffer, ...]:
    """Panels of one block, of the right operand no more than there are columns; and sums of a column block."""
    rows, cols = extent(blocking.parts.rows), extent(blocking.parts.cols)
    width = least(num(blocking.nc), cols + (blocking.nr - 1)) // blocking.nr
    left = Buffer(LEFT, (num(blocking.mc // blocking.mr), num(blocking.kc), num(blocking.mr)), Scope.THREAD, LINE_BYTES)
    right = Buffer(RIGHT, (width, num(blocking.kc), num(blocking.nr)), blocking.scope, LINE_BYTES)
    sums = Buffer(SUMS, (round_up(rows, blocking.mr), width * blocking.nr), blocking.scope, LINE_BYTES)
    wanted = ((left, blocking.pack_a), (right, True), (sums, blocking.sums_wait_apart))
    return tuple(buffer for buffer, want in wanted if want)
