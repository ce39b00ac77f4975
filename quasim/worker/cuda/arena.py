"""Sets of a problem's arrays in one block of device memory, rotated through so that no launch finds its data in L2.

As on the CPU (``quasim.worker.arena``), every array is followed by a margin of known bytes, where a variant that writes
past its array leaves a trace.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch

from quasim.kernels import Array, Arrays
from quasim.kernels.accuracy import untouched
from quasim.kernels.ir import Dtype, Kernel, Role, extents

ALIGN = 256
"""As cudaMalloc gives; tensor maps and vector loads want 16."""

MARGIN_BYTES = 4096 + ALIGN
"""A page to catch stray writes; the odd lines keep arrays of whole pages from starting in the same memory channel."""

MAX_SETS = 1024
"""Graphs hold a launch for each set; below some 100 KiB of arrays their sets stay in L2, and no kernel waits for it."""

MARK = 0xE5

DTYPES: dict[Dtype, torch.dtype] = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
    "float8_e4m3fn": torch.float8_e4m3fn,
    "float8_e5m2": torch.float8_e5m2,
    "int8": torch.int8,
    "int32": torch.int32,
}


class Arena:
    """Equal copies of inputs and outputs.

    Args:
        inputs: the input arrays by name; their bytes are copied as they are.
        total_bytes: the sets together take at least this much memory (see ``MAX_SETS``).

    Raises:
        torch.OutOfMemoryError: the device has not that much.
    """

    def __init__(
        self, kernel: Kernel, shape: Mapping[str, int], inputs: Arrays, total_bytes: int, device: torch.device
    ) -> None:
        self._layout = {t.name: (t.dtype, extents(t, shape)) for t in kernel.tensors}
        self._outputs = {t.name: untouched(t.dtype) for t in kernel.tensors if t.role is Role.OUTPUT}
        sizes = [_bytes(*each) for each in self._layout.values()]
        self.set_bytes = sum(sizes)
        count = min(MAX_SETS, -(-total_bytes // max(1, self.set_bytes)) + 1)
        stride = sum(_padded(size) for size in sizes)
        self._block = torch.full((_lines(MARGIN_BYTES) + count * stride,), MARK, dtype=torch.uint8, device=device)
        self._inputs = {name: _upload(array, device) for name, array in inputs.items()}
        self._margins: list[list[torch.Tensor]] = []
        self.sets: list[dict[str, torch.Tensor]] = []
        for index in range(count):
            self._add_set(_lines(MARGIN_BYTES) + index * stride)

    @property
    def bytes(self) -> int:
        """Memory that all sets take, margins and the clean inputs included."""
        return int(self._block.numel() + sum(source.numel() for source in self._inputs.values()))

    def _add_set(self, at: int) -> None:
        arrays: dict[str, torch.Tensor] = {}
        margins = [self._block[at - MARGIN_BYTES : at]]
        for name, (dtype, sizes) in self._layout.items():
            end = at + _bytes(dtype, sizes)
            arrays[name] = self._block[at:end].view(DTYPES[dtype]).view(sizes)
            following = at + _padded(end - at)
            margins.append(self._block[end:following])
            at = following
        self.sets.append(arrays)
        self._margins.append(margins)
        for name, source in self._inputs.items():
            _raw(arrays[name]).copy_(source)
        self.clear_outputs(len(self.sets) - 1)

    def clear_outputs(self, index: int) -> None:
        """Fill the outputs of one set with what marks them as untouched."""
        for name, mark in self._outputs.items():
            self.sets[index][name].fill_(mark)

    def outputs(self, index: int) -> dict[str, torch.Tensor]:
        """The output arrays of one set."""
        return {name: self.sets[index][name] for name in self._outputs}

    def trespass(self, index: int) -> str:
        """Name what a launch on this set wrote that was not its own, and repair it; empty when it wrote nothing."""
        found = ""
        for name, source in self._inputs.items():
            raw = _raw(self.sets[index][name])
            if not torch.equal(raw, source):
                found = f"wrote into its input {name}"
                raw.copy_(source)
        if bool((torch.cat(self._margins[index]) != MARK).any()):
            found = "wrote past the end of an array"
            for margin in self._margins[index]:
                margin.fill_(MARK)
        return found


def _upload(array: Array, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.require(array, requirements=["C", "W"]).reshape(-1).view(np.uint8)).to(device)


def _raw(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.view(-1).view(torch.uint8)


def _bytes(dtype: Dtype, sizes: tuple[int, ...]) -> int:
    return int(DTYPES[dtype].itemsize * math.prod(sizes))


def _lines(size: int) -> int:
    return -(-size // ALIGN) * ALIGN


def _padded(size: int) -> int:
    return _lines(size + MARGIN_BYTES)
