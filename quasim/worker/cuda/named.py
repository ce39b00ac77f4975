"""What a GPU worker's command line says of it: which GPU, and which of the user's own files it also executes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quasim.kernels import adopt
from quasim.worker.cuda.device import open_gpu
from quasim.worker.protocol import Gpu

if TYPE_CHECKING:
    import torch


def desk_name(index: int, place: str = "") -> str:
    """The name of a GPU's desk that also knows the foreign kernel at ``place`` (``FILE.py:NAME``)."""
    return f"cuda:{index}+{place}" if place else f"cuda:{index}"


def open_named(name: str) -> tuple[torch.device, Gpu]:
    """The GPU of a desk; the foreign kernel that it names is adopted.

    Raises:
        MissingToolError: the NVIDIA driver, PyTorch, cuda-bindings or the GPU is missing; it says which.
        ConfigError: the user's file does not describe such a kernel.
    """
    gpu, _, place = name.partition("+")
    opened = open_gpu(int(gpu.removeprefix("cuda:")))
    if place:
        from quasim.targets.triton.foreign_family import load

        adopt(load(place))
    return opened
