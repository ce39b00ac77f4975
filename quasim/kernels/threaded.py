"""Level 2 of a kernel's description for machines of threads (CUDA C++, HIP): what each thread does, explicitly.

A genome has chosen the schedule; nothing is left to choose. A program is a body of statements that every thread of
every block runs. Registers are small arrays of float32 of each thread. Every access to a tensor is a ``Load``,
``Copy`` or ``Save`` in the body, and what guards it is its ``guard`` or a condition around it; an access with neither
touches memory in every thread, because the IR does not guard it or because the program's ``requirements`` say that no
thread is without work.

All threads of a block come to every ``Barrier`` and ``Exchange``: conditions around these are the same for all of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from quasim.kernels.index import Index
from quasim.kernels.ir import Kernel, MapOp, ReduceOp, Tensor
from quasim.kernels.lowered import Compare
from quasim.kernels.sizes import Grid, Requirement
from quasim.kernels.tiled import ExtentOf
from quasim.trial import Genome

BLOCK, THREAD = "block", "thread"
"""Symbols of every program: the number of this block, and of this thread in it."""

GANG = 32
"""Threads that can exchange values without shared memory; AMD's wavefronts are two of these."""

ThreadOp = MapOp | Literal["fma", "larger"]
"""Operations of the IR, and those that a lowering needs besides: ``larger`` skips NaN, as the IR's reduction does."""

Guard = tuple[Compare, ...]
"""All of these must hold."""


@dataclass(frozen=True, slots=True)
class Array:
    """Registers of a thread; of no dimensions: one."""

    name: str
    shape: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Cell:
    """An element of an array of registers."""

    array: Array
    at: tuple[Index, ...] = ()


@dataclass(frozen=True, slots=True)
class Number:
    """A constant."""

    value: float


@dataclass(frozen=True, slots=True)
class Real:
    """An integer as float32."""

    value: Index


@dataclass(frozen=True, slots=True)
class Apply:
    """An operation in float32. ``max`` is NaN where either argument is."""

    op: ThreadOp
    args: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Keep:
    """The value where every condition holds, else ``fill``."""

    value: Operand
    guard: Guard
    fill: float


Operand = Cell | Number | Real | Apply | Keep


@dataclass(frozen=True, slots=True)
class Let:
    """Name an integer for the rest of the enclosing block."""

    name: str
    value: Index


@dataclass(frozen=True, slots=True)
class Declare:
    """Registers, for the rest of the enclosing block; what they hold is not defined."""

    array: Array


@dataclass(frozen=True, slots=True)
class Assign:
    """Give a register a value."""

    cell: Cell
    value: Operand


@dataclass(frozen=True, slots=True)
class Load:
    """Read ``lanes`` neighbours of a tensor into neighbouring registers; 0 where the guard does not hold.

    Attributes:
        into: the first of the registers.
        offset: of the first element, a multiple of ``lanes``.
        once: a hint that nobody reads these elements again.
    """

    into: Cell
    tensor: Tensor
    offset: Index
    lanes: Literal[1, 4]
    guard: Guard = ()
    once: bool = False


@dataclass(frozen=True, slots=True)
class Save:
    """Write neighbouring registers to neighbours of a tensor where the guard holds; attributes as in ``Load``."""

    tensor: Tensor
    offset: Index
    source: Cell
    lanes: Literal[1, 4]
    guard: Guard = ()
    once: bool = False


@dataclass(frozen=True, slots=True)
class Shared:
    """Memory that the threads of a block share; its last dimension is a multiple of four."""

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Floats."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Stash:
    """Write neighbouring registers to neighbours in shared memory; of four, the first is at a multiple of four."""

    buffer: Shared
    at: tuple[Index, ...]
    source: Cell
    lanes: Literal[1, 4]


@dataclass(frozen=True, slots=True)
class Take:
    """Read neighbours from shared memory into neighbouring registers; of four, the first is at a multiple of four."""

    into: Cell
    buffer: Shared
    at: tuple[Index, ...]
    lanes: Literal[1, 4]


@dataclass(frozen=True, slots=True)
class Copy:
    """Begin to bring four neighbours of a tensor to shared memory, past the registers; 0 where the guard does not hold.

    They may be taken after the next ``Settle`` and the ``Barrier`` that follows it. ``offset`` and the place in the
    buffer are multiples of four.
    """

    buffer: Shared
    at: tuple[Index, ...]
    tensor: Tensor
    offset: Index
    guard: Guard = ()


@dataclass(frozen=True, slots=True)
class Settle:
    """Wait for the copies that this thread began."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """Combine a register over gangs of ``width`` neighbouring threads, a power of two; each of them gets the result.

    Partners are 1, 2, 4, … threads apart: a balanced tree.
    """

    cell: Cell
    op: ReduceOp
    width: int


@dataclass(frozen=True, slots=True)
class Barrier:
    """All threads of the block wait for one another, and see what each has stashed."""


@dataclass(frozen=True, slots=True)
class Unroll:
    """``name`` from 0 to ``count``, written out by the compiler, so that registers are found by number."""

    name: str
    count: int
    body: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class For:
    """``name`` from 0 while below ``high``, one by one."""

    name: str
    high: Index
    body: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class If:
    """``then`` where every condition holds, else ``otherwise``."""

    guard: Guard
    then: tuple[Node, ...]
    otherwise: tuple[Node, ...] = ()


Node = Let | Declare | Assign | Load | Save | Stash | Take | Copy | Settle | Exchange | Barrier | Unroll | For | If


@dataclass(frozen=True, slots=True)
class ThreadProgram:
    """A kernel with its schedule for a machine of threads.

    Attributes:
        extents: what a launch passes besides the addresses of all tensors, in order.
        shared: memory of a block.
        body: what a thread does.
        grid: how many blocks there are.
        requirements: the shapes for which this is right.
        threads: of a block; a multiple of 32.
        index_bits: of all integers, 32 or 64.
    """

    kernel: Kernel
    genome: Genome
    extents: tuple[ExtentOf, ...]
    shared: tuple[Shared, ...]
    body: tuple[Node, ...]
    grid: Grid
    requirements: tuple[Requirement, ...]
    threads: int
    index_bits: Literal[32, 64]

    @property
    def shared_bytes(self) -> int:
        """Shared memory of a block."""
        return 4 * sum(buffer.size for buffer in self.shared)
