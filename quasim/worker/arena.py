"""Sets of a problem's arrays in one block of memory, rotated through so that no launch finds its data in a cache.

Every array begins on a cache line and is followed by a margin of known bytes, where a variant that writes past its
array leaves a trace.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from quasim.kernels import Array, Arrays
from quasim.kernels._base import numpy_dtype
from quasim.kernels.accuracy import untouched
from quasim.kernels.ir import Kernel, Role, extents

ALIGN = 64

MARGIN_BYTES = 4096 + 320
"""A page to catch stray writes; the odd lines keep arrays of whole pages from sharing their lowest 12 address bits,
which makes loads wait for unrelated stores."""

MAX_SETS = 4096
"""Below some 16 KiB of arrays, the margins outgrow the problem and the memory would be theirs."""

Bytes = npt.NDArray[np.uint8]
MARK = np.uint8(0xE5)
"""Every byte of a margin: arrays of 16-bit numbers may end within a word."""


class Arena:
    """Equal copies of inputs and outputs; all pages are touched when built.

    Args:
        inputs: the input arrays by name.
        total_bytes: the sets together take at least this much memory (see ``MAX_SETS``).
    """

    def __init__(self, kernel: Kernel, shape: Mapping[str, int], inputs: Arrays, total_bytes: int) -> None:
        self._inputs = inputs
        self._outputs = {t.name: untouched(t.dtype) for t in kernel.tensors if t.role is Role.OUTPUT}
        layout = {t.name: (numpy_dtype(t.dtype), extents(t, shape)) for t in kernel.tensors}
        self.set_bytes = sum(dtype.itemsize * int(np.prod(sizes)) for dtype, sizes in layout.values())
        count = min(MAX_SETS, -(-total_bytes // self.set_bytes) + 1)
        stride = sum(_padded(dtype.itemsize * int(np.prod(sizes))) for dtype, sizes in layout.values())
        self._block = aligned_block(MARGIN_BYTES + count * stride)
        self._block[:] = MARK
        self._margins: list[list[Bytes]] = []
        self.sets: list[Arrays] = []
        at = _lines(MARGIN_BYTES)
        for _ in range(count):
            at = self._add_set(layout, at)

    @property
    def bytes(self) -> int:
        """Memory that all sets take, margins included."""
        return self._block.nbytes

    def _add_set(self, layout: Mapping[str, tuple[np.dtype[np.generic], tuple[int, ...]]], at: int) -> int:
        arrays: dict[str, Array] = {}
        margins = [self._block[max(0, at - MARGIN_BYTES) : at]]
        for name, (dtype, sizes) in layout.items():
            end = at + dtype.itemsize * int(np.prod(sizes))
            arrays[name] = self._block[at:end].view(dtype).reshape(sizes)
            following = at + _padded(end - at)
            margins.append(self._block[end:following])
            at = following
        self.sets.append(arrays)
        self._margins.append(margins)
        for name, source in self._inputs.items():
            arrays[name][...] = source
        for name, mark in self._outputs.items():
            arrays[name].fill(mark)
        return at

    def clear_outputs(self, index: int) -> None:
        """Fill the outputs of one set with what marks them as untouched."""
        for name, mark in self._outputs.items():
            self.sets[index][name].fill(mark)

    def outputs(self, index: int) -> Arrays:
        """The output arrays of one set."""
        return {name: self.sets[index][name] for name in self._outputs}

    def inputs(self, index: int) -> Arrays:
        """The input arrays of one set."""
        return {name: self.sets[index][name] for name in self._inputs}

    def trespass(self, index: int) -> str:
        """Name what a launch on this set wrote that was not its own, and repair it; empty when it wrote nothing."""
        found = ""
        for name, source in self._inputs.items():
            array = self.sets[index][name]
            if not np.array_equal(_bits(array), _bits(source)):
                found = f"wrote into its input {name}"
                array[...] = source
        for margin in self._margins[index]:
            if (margin != MARK).any():
                found = "wrote past the end of an array"
                margin[:] = MARK
        return found


def _bits(array: Array) -> npt.NDArray[np.unsignedinteger]:
    """The numbers as integers, so that equal NaN are equal."""
    return array.view(np.dtype(f"u{array.itemsize}"))


def _lines(size: int) -> int:
    return -(-size // ALIGN) * ALIGN


def _padded(size: int) -> int:
    return _lines(size + MARGIN_BYTES)


def aligned_block(size: int) -> npt.NDArray[np.uint8]:
    """A block of whole cache lines that begins on one."""
    block = np.empty(_lines(size) + ALIGN, dtype=np.uint8)
    start = -block.ctypes.data % ALIGN
    return block[start : start + _lines(size)]
