"""Level 2 of a kernel's description for machines of whole tiles (Triton): what each block does, explicitly.

A genome has chosen the schedule; nothing is left to choose. A program is a body of statements that one block runs over
tiles; it loops or is launched once for each tile of its grid. Every access to memory is a ``Fetch``, ``FetchTile``,
``Put`` or ``PutTile`` in the body, with its offsets and with the masks that guard it. An access without a mask against
an axis touches all of that axis' lanes, because the IR does not guard it or because the program's ``requirements`` say
that no lane is dead.

A value has a shape: the names of its lanes, outermost first. A lane of size 1 has no place in a shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from quasim.kernels.index import Index
from quasim.kernels.ir import Dtype, Kernel, MapOp, Precision, ReduceOp, Tensor
from quasim.kernels.lowered import Compare
from quasim.kernels.sizes import Grid, Requirement
from quasim.trial import Genome

Shape = tuple[str, ...]

PID, PROGRAMS = "pid", "programs"
"""Symbols of every program: the number of this block, and how many blocks there are."""


Hint = Literal["", "evict_first", "evict_last"]
"""What caches should do with what is moved: as they like, let it go first (nobody reads it again), or keep it."""


@dataclass(frozen=True, slots=True)
class Lanes:
    """A direction of a tile, ``size`` lanes long; a power of two."""

    name: str
    size: int


def shape_of(*lanes: Lanes) -> Shape:
    """The shape of a value over these lanes."""
    return tuple(lane.name for lane in lanes if lane.size > 1)


@dataclass(frozen=True, slots=True)
class Term:
    """``index · stride``, a part of an offset in elements.

    Attributes:
        index: in launch extents, named integers and at most one ``Place``.
        lane: of that place; None: the same in all lanes.
    """

    index: Index
    stride: Index
    lane: str | None


@dataclass(frozen=True, slots=True)
class Live:
    """A named mask, one truth for each lane; of lane None for all."""

    name: str
    lane: str | None


@dataclass(frozen=True, slots=True)
class Splat:
    """A number in every lane."""

    value: float
    shape: Shape = ()
    dtype: Dtype = "float32"


@dataclass(frozen=True, slots=True)
class Real:
    """An integer as float32, in every lane."""

    value: Index
    shape: Shape = ()
    dtype: Dtype = "float32"


@dataclass(frozen=True, slots=True)
class Full:
    """A tile of one number."""

    value: float
    lanes: tuple[Lanes, ...]
    dtype: Dtype = "float32"

    @property
    def shape(self) -> Shape:
        """All lanes but those of size 1."""
        return shape_of(*self.lanes)


@dataclass(frozen=True, slots=True)
class Reg:
    """A named tile."""

    name: str
    shape: Shape
    dtype: Dtype = "float32"


@dataclass(frozen=True, slots=True)
class Fetch:
    """Read a tile by addresses; 0 in the lanes that ``live`` switches off.

    Attributes:
        hint: what caches should do with these elements.
    """

    tensor: Tensor
    offset: tuple[Term, ...]
    live: tuple[Live, ...]
    shape: Shape
    hint: Hint = ""

    @property
    def dtype(self) -> Dtype:
        """The tensor's."""
        return self.tensor.dtype


@dataclass(frozen=True, slots=True)
class FetchTile:
    """Read a box by a descriptor; the hardware puts 0 where it leaves the tensor.

    Attributes:
        start: position of the first element in each dimension.
        lanes: of the box, one for each dimension; all of them are guarded.
    """

    tensor: Tensor
    start: tuple[Index, ...]
    lanes: tuple[Lanes, ...]

    @property
    def shape(self) -> Shape:
        """All lanes but those of size 1."""
        return shape_of(*self.lanes)

    @property
    def dtype(self) -> Dtype:
        """The tensor's."""
        return self.tensor.dtype


@dataclass(frozen=True, slots=True)
class Turn:
    """A tile of two lanes with its lanes swapped."""

    value: Tile

    @property
    def shape(self) -> Shape:
        """The value's, reversed."""
        return self.value.shape[::-1]

    @property
    def dtype(self) -> Dtype:
        """The value's."""
        return self.value.dtype


@dataclass(frozen=True, slots=True)
class Apply:
    """An elementwise operation in ``dtype``, to which the arguments are converted. ``max`` passes NaN on."""

    op: MapOp
    args: tuple[Tile, ...]
    shape: Shape
    dtype: Dtype = "float32"


@dataclass(frozen=True, slots=True)
class Keep:
    """The live lanes of a value, and ``fill`` in the others."""

    value: Tile
    live: Live
    fill: float

    @property
    def shape(self) -> Shape:
        """The value's."""
        return self.value.shape

    @property
    def dtype(self) -> Dtype:
        """The value's."""
        return self.value.dtype


@dataclass(frozen=True, slots=True)
class Fold:
    """Combine all lanes of one direction. ``max`` passes NaN on."""

    op: ReduceOp
    value: Tile
    over: str

    @property
    def shape(self) -> Shape:
        """The value's without ``over``."""
        return tuple(name for name in self.value.shape if name != self.over)

    @property
    def dtype(self) -> Dtype:
        """The value's."""
        return self.value.dtype


