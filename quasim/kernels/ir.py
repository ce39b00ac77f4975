"""Level 1 of a kernel's description, the tile IR: what is computed, free of any schedule.

A kernel is a grid of independent instances, each of which owns one tile of every grid axis and runs ``body`` over whole
tiles at once. Guards belong to axes: a lane past an axis' extent is dead. ``Reduce``, ``Dot`` and ``Store`` ignore dead
lanes; a ``Load`` must name the axes it is guarded against, and an access whose guard lacks an axis touches
memory for that axis' dead lanes too (which the emitted code then does as well: guards are not decoration).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from quasim.errors import ShapeError

MapOp = Literal[
    "add", "sub", "mul", "div", "neg", "max", "exp", "sqrt", "round", "cast", "promote", "exponent", "scale", "below"
]
ReduceOp = Literal["sum", "max"]
Dtype = Literal["float32", "float64", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "int8", "int32"]
Precision = Literal["float32", "tf32", "tf32x3", "bf16x6"]


class Role(str, Enum):
    """What a tensor is to the kernel."""

    INPUT = "input"
    OUTPUT = "output"


@dataclass(frozen=True, slots=True)
class Dim:
    """A size known at launch: every multiple of ``multiple`` in [lo, hi]. Preconditions, checked by the launcher."""

    name: str
    lo: int
    hi: int
    multiple: int = 1

    def check(self, kernel: str, extent: int) -> None:
        """Raise ``ShapeError`` when the extent is outside the domain."""
        if not self.lo <= extent <= self.hi:
            raise ShapeError(
                f"{kernel}: {self.name}={extent} is outside [{self.lo}, {self.hi}]", "choose a size within"
            )
        if extent % self.multiple:
            raise ShapeError(f"{kernel}: {self.name}={extent} is not a multiple of {self.multiple}", "pad it")


@dataclass(frozen=True, slots=True)
class Axis:
    """A direction of iteration of ``dim − trim`` steps.

    Attributes:
        whole: an instance holds the whole extent at once (a row that is reduced) instead of a tile of it.
        block: steps of every tile but the last, where what is computed depends on them (they share a scale); 0: any.
    """

    name: str
    dim: Dim
    trim: int = 0
    whole: bool = False
    block: int = 0


@dataclass(frozen=True, slots=True)
class Blocks:
    """How many blocks of ``size`` steps cover a dimension: an extent that is no size of the launch."""

    dim: Dim
    size: int

    def of(self, extent: int) -> int:
        """Their number, at an extent of the dimension."""
        return -(-extent // self.size)


@dataclass(frozen=True, slots=True)
class Affine:
    """``axis + offset``: the position along one tensor dimension; without an axis the constant ``offset``.

    Attributes:
        by_block: the position is the number of the axis' tile instead, the same for all of its steps; of an axis that
            says how long its tiles are.
    """

    axis: Axis | None
    offset: int = 0
    by_block: bool = False

    @property
    def lanes(self) -> Axis | None:
        """The axis along which an access varies within a tile."""
        return None if self.by_block else self.axis


@dataclass(frozen=True, slots=True)
class Tensor:
    """A dense row-major array in memory.

    Attributes:
        shape: extents; a number is one that is the same at every launch.
        cover: for an output, (low, high) per dimension: elements ``low ≤ i < extent − high`` are written exactly
            once and no others. None: all of them.
    """

    name: str
    shape: tuple[Dim | Blocks | int, ...]
    dtype: Dtype
    role: Role
    cover: tuple[tuple[int, int], ...] | None = None


def extents(tensor: Tensor, shape: Mapping[str, int]) -> tuple[int, ...]:
    """Sizes of a tensor at a launch, from the launch's extents by dimension name."""
    return tuple(_extent(dim, shape) for dim in tensor.shape)


def _extent(dim: Dim | Blocks | int, shape: Mapping[str, int]) -> int:
    if isinstance(dim, Blocks):
        return dim.of(shape[dim.dim.name])
    return dim if isinstance(dim, int) else shape[dim.name]


