"""What is sent to NVRTC: a source's text with the facts of its launch, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from quasim.kernels.ir import Kernel
from quasim.kernels.lower.threads import lower_threads
from quasim.kernels.sizes import Grid, Requirement
from quasim.targets.cuda.emit import emit
from quasim.trial import Genome


class CudaSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="cuda"):
    """A source to compile.

    Attributes:
        text: of the source.
        entry: the function to launch.
        tensors: whose addresses it takes, in order.
        extents: of these dimensions it takes, after the addresses.
        bits: of each extent.
        threads: of a block.
        shared_bytes: of a block, all of it asked for at launch.
        grid: how many blocks a launch has.
        requirements: the shapes for which the text is right.
    """

    text: str
    entry: str
    tensors: tuple[str, ...]
    extents: tuple[str, ...]
    bits: Literal[32, 64]
    threads: int
    shared_bytes: int
    grid: Grid
    requirements: tuple[Requirement, ...]


def cuda_source(kernel: Kernel, genome: Genome, shape: Mapping[str, int]) -> CudaSource:
    """The source of a kernel under a genome at a shape.

    Raises:
        ShapeError, LoweringError, SpaceError: see ``lower_threads``.
    """
    program = lower_threads(kernel, genome, shape)
    return CudaSource(
        emit(program),
        kernel.name,
        tuple(tensor.name for tensor in kernel.tensors),
        tuple(extent.dim for extent in program.extents),
        program.index_bits,
        program.threads,
        program.shared_bytes,
        program.grid,
        program.requirements,
    )
