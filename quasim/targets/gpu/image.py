"""A compiled kernel as plain data: all that a launch needs, without Triton, its source or the machine it was made on.

How a launcher uses an image (CUDA driver API; ``dims`` are the extents of the problem):

1. ``image.check(dims)``: refuse a shape for which the code was not made.
2. Load ``binary`` and get the function ``entry``. Where ``shared_bytes`` exceeds 48 KiB, raise the function's limit
   (CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES); it is all dynamic.
3. Blocks: ``(image.blocks(dims, multiprocessors), *image.grid_yz)``, those along x times ``num_ctas`` where that is not
   1 (then a cluster of that many along x). Threads: ``(image.threads, 1, 1)``.
4. One kernel parameter for each of ``arguments``, in order; nothing else. ``Pointer``: 8 bytes, the device address of
   the tensor's first element, aligned to ``alignment``. ``Number``: a signed integer of ``bits``, ``size.of(dims)``.
   ``Real``: a float of ``bits``. ``TensorMap``: 128 bytes **by value** (a CUtensorMap aligned to 64 where it is
   encoded). ``Scratch``: 8 bytes, the address of ``bytes_per_block`` bytes for every block, aligned to ``alignment``; a
   null pointer where that is 0.

The order is Triton 3.6's: the kernel's own parameters without the constants; a descriptor is followed by its shape
(32 bits each) and strides (64 bits each); global and profile scratch come last.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Literal

import msgspec

from quasim.kernels.ir import Dtype
from quasim.kernels.sizes import Grid, Requirement, Size, Tiles
from quasim.targets.gpu.resources import Resources, limits, occupancy

__all__ = [
    "Argument",
    "Buffer",
    "Bundle",
    "CompileFailure",
    "Grid",
    "Image",
    "Loadable",
    "Number",
    "Pointer",
    "Real",
    "Requirement",
    "Scratch",
    "Size",
    "TensorMap",
    "Tiles",
]


class Pointer(msgspec.Struct, frozen=True, tag="pointer"):
    """The address of a tensor's first element, a multiple of ``alignment`` bytes."""

    tensor: str
    alignment: int = 16


class Number(msgspec.Struct, frozen=True, tag="number"):
    """A signed integer computed from the shape."""

    size: Size
    bits: Literal[32, 64]


class Real(msgspec.Struct, frozen=True, tag="real"):
    """A floating-point number, as a foreign kernel may take it."""

    value: float
    bits: Literal[32, 64]


class TensorMap(msgspec.Struct, frozen=True, tag="tensor_map"):
    """A descriptor for the tensor memory accelerator (cuTensorMapEncodeTiled), outermost dimension first.

    The driver wants every list reversed, strides in bytes without the innermost, element strides of 1, no interleaving,
    and zeros for what is out of bounds.

    Attributes:
        shape: extents of the tensor as the kernel sees it.
        strides: in elements, one for each dimension; the last is 1.
        box: elements that one copy moves in each dimension.
        swizzle: CUtensorMapSwizzle: 0 none, 1 over 32, 2 over 64, 3 over 128 bytes.
    """

    tensor: str
    dtype: Dtype
    shape: tuple[Size, ...]
    strides: tuple[Size, ...]
    box: tuple[int, ...]
    swizzle: int
    alignment: int = 16


class Scratch(msgspec.Struct, frozen=True, tag="scratch"):
    """Device memory for the kernel's own use; Triton wants a pointer even where it needs no bytes."""

    kind: Literal["global", "profile"]
    bytes_per_block: int
    alignment: int


Argument = Pointer | Number | Real | TensorMap | Scratch


class Image(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="image"):
    """A binary with the facts of its launch.

    Attributes:
        kernel: name of the family's kernel, for messages.
        binary: cubin for sm_*, code object (hsaco) for gfx*.
        entry: name of the function.
        arch: sm_80, sm_90, gfx90a or gfx942.
        num_warps: warps of a block.
        num_ctas: blocks of a cluster; 1: no clusters.
        shared_bytes: dynamic shared memory of a block.
        resources: what the compiler allotted.
        arguments: the kernel's parameters, in order.
        grid: how many blocks.
        requirements: for which shapes the code was made.
        grid_yz: blocks along y and z; 1 for all but foreign kernels.
        launch_pdl: launch with programmatic stream serialization.
        cooperative: launch cooperatively.
    """

    kernel: str
    binary: bytes
    entry: str
    arch: str
    num_warps: int
    num_ctas: int
    shared_bytes: int
    resources: Resources
    arguments: tuple[Argument, ...]
    grid: Grid
    requirements: tuple[Requirement, ...] = ()
    launch_pdl: bool = False
    cooperative: bool = False
    grid_yz: tuple[int, int] = (1, 1)

    def check(self, dims: Mapping[str, int]) -> None:
        """Raise ``ShapeError`` where the code was not made for this shape."""
        for requirement in self.requirements:
            requirement.check(self.kernel, dims)

    def blocks(self, dims: Mapping[str, int], multiprocessors: int) -> int:
        """Blocks of a launch, before they are multiplied by ``num_ctas``."""
        return self.grid.blocks(dims, multiprocessors)

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return self.num_warps * limits(self.arch).warp

    @property
    def occupancy(self) -> float:
        """Resident warps as a share of the most there can be (derived from the compiler's facts)."""
        return occupancy(self.arch, self.threads, self.resources)

    @property
    def digest(self) -> str:
        """SHA-256 of the binary, in hex: launchers keep what they loaded by it."""
        return hashlib.sha256(self.binary).hexdigest()


class Buffer(msgspec.Struct, frozen=True):
    """A device array that the stages of a bundle hand on; it exists once for each variant that is loaded.

    Attributes:
        fill: what it holds before the first launch: ``signs``: those of ``quasim.precision.probe``, of a vector.
    """

    name: str
    dtype: Dtype
    shape: tuple[Size, ...]
    fill: Literal["nothing", "signs"] = "nothing"


class Bundle(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="bundle"):
    """Several launches that make one variant: in this order, on one stream.

    Stages name buffers of the workspace as they name tensors.

    Attributes:
        stages: at least one.
        workspace: what they hand on.
        main: the stage that the compiler's facts of the variant are of.
    """

    stages: tuple[Image, ...]
    workspace: tuple[Buffer, ...]
    main: int

    def __post_init__(self) -> None:
        names = [buffer.name for buffer in self.workspace]
        if not 0 <= self.main < len(self.stages) or len(set(names)) != len(names):
            raise ValueError(f"no bundle: stage {self.main} of {len(self.stages)}, buffers {names}")

    def check(self, dims: Mapping[str, int]) -> None:
        """Raise ``ShapeError`` where one of the stages was not made for this shape."""
        for stage in self.stages:
            stage.check(dims)

    @property
    def resources(self) -> Resources:
        """Of the main stage."""
        return self.stages[self.main].resources

    @property
    def occupancy(self) -> float:
        """Of the main stage."""
        return self.stages[self.main].occupancy

    @property
    def entry(self) -> str:
        """Name of the main stage's function."""
        return self.stages[self.main].entry


Loadable = Image | Bundle
"""What a launcher takes."""


class CompileFailure(msgspec.Struct, frozen=True, tag="failure"):
    """Why a source has no image.

    Attributes:
        stage: ``compile``: the compiler refused; ``resources``: what it made cannot launch on the architecture;
            ``timeout``: it took too long; ``crashed``: its process died.
        reason: one line.
    """

    stage: Literal["compile", "resources", "timeout", "crashed"]
    reason: str
