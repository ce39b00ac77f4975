"""The Triton sources of a genome: one, or those of the stages that carry out its precision plan."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from quasim.kernels import family
from quasim.kernels._base import numpy_dtype
from quasim.kernels.ir import Kernel, Role, Tensor
from quasim.kernels.lower.pattern import Pattern, pattern
from quasim.kernels.lower.tiles_known import power_of_two, size_of
from quasim.kernels.lower.tiles_rows import row_axes
from quasim.precision.plan import plan_named
from quasim.precision.rewrite import Stage, Staged, rewritten
from quasim.targets.gpu.build import Planned
from quasim.targets.gpu.image import Buffer
from quasim.targets.triton.foreign_family import ForeignFamily
from quasim.targets.triton.foreign_source import foreign_source
from quasim.targets.triton.source import Source, source
from quasim.trial import Genome, Problem, Value

PLAN, PROMOTE = "plan", "promote"
"""Genes: the plan's name, and the k-blocks between promotions."""

_RESIDENT = 32768
"""Elements that a block holds of a split pass: 64 for each of 512 threads, so that each is read once. Blocks of half as
many would share a multiprocessor, but read columns by half sectors."""

_SHARING = 4
"""Rows that a block of a probe multiplies by one vector, if they are half of what it may hold: the vector is as long as
a row, and comes from the cache again for each block."""

_SECTOR_BYTES = 32
"""What memory is read by at least; columns of float32 are split eight at a time for its sake."""

_SAFE_GENES: dict[str, Value] = {
    "block_m": 64,
    "block_n": 64,
    "block_k": 16,
    "warps": 4,
    "stages": 4,
    "access": "pointer",
    "walk": "tiles",
    "epilogue": 1,
    "group": 8,
}
"""Of the product that answers where words may not: the fastest of 48 on an H100, at 4096 and at 8192 alike. Persistent
blocks would end sooner where it is not needed, by some microseconds, and take a third longer where it is."""

_GUARD_GENES: dict[str, Value] = {"warps": 16}

_BLOCKS_GENES: dict[str, Value] = {"rows": 64, "warps": 8}
"""Of a quantising pass by blocks: 32 elements for each thread, and columns read by runs of 256 bytes."""


def triton_plan(problem: Problem, genome: Genome) -> Planned:
    """The Triton sources of a genome.

    Raises:
        ConfigError, LoweringError: it has none.
    """
    known = family(problem.kernel)
    if isinstance(known, ForeignFamily):
        return Planned((foreign_source(known, genome, problem.dims),))
    return planned(known.kernel, genome, problem.dims)


def planned(kernel: Kernel, genome: Genome, shape: Mapping[str, int]) -> Planned:
    """The sources of a kernel under a genome, which may name a plan.

    Raises:
        ShapeError, LoweringError, SpaceError: see ``lower_tiles``.
        ConfigError, UnknownNameError: no kernel carries the plan out, or there is no such plan.
    """
    name = genome.get(PLAN)
    if name is None:
        return Planned((source(kernel, genome, shape),))
    staged = rewritten(kernel, plan_named(str(name)), int(genome.get(PROMOTE) or 0))
    return planned_stages(staged, genome, shape)


def planned_stages(staged: Staged, genome: Genome, shape: Mapping[str, int]) -> Planned:
    """The sources of stages, of which the genome schedules the main one."""
    sources = tuple(_source(stage, genome, shape) for stage in staged.stages)
    main = next(number for number, stage in enumerate(staged.stages) if stage.main)
    workspace = (*map(_buffer, staged.workspace), *(replace(_buffer(each), fill="signs") for each in staged.signs))
    return Planned(sources, workspace, main)


def _source(stage: Stage, genome: Genome, shape: Mapping[str, int]) -> Source:
    own = {dim.name: shape[dim.name] for dim in stage.kernel.dims}
    return source(stage.kernel, _schedule(stage, genome, own), own, stage.runs)


def _buffer(tensor: Tensor) -> Buffer:
    return Buffer(tensor.name, tensor.dtype, tuple(size_of(dim) for dim in tensor.shape))


def _schedule(stage: Stage, genome: Genome, shape: Mapping[str, int]) -> Genome:
    """The genome of a stage: the plan's own for its product, and what follows from the shape for the others."""
    found = pattern(stage.kernel)
    if stage.main:
        return genome
    if found is Pattern.FOLDS:
        return Genome(_GUARD_GENES)
    if found is Pattern.BLOCKS:
        return Genome(_BLOCKS_GENES)
    return Genome(_SAFE_GENES) if found is Pattern.CONTRACTION else _pass(stage.kernel, shape)


def _pass(kernel: Kernel, shape: Mapping[str, int]) -> Genome:
    """A pass holds whole rows; where they are columns in memory, eight of them if there is room."""
    rows, along = row_axes(kernel)
    x = kernel.tensors[0]
    length = power_of_two(shape[along.dim.name])
    across = x.shape[-1] == rows.dim
    wanted = _SECTOR_BYTES // numpy_dtype(x.dtype).itemsize if across else max(1, _RESIDENT // 8 // length)
    if kernel.tensors[-1].dtype == "float64":
        wanted = max(wanted, min(_SHARING, _RESIDENT // 2 // length))
    # What is balanced along its rows has an exponent held beside each element.
    resident = _RESIDENT // 2 if kernel.tensors[-1].role is Role.INPUT else _RESIDENT
    held = max(1, min(wanted, resident // length, power_of_two(shape[rows.dim.name])))
    per_thread = (64 if across else 16) * resident // _RESIDENT
    warps = max(1, min(16, held * length // (32 * per_thread)))
    return Genome(
        {"rows": held, "block": min(length, _RESIDENT), "warps": warps, "persist": 0, "stages": 1, "once": False}
    )
