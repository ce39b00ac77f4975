"""Whole arrays reduced to single numbers by one block of a machine of tiles."""

from __future__ import annotations

from quasim.kernels.index import Num
from quasim.kernels.ir import Kernel, Loop
from quasim.kernels.lower.pattern import unsupported
from quasim.kernels.lower.tiles_body import Translator
from quasim.kernels.lower.tiles_grid import program
from quasim.kernels.lower.tiles_known import Known, power_of_two
from quasim.kernels.lower.tiles_scene import GridScene, axis_tile
from quasim.kernels.tiled import PointerTo, TileProgram
from quasim.kernels.walk import axes
from quasim.trial import Genome


def lower_folds(kernel: Kernel, genome: Genome, known: Known) -> TileProgram:
    """One block that holds each array at once: made for vectors, a few elements for every thread.

    Raises:
        LoweringError: the kernel has a loop, or an axis that is not whole.
        SpaceError: the genome lacks a gene.
    """
    found = tuple(axes(kernel).values())
    if not all(axis.whole for axis in found) or any(isinstance(statement, Loop) for statement in kernel.body):
        raise unsupported(kernel, "a loop or a tiled axis beside whole arrays")
    tiles = []
    for axis in found:
        block = power_of_two(known.count(axis))
        known.at_most(axis.dim, block + axis.trim)
        tiles.append(axis_tile(known, axis, block, Num(0)))
    body = tuple(node for tile in tiles for node in tile.nodes)
    statements = tuple(Translator(GridScene(known, tuple(tiles))).run(kernel.body))
    parameters = tuple(PointerTo(tensor) for tensor in kernel.tensors)
    return program(known, genome, parameters, (), 0, (*body, *statements))
