"""Blocks of rows that are reduced and mapped, on a machine of tiles: the same block of a few rows for each program."""

from __future__ import annotations

from quasim.kernels.index import Sym
from quasim.kernels.ir import Axis, Kernel, Loop
from quasim.kernels.lower.pattern import unsupported
from quasim.kernels.lower.tiles_body import Translator
from quasim.kernels.lower.tiles_grid import TILE, axis_count, axis_tiles, decode, over_tiles, program
from quasim.kernels.lower.tiles_known import Known
from quasim.kernels.lower.tiles_scene import AxisTile, GridScene, axis_tile
from quasim.kernels.tiled import Let, PointerTo, TileProgram
from quasim.trial import Genome


def block_axes(kernel: Kernel) -> tuple[Axis, Axis]:
    """The axis of the rows, and the one along them that is cut into blocks.

    Raises:
        LoweringError: there are others.
    """
    rows, along = (*kernel.grid, *kernel.grid)[:2]
    if len(kernel.grid) != 2 or rows.block or not along.block or any(isinstance(s, Loop) for s in kernel.body):
        raise unsupported(kernel, "anything but rows, and blocks along them")
    return rows, along


def lower_blocks(kernel: Kernel, genome: Genome, known: Known) -> TileProgram:
    """``rows`` rows of one block for each program; neighbouring programs read what lies side by side in memory.

    Raises:
        LoweringError: the kernel is of another form.
        SpaceError: the genome lacks a gene.
    """
    rows, along = block_axes(kernel)
    held = genome.integer("rows")
    across = kernel.tensors[0].shape[-1] == rows.dim
    tiles = (_tile(known, rows, held), _tile(known, along, along.block))
    # The last direction runs fastest.
    order = tiles[::-1] if across else tiles
    counts = tuple((_number(tile.axis), axis_count(known, tile.axis, tile.lanes.size)) for tile in order)
    starts = tuple(Let(_start(tile.axis), Sym(_number(tile.axis)) * tile.lanes.size) for tile in tiles)
    nodes = tuple(node for tile in tiles for node in tile.nodes)
    body = (*decode(TILE, counts), *starts, *nodes, *Translator(GridScene(known, tiles)).run(kernel.body))
    parameters = tuple(PointerTo(tensor) for tensor in kernel.tensors)
    grid = tuple(axis_tiles(tile.axis, tile.lanes.size) for tile in order)
    total = counts[0][1] * counts[1][1]
    return program(known, genome, parameters, grid, 0, over_tiles(total, 0, body))


def _tile(known: Known, axis: Axis, block: int) -> AxisTile:
    return axis_tile(known, axis, block, Sym(_start(axis)))


def _number(axis: Axis) -> str:
    return f"tile_{axis.name}"


def _start(axis: Axis) -> str:
    return f"start_{axis.name}"