@dataclass(frozen=True, slots=True)
class Contract:
    """``acc + a·b`` of two matrices; the sum is float32, or float64 as both of them are."""

    a: Tile
    b: Tile
    acc: Reg
    precision: Precision

    @property
    def shape(self) -> Shape:
        """The accumulator's."""
        return self.acc.shape

    @property
    def dtype(self) -> Dtype:
        """The accumulator's."""
        return self.acc.dtype


@dataclass(frozen=True, slots=True)
class Weave:
    """Tiles of equal shape laid side by side again, the inverse of ``Part``."""

    parts: tuple[Tile, ...]
    box: tuple[int, ...]
    bits: tuple[int, ...]
    shape: Shape

    @property
    def dtype(self) -> Dtype:
        """The parts'."""
        return self.parts[0].dtype


Tile = Splat | Real | Full | Reg | Fetch | FetchTile | Turn | Apply | Keep | Fold | Contract | Weave


@dataclass(frozen=True, slots=True)
class Let:
    """Name an integer."""

    name: str
    value: Index


@dataclass(frozen=True, slots=True)
class Place:
    """Name the positions ``start + 0, 1, …`` of a direction's lanes; a plain integer where there is one lane."""

    name: str
    lanes: Lanes
    start: Index


@dataclass(frozen=True, slots=True)
class Mask:
    """Name the lanes in which every condition holds."""

    live: Live
    conditions: tuple[Compare, ...]


@dataclass(frozen=True, slots=True)
class Bind:
    """Name a tile, or give a name a new one."""

    reg: Reg
    value: Tile


@dataclass(frozen=True, slots=True)
class Part:
    """Take a chunk of neighbours apart by some bits of their positions.

    Attributes:
        regs: for each combination of the bits, in ascending order, the elements that have them.
        box: the chunk as a box, row-major; the dimensions ``bits`` of it have 2 elements.
    """

    regs: tuple[Reg, ...]
    value: Tile
    box: tuple[int, ...]
    bits: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Halve:
    """Cut a tile in the middle of its last direction."""

    left: Reg
    right: Reg
    value: Reg
    sizes: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Put:
    """Write a tile by addresses, where ``live``; ``shape`` is that of the addresses."""

    tensor: Tensor
    offset: tuple[Term, ...]
    live: tuple[Live, ...]
    value: Tile
    shape: Shape
    hint: Hint = ""


@dataclass(frozen=True, slots=True)
class PutTile:
    """Write a box by a descriptor; the hardware writes nothing outside the tensor."""

    tensor: Tensor
    start: tuple[Index, ...]
    lanes: tuple[Lanes, ...]
    value: Tile


@dataclass(frozen=True, slots=True)
class For:
    """``name`` from ``low`` in steps while below ``high``.

    Attributes:
        stages: iterations whose loads are in flight at once; None: as the program's options say.
        flatten: make one loop of this and the loop within.
    """

    name: str
    low: Index
    high: Index
    step: Index
    body: tuple[Node, ...]
    stages: int | None = None
    flatten: bool = False


@dataclass(frozen=True, slots=True)
class If:
    """``then`` where every condition holds for the whole tile, else ``otherwise``."""

    conditions: tuple[Compare, ...]
    then: tuple[Node, ...]
    otherwise: tuple[Node, ...]


Node = Let | Place | Mask | Bind | Part | Halve | Put | PutTile | For | If


@dataclass(frozen=True, slots=True)
class PointerTo:
    """Parameter: the address of a tensor."""

    tensor: Tensor


@dataclass(frozen=True, slots=True)
class ExtentOf:
    """Parameter: the extent of a dimension; ``multiple`` is what is known of it."""

    dim: str
    multiple: int


@dataclass(frozen=True, slots=True)
class DescriptorOf:
    """Parameter: a descriptor of a tensor, by which boxes of ``box`` elements are moved."""

    tensor: Tensor
    box: tuple[int, ...]


Parameter = PointerTo | ExtentOf | DescriptorOf


@dataclass(frozen=True, slots=True)
class Runs:
    """A condition of a whole launch: it runs where the one element of ``flag`` is other than 0, or where it is not.

    Attributes:
        raised: whether it runs where the flag is raised.
    """

    flag: Tensor
    raised: bool


@dataclass(frozen=True, slots=True)
class TileProgram:
    """A kernel with its schedule for a machine of tiles.

    Attributes:
        parameters: of the program, in order.
        body: what a block does.
        grid: how many blocks there are.
        requirements: the shapes for which this is right.
        warps: of a block.
        stages: of the loops that say nothing else.
        index_bits: of all integers, 32 or 64.
        runs: when a launch does anything; None: always.
    """

    kernel: Kernel
    genome: Genome
    parameters: tuple[Parameter, ...]
    body: tuple[Node, ...]
    grid: Grid
    requirements: tuple[Requirement, ...]
    warps: int
    stages: int
    index_bits: Literal[32, 64]
    runs: Runs | None = None
