"""A numpy interpreter of the tile IR: slow, obvious, and unforgiving.

It runs a kernel tile by tile, as any schedule does, at whatever shape and tile sizes it is given, and so replays a
counterexample. Lanes past an axis' extent hold NaN, so that a dead lane that leaks into an answer shows. An access
that is not guarded against an axis touches memory for its dead lanes too, and one that thereby leaves the array is an
error, as is an element of an output's cover that is not written exactly once, or one outside it that is written.
Sums need not have the order of the emitted code: they agree to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from quasim.errors import DataError, QuasimError, SpaceError
from quasim.kernels._base import Array, Arrays, numpy_dtype
from quasim.kernels.accuracy import untouched_outputs
from quasim.kernels.ir import (
    Affine,
    Axis,
    Const,
    Dim,
    Dot,
    Extent,
    Kernel,
    Load,
    Loop,
    Map,
    MapOp,
    Reduce,
    Role,
    Set,
    Statement,
    Store,
    Tensor,
    Value,
    Var,
    extents,
)
from quasim.kernels.walk import axes
from quasim.precision.split import exponents, scaled

Counts = npt.NDArray[np.int32]


class OutOfBoundsError(QuasimError):
    """An access that leaves its array."""


class CoverageError(QuasimError):
    """An output element that was not written as often as its cover says."""


_OPS: dict[MapOp, Callable[..., Array]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "neg": np.negative,
    "max": np.maximum,
    "exp": np.exp,
    "sqrt": np.sqrt,
    "round": np.rint,
    "cast": np.positive,
    "promote": np.positive,
    "exponent": lambda x: exponents(x).astype(np.float32),
    "scale": lambda x, t: scaled(x, t.astype(np.int32)),
    "below": lambda x, y: np.less(x, y).astype(np.float32),
}


def interpret(kernel: Kernel, inputs: Arrays, shape: Mapping[str, int], tiles: Mapping[str, int]) -> Arrays:
    """The outputs of one launch; elements outside a cover hold ``accuracy.UNTOUCHED``.

    Args:
        kernel: what to run.
        inputs: arrays by tensor name.
        shape: extents by dimension name; not held against the kernel's domain, so that its bounds can be tried too.
        tiles: tile sizes by axis name; an axis that is not named is one tile, exactly as long as its extent. A whole
            axis is padded to a multiple of its tile; one that says how long its tiles are keeps to that.

    Raises:
        SpaceError: a tile is not positive, or names no axis of the kernel.
        DataError: an input is missing or has the wrong shape.
        OutOfBoundsError: a lane that no guard switches off leaves its array.
        CoverageError: an output element is not written exactly once, or is outside its cover and written.
    """
    _check_tiles(kernel, tiles)
    _check_inputs(kernel, inputs, shape)
    launch = _Launch(kernel, inputs, shape, tiles)
    with np.errstate(all="ignore"):
        for starts in product(*(launch.starts(axis) for axis in kernel.grid)):
            _Instance(launch, dict(zip(kernel.grid, starts, strict=True))).run(kernel.body)
    launch.check_cover()
    return launch.outputs


def _check_tiles(kernel: Kernel, tiles: Mapping[str, int]) -> None:
    known = axes(kernel)
    for name, size in tiles.items():
        if name not in known or size < 1:
            raise SpaceError(f"{kernel.name}: no tile {name}={size}", f"give sizes ≥ 1 of the axes {list(known)}")


def _check_inputs(kernel: Kernel, inputs: Arrays, shape: Mapping[str, int]) -> None:
    for tensor in kernel.tensors:
        wanted = extents(tensor, shape)
        if tensor.role is Role.INPUT and (tensor.name not in inputs or inputs[tensor.name].shape != wanted):
            raise DataError(f"{kernel.name}: input {tensor.name} is not an array of shape {wanted}", "pass one")


class _Launch:
    """What all instances share: sizes, memory, and how often each output element was written."""

    def __init__(self, kernel: Kernel, inputs: Arrays, shape: Mapping[str, int], tiles: Mapping[str, int]) -> None:
        self.kernel = kernel
        self.tiles = tiles
        self.shape = shape
        self.outputs = untouched_outputs(kernel, shape)
        self.memory = {**inputs, **self.outputs}
        self.written: dict[str, Counts] = {n: np.zeros(out.shape, np.int32) for n, out in self.outputs.items()}

    def extent(self, axis: Axis) -> int:
        return self.shape[axis.dim.name] - axis.trim

    def size(self, axis: Axis) -> int:
        """Lanes of a tile, dead ones included."""
        extent = self.extent(axis)
        tile = axis.block or self.tiles.get(axis.name, extent)
        return -(-extent // tile) * tile if axis.whole else tile

    def starts(self, axis: Axis) -> range:
        return range(0, self.extent(axis), self.size(axis))

    def check_cover(self) -> None:
        for tensor in self.kernel.tensors:
            if tensor.name in self.written:
                _check_cover(tensor, self.written[tensor.name])


def _check_cover(tensor: Tensor, written: Counts) -> None:
    wanted = np.zeros_like(written)
    cover = tensor.cover or ((0, 0),) * written.ndim
    wanted[tuple(slice(low, n - high) for n, (low, high) in zip(written.shape, cover, strict=True))] = 1
    wrong = np.argwhere(written != wanted)
    if len(wrong):
        at = tuple(int(i) for i in wrong[0])
        what = f"{tensor.name}{list(at)} is written {written[at]} times instead of {wanted[at]}"
        raise CoverageError(f"{what}, as are {len(wrong) - 1} others", "check the guards and offsets of its stores")


@dataclass(frozen=True, slots=True)
class _Tile:
    """A value: one array dimension for each axis."""

    axes: tuple[Axis, ...]
    data: Array

    def over(self, order: Sequence[Axis]) -> Array:
        """The data with a dimension for each axis of ``order``, of length 1 where the value does not vary."""
        held = [axis for axis in order if axis in self.axes]
        data: Array = self.data.transpose([self.axes.index(axis) for axis in held])
        return data.reshape([data.shape[held.index(axis)] if axis in held else 1 for axis in order])


class _Instance:
    """One instance of the grid: where its tiles start, and its variables."""

    def __init__(self, launch: _Launch, start: dict[Axis, int]) -> None:
        self.launch = launch
        self.start = start
        self.turns: dict[Axis, range] = {}
        """Starts of the tiles that one run of a loop's body takes."""
        self.vars: dict[Var, _Tile] = {}

    def run(self, body: tuple[Statement, ...]) -> None:
        for statement in body:
            if isinstance(statement, Set):
                self.vars[statement.var] = self._full(statement.var.axes, self._value(statement.value))
            elif isinstance(statement, Store):
                self._store(statement)
            else:
                self._loop(statement)

    def _loop(self, loop: Loop) -> None:
        turn = self.turns.get(loop.axis)
        starts = self.launch.starts(loop.axis) if turn is None else turn
        for first in range(0, len(starts), loop.tiles):
            self.turns[loop.axis] = starts[first : first + loop.tiles]
            self.start[loop.axis] = starts[first]
            self.run(loop.body)
        if turn is None:
            del self.start[loop.axis], self.turns[loop.axis]

    def _full(self, over: tuple[Axis, ...], value: _Tile) -> _Tile:
        """The value repeated along the axes over which it does not vary."""
        data = np.broadcast_to(value.over(over), [self.launch.size(axis) for axis in over]).copy()
        return _Tile(over, self._kill(over, data))

    def _kill(self, over: tuple[Axis, ...], data: Array) -> Array:
        """Fill the dead lanes with NaN, in place."""
        for dimension, axis in enumerate(over):
            np.moveaxis(data, dimension, 0)[self._live(axis) :] = _dead(data.dtype)
        return data

    def _live(self, axis: Axis) -> int:
        """How many lanes of the current tile lie within the axis' extent; these come first."""
        return min(self.launch.size(axis), self.launch.extent(axis) - self._start(axis))

    def _start(self, axis: Axis) -> int:
        return 0 if axis.whole else self.start[axis]

    def _value(self, value: Value) -> _Tile:
        if isinstance(value, Const):
            return _Tile((), np.asarray(value.value, np.float64))
        if isinstance(value, Extent):
            return _Tile((), np.asarray(self.launch.extent(value.axis), np.float32))
        if isinstance(value, Var):
            return self.vars[value]
        if isinstance(value, Load):
            return self._load(value)
        if isinstance(value, Map):
            return self._map(value)
        if isinstance(value, Reduce):
            return self._reduce(value)
        return self._dot(value)

    def _touched(self, tensor: Tensor, index: tuple[Affine, ...], guard: tuple[Axis, ...]) -> list[range]:
        """Positions that an access touches in each dimension of a tensor: those of live and of unguarded lanes."""
        touched = []
        for number, (at, extent) in enumerate(zip(index, extents(tensor, self.launch.shape), strict=True)):
            first, lanes = self._lanes(at, guard)
            touched.append(range(first, first + lanes))
            if first < 0 or first + lanes > extent:
                what = f"{tensor.name} is accessed at {_dimension(tensor, number)}={first}…{first + lanes - 1}"
                guarded = f"guard it against axis {at.axis.name}, or " if at.axis else ""
                raise OutOfBoundsError(f"{what}, outside [0, {extent})", f"{guarded}check its offset {at.offset}")
        return touched

    def _lanes(self, at: Affine, guard: tuple[Axis, ...]) -> tuple[int, int]:
        """The first position of a tile along a dimension, and how many it touches."""
        if at.axis is None:
            return at.offset, 1
        if at.by_block:
            return self._start(at.axis) // at.axis.block + at.offset, 1
        lanes = self._live(at.axis) if at.axis in guard else self.launch.size(at.axis)
        return self._start(at.axis) + at.offset, lanes

    def _tile_shape(self, index: tuple[Affine, ...]) -> list[int]:
        """Lanes of a whole tile along each dimension of a tensor."""
        return [1 if at.lanes is None else self.launch.size(at.lanes) for at in index]

    def _load(self, load: Load) -> _Tile:
        over = _over(load.index)
        touched = self._touched(load.tensor, load.index, load.guard)
        dtype = numpy_dtype(load.tensor.dtype)
        data = np.full(self._tile_shape(load.index), _dead(dtype), dtype)
        data[tuple(slice(len(r)) for r in touched)] = self.launch.memory[load.tensor.name][np.ix_(*touched)]
        return _Tile(over, self._kill(over, data.reshape([self.launch.size(axis) for axis in over])))

    def _store(self, store: Store) -> None:
        touched = self._touched(store.tensor, store.index, store.guard)
        value = self._full(_over(store.index), self._value(store.value)).data.reshape(self._tile_shape(store.index))
        where = np.ix_(*touched)
        self.launch.outputs[store.tensor.name][where] = value[tuple(slice(len(r)) for r in touched)]
        self.launch.written[store.tensor.name][where] += 1

    def _map(self, value: Map) -> _Tile:
        args = [self._value(arg) for arg in value.args]
        over = tuple(dict.fromkeys(axis for arg in args for axis in arg.axes))
        return _Tile(over, _OPS[value.op](*(arg.over(over).astype(numpy_dtype(value.dtype)) for arg in args)))

    def _reduce(self, value: Reduce) -> _Tile:
        x = self._value(value.x)
        dimension = x.axes.index(value.over)
        live = np.moveaxis(x.data, dimension, 0)[: self._live(value.over)]
        rest = tuple(axis for axis in x.axes if axis != value.over)
        combined = live.sum(axis=0) if value.op == "sum" else np.fmax.reduce(live, axis=0, initial=-np.inf)
        return _Tile(rest, np.asarray(combined))

    def _dot(self, value: Dot) -> _Tile:
        acc, live = self.vars[value.acc], self._live(value.over)
        order = (*acc.axes, value.over)
        a, b = (self._value(x).over(order)[..., :live] for x in (value.a, value.b))
        if a.dtype == np.float64:
            return _Tile(acc.axes, acc.data + np.einsum("...k,...k->...", a, b))
        if a.dtype == np.int8:
            return _Tile(acc.axes, acc.data + np.einsum("...k,...k->...", a.astype(np.int32), b.astype(np.int32)))
        a, b = a.astype(np.float32), b.astype(np.float32)
        if value.precision == "tf32":  # the sums of words are as good as exact
            a, b = _tf32(a), _tf32(b)
        return _Tile(acc.axes, acc.data.astype(np.float32) + np.einsum("...k,...k->...", a, b))


def _over(index: tuple[Affine, ...]) -> tuple[Axis, ...]:
    """The axes that an access varies over."""
    return tuple(at.lanes for at in index if at.lanes is not None)


def _dead(dtype: np.dtype[np.generic]) -> float:
    """What dead lanes hold: NaN, or the least integer."""
    return float(np.iinfo(dtype.name).min) if np.issubdtype(dtype, np.integer) else np.nan


def _dimension(tensor: Tensor, number: int) -> str:
    dim = tensor.shape[number]
    return dim.name if isinstance(dim, Dim) else f"position {number}"


def _tf32(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Round to 10 bits of mantissa, ties to even; a carry runs into the exponent, as it should."""
    bits = x.view(np.uint32)
    rounded = (bits + np.uint32(0xFFF) + (bits >> np.uint32(13) & np.uint32(1))) & np.uint32(0xFFFFE000)
    return np.where(np.isnan(x), x, rounded.view(np.float32))