@dataclass(frozen=True, slots=True)
class Const:
    """A number, broadcast to whatever tile needs it; a tile that is filled with it has its format."""

    value: float
    dtype: Dtype = "float32"


@dataclass(frozen=True, slots=True)
class Extent:
    """The number of steps of an axis, whatever its tile; rounded to float32."""

    axis: Axis


@dataclass(frozen=True, slots=True)
class Var:
    """A tile-local value over the named axes."""

    name: str
    axes: tuple[Axis, ...]


@dataclass(frozen=True, slots=True)
class Load:
    """Read a tile, which varies over the axes of its index alone. Dead lanes of the guarded axes are not touched."""

    tensor: Tensor
    index: tuple[Affine, ...]
    guard: tuple[Axis, ...]


@dataclass(frozen=True, slots=True)
class Map:
    """An elementwise operation.

    ``cast`` changes the format only; to integers it takes whole numbers that they hold. ``promote`` changes nothing:
    what it is applied to is added outside of the units for products, whose own sums are cut off instead of rounded.
    ``round(x)`` is the nearest whole number, ties to even, for magnitudes below 2^22. ``exponent(x)`` is ⌊log₂|x|⌋,
    −150 of zero and 128 of infinities and NaN; ``scale(x, t)`` is x·2^t for whole numbers t, which are held within
    ±252; ``below(x, y)`` is 1 where x < y, and 0 elsewhere.
    """

    op: MapOp
    args: tuple[Value, ...]
    dtype: Dtype = "float32"


@dataclass(frozen=True, slots=True)
class Reduce:
    """Combine the live lanes of one axis. ``max`` skips NaN, which a sum carries; of NaN alone it is −∞."""

    op: ReduceOp
    x: Value
    over: Axis


@dataclass(frozen=True, slots=True)
class Dot:
    """``acc + Σ_over a·b`` over the live lanes of one tile of ``over``, in ascending order, in float32.

    Operands of float64 are multiplied and summed in float64, into a sum of that format; int8 is summed in int32,
    exactly.

    Attributes:
        precision: of other operands: ``float32`` takes them exactly (16-bit formats lose nothing), ``tf32`` rounds each
            to 10 bits of mantissa first, ties to even; ``tf32x3`` and ``bf16x6`` add up that many products of words
            in these formats, which takes float32 operands nearly exactly. The result is float32.
    """

    a: Value
    b: Value
    over: Axis
    acc: Var
    precision: Precision = "float32"


Value = Const | Extent | Var | Load | Map | Reduce | Dot


@dataclass(frozen=True, slots=True)
class Set:
    """Bind or rebind a tile-local value."""

    var: Var
    value: Value


@dataclass(frozen=True, slots=True)
class Store:
    """Write a tile; dead lanes of the guarded axes are not touched."""

    tensor: Tensor
    index: tuple[Affine, ...]
    value: Value
    guard: tuple[Axis, ...]


@dataclass(frozen=True, slots=True)
class Loop:
    """Run ``body`` for every tile of an axis, in ascending order.

    Attributes:
        tiles: that one run of the body takes; a loop within, over the same axis, goes through them one by one.
    """

    axis: Axis
    body: tuple[Statement, ...]
    tiles: int = 1


Statement = Set | Store | Loop


@dataclass(frozen=True, slots=True)
class Kernel:
    """A whole kernel: sizes, arrays, the grid of independent instances, and what each instance does."""

    name: str
    dims: tuple[Dim, ...]
    tensors: tuple[Tensor, ...]
    grid: tuple[Axis, ...]
    body: tuple[Statement, ...]

    def check_shape(self, shape: dict[str, int]) -> None:
        """Raise ``ShapeError`` unless the shape gives every dimension an extent within its domain."""
        names = [d.name for d in self.dims]
        if set(shape) != set(names):
            raise ShapeError(
                f"{self.name}: shape names {sorted(shape)}, the kernel has {names}",
                "write " + ",".join(f"{n}=…" for n in names),
            )
        for dim in self.dims:
            dim.check(self.name, shape[dim.name])
