"""What is sent to a compiler: a module's text with the facts of its launch, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Literal

import msgspec

from quasim.kernels.ir import Dtype, Kernel, Tensor
from quasim.kernels.lower.tiles import lower_tiles
from quasim.kernels.lower.tiles_known import size_of
from quasim.kernels.sizes import Grid, Requirement, Size
from quasim.kernels.tiled import DescriptorOf, ExtentOf, Parameter, PointerTo, Runs, TileProgram
from quasim.targets.triton.emit import emit, parameter_name
from quasim.trial import Genome, Value

_DTYPES: dict[Dtype, str] = {
    "float32": "fp32",
    "float64": "fp64",
    "float16": "fp16",
    "bfloat16": "bf16",
    "float8_e4m3fn": "fp8e4nv",
    "float8_e5m2": "fp8e5",
    "int8": "i8",
    "int32": "i32",
}


class PointerParameter(msgspec.Struct, frozen=True, tag="pointer"):
    """The address of a tensor, a multiple of 16 bytes."""

    multiple: ClassVar[int] = 16

    name: str
    tensor: str
    dtype: Dtype

    @property
    def type(self) -> str:
        """As Triton's signatures write it."""
        return f"*{_DTYPES[self.dtype]}"


class ExtentParameter(msgspec.Struct, frozen=True, tag="extent"):
    """The extent of a dimension."""

    name: str
    dim: str
    bits: Literal[32, 64]
    multiple: int

    @property
    def type(self) -> str:
        """As Triton's signatures write it."""
        return f"i{self.bits}"


class DescriptorParameter(msgspec.Struct, frozen=True, tag="descriptor"):
    """A descriptor of a tensor, by which boxes are moved."""

    multiple: ClassVar[int] = 1

    name: str
    tensor: str
    dtype: Dtype
    box: tuple[int, ...]
    shape: tuple[Size, ...]

    @property
    def type(self) -> str:
        """As Triton's signatures write it."""
        return f"tensordesc<{_DTYPES[self.dtype]}[{','.join(map(str, self.box))}]>"


class NumberParameter(msgspec.Struct, frozen=True, tag="number"):
    """An integer that is passed as it is."""

    name: str
    value: int
    bits: Literal[32, 64]
    multiple: int

    @property
    def type(self) -> str:
        """As Triton's signatures write it."""
        return f"i{self.bits}"


class RealParameter(msgspec.Struct, frozen=True, tag="real"):
    """A float that is passed as it is."""

    multiple: ClassVar[int] = 1

    name: str
    value: float
    bits: Literal[32, 64]

    @property
    def type(self) -> str:
        """As Triton's signatures write it."""
        return f"fp{self.bits}"


class ConstantParameter(msgspec.Struct, frozen=True, tag="constant"):
    """A value that the compiler knows; it is not passed."""

    multiple: ClassVar[int] = 1

    name: str
    value: Value | None

    @property
    def type(self) -> str:
        """As Triton's signatures write it."""
        return "constexpr"


SourceParameter = (
    PointerParameter | ExtentParameter | DescriptorParameter | NumberParameter | RealParameter | ConstantParameter
)
"""The last three are of foreign kernels alone. ``multiple`` is what the compiler may take for granted of a value."""


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="triton"):
    """A module to compile.

    Attributes:
        text: of the module.
        entry: the function to compile.
        parameters: of the function, in order.
        warps, stages: options of the compiler.
        grid: how many blocks a launch has.
        requirements: the shapes for which the text is right.
        clusters, registers: further options: blocks of a cluster, and the most registers of a thread.
        grid_yz: blocks along y and z.
    """

    text: str
    entry: str
    parameters: tuple[SourceParameter, ...]
    warps: int
    stages: int
    grid: Grid
    requirements: tuple[Requirement, ...] = ()
    clusters: int = 1
    registers: int | None = None
    grid_yz: tuple[int, int] = (1, 1)


def source(kernel: Kernel, genome: Genome, shape: Mapping[str, int], runs: Runs | None = None) -> Source:
    """The module of a kernel under a genome at a shape.

    Args:
        runs: when a launch does anything; None: always.

    Raises:
        ShapeError, LoweringError, SpaceError: see ``lower_tiles``.
    """
    program = lower_tiles(kernel, genome, shape)
    if runs is not None:
        program = replace(program, parameters=(*program.parameters, PointerTo(runs.flag)), runs=runs)
    return source_of(program)


def source_of(program: TileProgram) -> Source:
    """The module of a program."""
    return Source(
        emit(program),
        program.kernel.name,
        tuple(_parameter(parameter, program) for parameter in program.parameters),
        program.warps,
        program.stages,
        program.grid,
        program.requirements,
    )


def _parameter(parameter: Parameter, program: TileProgram) -> SourceParameter:
    name = parameter_name(parameter)
    if isinstance(parameter, ExtentOf):
        return ExtentParameter(name, parameter.dim, program.index_bits, parameter.multiple)
    tensor = parameter.tensor
    if isinstance(parameter, DescriptorOf):
        return DescriptorParameter(name, tensor.name, tensor.dtype, parameter.box, _shape(tensor))
    return PointerParameter(name, tensor.name, tensor.dtype)


def _shape(tensor: Tensor) -> tuple[Size, ...]:
    return tuple(size_of(dim) for dim in tensor.shape)
