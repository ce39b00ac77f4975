"""Sets of a problem's arrays in one block of memory, rotated through so that no launch finds its data in a cache.

Every array begins on a cache line and is followed by a margin of known bytes, where a variant that writes past its
array leaves a trace.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from quasim.kernels import Array, Arrays
from quasim.kernels.accuracy import UNTOUCHED
from quasim.kernels.ir import Kernel, Role

ALIGN = 64

MARGIN_BYTES = 4096 + 320
"""A page to catch stray writes; the odd lines keep arrays of whole pages from sharing their lowest 12 address bits,
which makes loads wait for unrelated stores."""

MAX_SETS = 4096
"""Below some 16 KiB of arrays, the margins outgrow the problem and the memory would be theirs."""

Words = npt.NDArray[np.uint32]
MARK = np.float32(UNTOUCHED).view(np.uint32)


class Arena:
    """Equal copies of inputs and outputs; all pages are touched when built.

    Args:
        inputs: the input arrays by name.
        total_bytes: the sets together take at least this much memory (see ``MAX_SETS``).
    """

    def __init__(self, kernel: Kernel, shape: Mapping[str, int], inputs: Arrays, total_bytes: int) -> None:
        self._inputs = inputs
        self._outputs = [t.name for t in kernel.tensors if t.role is Role.OUTPUT]
        layout = {t.name: (np.dtype(t.dtype), tuple(shape[d.name] for d in t.shape)) for t in kernel.tensors}
        self.set_bytes = sum(dtype.itemsize * int(np.prod(extents)) for dtype, extents in layout.values())
        count = min(MAX_SETS, -(-total_bytes // self.set_bytes) + 1)
        stride = sum(_padded(dtype.itemsize * int(np.prod(extents))) for dtype, extents in layout.values())
        self._block = aligned_block(MARGIN_BYTES + count * stride)
        self._block.view(np.uint32)[:] = MARK
        self._margins: list[list[Words]] = []
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
        margins = [self._block[max(0, at - MARGIN_BYTES) : at].view(np.uint32)]
        for name, (dtype, extents) in layout.items():
            end = at + dtype.itemsize * int(np.prod(extents))
            arrays[name] = self._block[at:end].view(dtype).reshape(extents)
            following = at + _padded(end - at)
            margins.append(self._block[end:following].view(np.uint32))
            at = following
        self.sets.append(arrays)
        self._margins.append(margins)
        for name, source in self._inputs.items():
            arrays[name][...] = source
        return at

    def clear_outputs(self, index: int) -> None:
        """Fill the outputs of one set with ``UNTOUCHED``."""
        for name in self._outputs:
            self.sets[index][name].fill(UNTOUCHED)

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
            if not np.array_equal(array.view(np.uint32), source.view(np.uint32)):
                found = f"wrote into its input {name}"
                array[...] = source
        for margin in self._margins[index]:
            if (margin != MARK).any():
                found = "wrote past the end of an array"
                margin[:] = MARK
        return found


def _lines(size: int) -> int:
    return -(-size // ALIGN) * ALIGN


def _padded(size: int) -> int:
    return _lines(size + MARGIN_BYTES)


def aligned_block(size: int) -> npt.NDArray[np.uint8]:
    """A block of whole cache lines that begins on one."""
    block = np.empty(_lines(size) + ALIGN, dtype=np.uint8)
    start = -block.ctypes.data % ALIGN
    return block[start : start + _lines(size)]
