"""What the lowerings to threads have in common: values of the IR element by element, and the finished program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Literal

from quasim.errors import SpaceError
from quasim.kernels.index import Index, Num
from quasim.kernels.ir import Affine, Axis, Const, Extent, Map, Tensor, Value, Var
from quasim.kernels.ir import Load as Read
from quasim.kernels.lower.pattern import unsupported
from quasim.kernels.lower.tiles_known import Known
from quasim.kernels.lowered import Compare
from quasim.kernels.sizes import Grid, Tiles
from quasim.kernels.threaded import GANG, Apply, Guard, Node, Number, Operand, Real, Shared, ThreadProgram
from quasim.trial import Genome

Lanes = Literal[1, 4]

FOUR: Lanes = 4
"""Elements of float32 in the 16 bytes that one access of a thread moves at most."""

Steps = Mapping[Axis, Index]
"""Where a thread is along each axis."""

Guards = Mapping[Axis, Guard]
"""What says that a thread has work along an axis; an axis without a guard always has."""


def value_of(known: Known, value: Value, leaf: Callable[[Read | Var], Operand]) -> Operand:
    """One element of a value of the IR, whose loads and variables ``leaf`` knows."""
    if isinstance(value, Const):
        return Number(value.value)
    if isinstance(value, Extent):
        return Real(known.steps(value.axis))
    if isinstance(value, Map):
        return Apply(value.op, tuple(value_of(known, arg, leaf) for arg in value.args))
    if isinstance(value, Read | Var):
        return leaf(value)
    raise unsupported(known.kernel, f"a {type(value).__name__} within an expression of elements")


def offset(known: Known, tensor: Tensor, index: tuple[Affine, ...], steps: Steps) -> Index:
    """Of an element from the tensor's first, row-major."""
    places = (Num(at.offset) if at.axis is None else steps[at.axis] + at.offset for at in index)
    start: Index = Num(0)
    return reduce(lambda found, at: found * known.extent(at[1]) + at[0], zip(places, tensor.shape, strict=True), start)


def guard_of(index: tuple[Affine, ...], guarded: tuple[Axis, ...], guards: Guards) -> Guard:
    """The conditions of an access: those of the axes of its index against which the IR guards it."""
    used = dict.fromkeys(at.axis for at in index if at.axis is not None and at.axis in guarded)
    return tuple(compare for axis in used for compare in guards.get(axis, ()))


def below(known: Known, axis: Axis, step: Index, block: int) -> Guard:
    """That a step exists; nothing where tiles of so many steps fill the axis."""
    return () if known.fills(axis, block) else (Compare(step, "<", known.steps(axis)),)


def finish(
    known: Known,
    genome: Genome,
    body: tuple[Node, ...],
    tiles: tuple[Tiles, ...],
    threads: int,
    shared: tuple[Shared, ...] = (),
) -> ThreadProgram:
    """The program of a body with a block for each tile.

    Raises:
        SpaceError: a block is no whole number of gangs.
    """
    if threads % GANG or not threads:
        raise SpaceError(f"{known.kernel.name}: blocks of {threads} threads", f"take a multiple of {GANG}")
    bits: Literal[32, 64] = 32 if known.index_is_narrow() else 64
    return ThreadProgram(
        known.kernel, genome, known.parameters, shared, body, Grid(tiles), known.requirements, threads, bits
    )
