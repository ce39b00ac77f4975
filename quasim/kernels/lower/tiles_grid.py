"""Blocks of a launch, and the tiles that each of them works on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from quasim.kernels.index import Index, Sym
from quasim.kernels.ir import Axis
from quasim.kernels.lower.tiles_known import Known, whole_tiles
from quasim.kernels.sizes import Grid, Size, Tiles
from quasim.kernels.tiled import PID, PROGRAMS, For, Let, Node, Parameter, TileProgram
from quasim.trial import Genome

TILE = Sym("tile")
"""The number of the tile that a block is at."""


def over_tiles(count: Index, persist: int, body: tuple[Node, ...], *, flatten: bool = False) -> tuple[Node, ...]:
    """Run the body for tile number ``TILE``: of a block for each tile, or of blocks that loop over the tiles.

    Args:
        count: how many tiles there are.
        persist: 0: a block for each tile.
        body: what is done with a tile.
        flatten: make one loop of the tiles and the loop within.
    """
    if persist == 0:
        return (Let(TILE.name, Sym(PID)), *body)
    return (For(TILE.name, Sym(PID), count, Sym(PROGRAMS), body, flatten=flatten),)


def decode(tile: Index, counts: tuple[tuple[str, Index], ...]) -> Iterator[Node]:
    """Name the position in each of several directions, of which the last runs fastest."""
    for name, count in reversed(counts[1:]):
        yield Let(name, tile % count)
        yield Let(f"{name}_rest", tile // count)
        tile = Sym(f"{name}_rest")
    yield Let(counts[0][0], tile)


def axis_tiles(axis: Axis, block: int, shift: int = 0) -> Tiles:
    """Tiles of an axis, as data of the launch."""
    return Tiles(Size((axis.dim.name,)), block, axis.trim - shift)


def axis_count(known: Known, axis: Axis, block: int, shift: int = 0) -> Index:
    """Tiles of an axis, in the program."""
    return whole_tiles(known.steps(axis) + shift, block)


def program(
    known: Known,
    genome: Genome,
    parameters: tuple[Parameter, ...],
    tiles: tuple[Tiles, ...],
    persist: int,
    body: tuple[Node, ...],
    stages: int = 1,
) -> TileProgram:
    """A program of a body over tiles; a persistent one has at most ``persist`` blocks for each multiprocessor."""
    bits: Literal[32, 64] = 32 if known.index_is_narrow() else 64
    grid = Grid(tiles, persist or None)
    return TileProgram(
        known.kernel,
        genome,
        (*parameters, *known.parameters),
        body,
        grid,
        known.requirements,
        genome.integer("warps"),
        stages,
        bits,
    )
