"""The two error norms on the device: the rules are those of ``quasim.kernels.accuracy``, the arithmetic is float64."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from quasim.kernels import Reference
from quasim.kernels.accuracy import SMALLEST_SCALE, WRONG, Errors, untouched
from quasim.kernels.ir import Kernel, Role, Tensor

CHUNK = 1 << 24
"""Elements at a time: the float64 buffers of one chunk take half a gigabyte."""


@dataclass(frozen=True, slots=True)
class DeviceReference:
    """A ``Reference`` in device memory, both in float64."""

    value: torch.Tensor
    scale: torch.Tensor

    @classmethod
    def of(cls, reference: Reference, device: torch.device) -> DeviceReference:
        """Copied once; every variant is compared with it."""
        return cls(_on(reference.value, device), _on(reference.scale, device))

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        return int(8 * (self.value.numel() + self.scale.numel()))


def _on(array: npt.NDArray[np.float64], device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.require(array, np.float64, ["C", "W"])).to(device)


def kernel_errors(
    kernel: Kernel, outputs: Mapping[str, torch.Tensor], references: Mapping[str, DeviceReference]
) -> Errors:
    """The worst of each norm over all outputs of a kernel."""
    each = [tensor_errors(t, outputs[t.name], references[t.name]) for t in kernel.tensors if t.role is Role.OUTPUT]
    return Errors(max(e.frobenius for e in each), max(e.componentwise for e in each))


def tensor_errors(tensor: Tensor, computed: torch.Tensor, reference: DeviceReference) -> Errors:
    """Both norms of one output that was filled with ``untouched`` before it was computed."""
    if not _untouched_outside(tensor, computed):
        return WRONG
    total = torch.zeros(3, dtype=torch.float64, device=computed.device)
    for c, v, s in _chunks(tensor, computed, reference):
        part = _chunk_errors(c, v, s)
        total = torch.stack((total[0] + part[0], total[1] + part[1], torch.maximum(total[2], part[2])))
    square_error, square_norm, worst = total.tolist()
    if not math.isfinite(square_error):
        return WRONG
    if square_norm == 0:
        return Errors(math.inf if square_error else 0.0, worst)
    return Errors(math.sqrt(square_error) / math.sqrt(square_norm), worst)


def _untouched_outside(tensor: Tensor, computed: torch.Tensor) -> bool:
    mark = untouched(tensor.dtype)
    for axis, (low, high) in enumerate(tensor.cover or ()):
        lanes = computed.movedim(axis, 0)
        if bool((lanes[:low] != mark).any()) or bool((lanes[len(lanes) - high :] != mark).any()):
            return False
    return True


def _chunks(
    tensor: Tensor, computed: torch.Tensor, reference: DeviceReference
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Computed, reference and scale, some rows at a time; the whole array counts as one-column rows."""
    arrays = (computed, reference.value, reference.scale)
    if tensor.cover is None:
        arrays = (arrays[0].reshape(-1), arrays[1].reshape(-1), arrays[2].reshape(-1))
    else:
        box = tuple(slice(low, n - high) for n, (low, high) in zip(computed.shape, tensor.cover, strict=True))
        arrays = (arrays[0][box], arrays[1][box], arrays[2][box])
    rows = max(1, CHUNK // max(1, math.prod(arrays[0].shape[1:])))
    for at in range(0, len(arrays[0]), rows):
        part = slice(at, at + rows)
        yield arrays[0][part], arrays[1][part], arrays[2][part]


def _chunk_errors(computed: torch.Tensor, value: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Squared error, squared norm of the reference, and largest error relative to its scale.

    Where the reference is not finite, the answer must be the same, and the element counts no further; where only the
    answer is not, the squared error becomes infinite.
    """
    if not value.numel():
        return torch.zeros(3, dtype=torch.float64, device=value.device)
    computed = computed.double()
    special = ~torch.isfinite(value)
    same = (computed == value) | (torch.isnan(computed) & torch.isnan(value))
    right = torch.where(special, same, torch.isfinite(computed)).all()
    error = torch.where(special, 0.0, computed - value).abs()
    square = torch.where(right, error.square().sum(), math.inf)
    norm = torch.where(special, 0.0, value).square().sum()
    relative = error / torch.where(special, 1.0, scale).clamp_min(SMALLEST_SCALE)
    return torch.stack((square, norm, relative.amax()))
