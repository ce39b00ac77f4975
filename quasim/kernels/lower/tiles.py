"""From the tile IR, a genome and a shape to a tile program, by the pattern of the IR and never by a family's name."""

from __future__ import annotations

from collections.abc import Mapping

from quasim.kernels.ir import Kernel
from quasim.kernels.lower.pattern import Pattern, pattern
from quasim.kernels.lower.tiles_blocks import lower_blocks
from quasim.kernels.lower.tiles_contraction import lower_contraction
from quasim.kernels.lower.tiles_folds import lower_folds
from quasim.kernels.lower.tiles_known import Known
from quasim.kernels.lower.tiles_packed import lower_packed
from quasim.kernels.lower.tiles_pointwise import can_flatten, lower_flat, lower_tiled
from quasim.kernels.lower.tiles_rows import lower_rows
from quasim.kernels.tiled import TileProgram
from quasim.trial import Genome


def lower_tiles(kernel: Kernel, genome: Genome, shape: Mapping[str, int]) -> TileProgram:
    """The program of a kernel under the schedule of a genome.

    The shape decides which masks are left out and how wide integers are; the program's requirements say for which
    other shapes it is right as well.

    Raises:
        ShapeError: the shape is outside the kernel's domain.
        LoweringError: the kernel is of no form that has a schedule.
        SpaceError: the genome lacks a gene of the pattern, or its genes do not fit the shape.
    """
    found = pattern(kernel)
    if found is Pattern.CONTRACTION:
        return lower_contraction(kernel, genome, Known(kernel, shape))
    if found is Pattern.BLOCKS:
        return lower_blocks(kernel, genome, Known(kernel, shape))
    if found is Pattern.FOLDS:
        return lower_folds(kernel, genome, Known(kernel, shape))
    if found in (Pattern.ROWS, Pattern.SPLITS):
        return lower_rows(kernel, genome, Known(kernel, shape))
    if not can_flatten(kernel):
        return lower_tiled(kernel, genome, Known(kernel, shape))
    if genome.get("layout") == "packed":
        return lower_packed(kernel, genome, shape)
    # What lies within is a constant, so that a remainder by a power of two is a mask of bits.
    exact = tuple(axis.dim for axis in kernel.grid[1:]) if found is Pattern.SECTIONS else ()
    return lower_flat(kernel, genome, Known(kernel, shape, exact))
