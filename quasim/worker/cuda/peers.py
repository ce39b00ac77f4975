"""How PyTorch computes each family: by primitive operations (eager), by these compiled, or by the vendor's function."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

import torch
from torch.nn import functional

from quasim.errors import QuasimError
from quasim.kernels.ir import Kernel, Role, Tensor
from quasim.kernels.layernorm import EPSILON
from quasim.kernels.split import PLAN as SPLIT
from quasim.kernels.stencil2d import CENTRE, NEIGHBOUR
from quasim.precision.split import NOT_FINITE
from quasim.worker.cuda.launcher import Launch, Tensors
from quasim.worker.protocol import PeerKind

Answers = tuple[torch.Tensor, ...]
Compute = Callable[[Tensors], Answers]
"""Answers of a family in the order of its outputs, in new arrays."""

_PRODUCT = re.compile(r"(?:matmul|bmm)(?:_(?P<format>tf32|bf16|fp16))?(?:_(?P<layout>nt|tn))?")


def compute(kernel: str, kind: PeerKind) -> Compute:
    """How a peer computes a family.

    Raises:
        QuasimError: PyTorch has no such function.
    """
    if found := _PRODUCT.fullmatch(kernel):
        return _peer(kind, partial(_product, found["layout"]), partial(_product, found["layout"]))
    if kernel not in _FORMULAS:
        raise QuasimError(f"PyTorch has no {kernel}", "add it to quasim/worker/cuda/peers.py")
    if kind is PeerKind.LIBRARY and kernel not in _LIBRARY:
        raise QuasimError(f"no library computes {kernel}")
    return _peer(kind, _FORMULAS[kernel], _LIBRARY.get(kernel))


def set_precision(kernel: str) -> None:
    """Let products round float32 operands to TF32 exactly where the family says so. Holds for the whole process."""
    torch.backends.cuda.matmul.allow_tf32 = "_tf32" in kernel


def checked_launch(kernel: Kernel, arrays: Tensors, function: Compute) -> Launch:
    """A launch whose answers are copied into the covered part of a set's outputs, to be compared."""
    outputs = [_covered(tensor, arrays[tensor.name]) for tensor in kernel.tensors if tensor.role is Role.OUTPUT]

    def launch() -> None:
        for target, answer in zip(outputs, function(arrays), strict=True):
            target.copy_(answer)

    return launch


def _covered(tensor: Tensor, array: torch.Tensor) -> torch.Tensor:
    cover = tensor.cover or ((0, 0),) * array.dim()
    return array[tuple(slice(low, n - high) for n, (low, high) in zip(array.shape, cover, strict=True))]


def _peer(kind: PeerKind, formula: Compute, library: Compute | None) -> Compute:
    if kind is PeerKind.COMPILED:
        # Every shape is compiled for itself, as a tuned kernel is.
        compiled: Compute = torch.compile(formula, dynamic=False)
        return compiled
    return library if kind is PeerKind.LIBRARY and library else formula


def _product(layout: str | None, arrays: Tensors) -> Answers:
    a = arrays["a"].mT if layout == "tn" else arrays["a"]
    b = arrays["b"].mT if layout == "nt" else arrays["b"]
    return (torch.matmul(a, b),)


def _softmax(arrays: Tensors) -> Answers:
    x = arrays["x"]
    powers = torch.exp(x - x.amax(1, keepdim=True))
    return (powers / powers.sum(1, keepdim=True),)


def _layernorm(arrays: Tensors) -> Answers:
    x = arrays["x"]
    deviations = x - x.mean(1, keepdim=True)
    variance = deviations.square().mean(1, keepdim=True)
    return (deviations * torch.rsqrt(variance + EPSILON) * arrays["gamma"] + arrays["beta"],)


def _layernorm_library(arrays: Tensors) -> Answers:
    x = arrays["x"]
    return (functional.layer_norm(x, x.shape[1:], arrays["gamma"], arrays["beta"], EPSILON),)


def _stencil2d(arrays: Tensors) -> Answers:
    x = arrays["x"]
    around = x[:-2, 1:-1] + x[2:, 1:-1] + x[1:-1, :-2] + x[1:-1, 2:]
    return (CENTRE * x[1:-1, 1:-1] + NEIGHBOUR * around,)


def _gate(targets: int, arrays: Tensors) -> Answers:
    re, im = (_amplitudes(arrays[plane], targets) for plane in ("re", "im"))
    gate_re, gate_im = arrays["gate"]
    rows_re, rows_im = [], []
    for row in range(len(re)):
        each = range(len(re))
        rows_re.append(sum(gate_re[row, c] * re[c] - gate_im[row, c] * im[c] for c in each))
        rows_im.append(sum(gate_re[row, c] * im[c] + gate_im[row, c] * re[c] for c in each))
    return _state(rows_re), _state(rows_im)


def _amplitudes(plane: torch.Tensor, targets: int) -> list[torch.Tensor]:
    """Views of the amplitudes by the targets' bits, most significant first."""
    if targets == 1:
        return [plane[:, bit] for bit in (0, 1)]
    return [plane[:, high, :, low] for high in (0, 1) for low in (0, 1)]


def _state(rows: list[torch.Tensor]) -> torch.Tensor:
    if len(rows) == 2:
        return torch.stack(rows, 1)
    return torch.stack((torch.stack(rows[:2], 2), torch.stack(rows[2:], 2)), 1)


def _split(arrays: Tensors) -> Answers:
    x = arrays["x"]
    size, top = x.abs(), x.abs().amax(1)
    endless, exponent = ~torch.isfinite(top), torch.frexp(top).exponent - 1
    scale = torch.where(top == 0, 0, SPLIT.format.top - torch.where(endless, NOT_FINITE, exponent))
    half = torch.div(scale, 2, rounding_mode="floor")
    factors = (torch.exp2(each.float())[:, None] for each in (half, scale - half))
    scaled = x * next(factors) * next(factors)
    high = scaled.half()
    low = ((scaled - high) * 2.0**SPLIT.shift).half()
    small = (size > 0) & (scaled.abs() < 2.0**SPLIT.small)
    rest = small.sum(1) + (scaled.abs() < 2.0**SPLIT.large).sum(1)
    uneven = (2 * rest > x.shape[1]) & (top > 0)
    return high, low, scale.float(), (uneven | endless).float(), (small.any(1) | endless).float()


_FORMULAS: dict[str, Compute] = {
    "split": _split,
    "softmax": _softmax,
    "layernorm": _layernorm,
    "add": lambda arrays: (arrays["x"] + arrays["residual"],),
    "gelu_residual": lambda arrays: (functional.gelu(arrays["x"], approximate="tanh") + arrays["residual"],),
    "stencil2d": _stencil2d,
    "gate1": partial(_gate, 1),
    "gate2": partial(_gate, 2),
}

_LIBRARY: dict[str, Compute] = {
    "softmax": lambda arrays: (torch.softmax(arrays["x"], 1),),
    "layernorm": _layernorm_library,
    "add": lambda arrays: (torch.add(arrays["x"], arrays["residual"]),),
}
