"""What a lowering takes for granted of a shape, written down as it is used."""

from __future__ import annotations

import math
from collections.abc import Mapping

from quasim.kernels.index import Index, Num, Sym, extent_name
from quasim.kernels.ir import Axis, Blocks, Dim, Kernel, Tensor
from quasim.kernels.sizes import Requirement, Size
from quasim.kernels.tiled import ExtentOf

INDEX_HIGH = 2**31 - 2**20
"""Most elements of a tensor whose offsets are 32 bits wide: dead lanes reach beyond the end, but not by more."""

HINT = 16
"""Triton draws conclusions (vector widths, asynchronous copies) from multiples of this."""


class Known:
    """A shape, and which of its properties the program rests on; the launcher checks just those.

    Args:
        kernel: what is lowered.
        shape: extents by dimension name.
        exact: dimensions whose extents become constants of the program.
    """

    def __init__(self, kernel: Kernel, shape: Mapping[str, int], exact: tuple[Dim, ...] = ()) -> None:
        kernel.check_shape(dict(shape))
        self.kernel = kernel
        self.shape = shape
        self.exact = {dim.name for dim in exact}
        self._taken: dict[Size, Requirement] = {}
        for dim in kernel.dims:
            constant = shape[dim.name] if dim.name in self.exact else None
            self._take(Size((dim.name,)), constant or dim.lo, constant or dim.hi, self._hint(dim))

    def extent(self, dim: Dim | Blocks | int) -> Index:
        """A tensor's extent along a dimension."""
        if isinstance(dim, Blocks):
            return whole_tiles(self.extent(dim.dim), dim.size)
        if isinstance(dim, int):
            return Num(dim)
        return Num(self.shape[dim.name]) if dim.name in self.exact else Sym(extent_name(dim.name))

    def steps(self, axis: Axis) -> Index:
        """How many steps an axis has."""
        return self.extent(axis.dim) - axis.trim

    def count(self, axis: Axis) -> int:
        """How many steps an axis has at this shape."""
        return self.shape[axis.dim.name] - axis.trim

    def fills(self, axis: Axis, block: int) -> bool:
        """Whether tiles of so many steps leave no lane dead; then the program may rest on it."""
        if axis.trim or self.shape[axis.dim.name] % block:
            return block == 1
        self._take(Size((axis.dim.name,)), 0, axis.dim.hi, block)
        return True

    def at_most(self, dim: Dim, high: int) -> None:
        """Rest on an extent being no larger."""
        self._take(Size((dim.name,)), 0, high, 1)

    def multiple(self, size: Size, of: int) -> bool:
        """Whether a size is a multiple; then the program may rest on it."""
        if size.of(self.shape) % of:
            return False
        if size.dims:
            self._take(size, 0, 2**62, of)
        return True

    def index_is_narrow(self) -> bool:
        """Whether 32 bits hold every offset; then the program rests on it."""
        sizes = [_elements(tensor) for tensor in self.kernel.tensors]
        if any(size.of(self.shape) > INDEX_HIGH for size in sizes):
            return False
        for size in sizes:
            if size.dims:
                self._take(size, 0, INDEX_HIGH, 1)
        return True

    @property
    def requirements(self) -> tuple[Requirement, ...]:
        """All that was taken for granted."""
        return tuple(self._taken.values())

    @property
    def parameters(self) -> tuple[ExtentOf, ...]:
        """The extents that a launch passes."""
        return tuple(ExtentOf(d.name, self._hint(d)) for d in self.kernel.dims if d.name not in self.exact)

    def _hint(self, dim: Dim) -> int:
        return HINT if self.shape[dim.name] % HINT == 0 else 1

    def _take(self, size: Size, low: int, high: int, multiple: int) -> None:
        old = self._taken.get(size, Requirement(size, 0, 2**62))
        new = Requirement(size, max(low, old.low), min(high, old.high), math.lcm(multiple, old.multiple))
        self._taken[size] = new


def _elements(tensor: Tensor) -> Size:
    numbers = [dim for dim in tensor.shape if isinstance(dim, int)]
    # Blocks are counted as if each had one step: no tensor is larger than that.
    dims = (dim.dim if isinstance(dim, Blocks) else dim for dim in tensor.shape if not isinstance(dim, int))
    return Size(tuple(dim.name for dim in dims), math.prod(numbers))


def size_of(dim: Dim | Blocks | int) -> Size:
    """A tensor's extent along a dimension, as data."""
    if isinstance(dim, Blocks):
        return Size((dim.dim.name,), per=dim.size)
    return Size((), dim) if isinstance(dim, int) else Size((dim.name,))


def whole_tiles(steps: Index, block: int) -> Index:
    """How many tiles cover so many steps."""
    return (steps + (block - 1)) // block


def power_of_two(at_least: int) -> int:
    """The smallest power of two from ``at_least`` on."""
    return 1 << (at_least - 1).bit_length()
