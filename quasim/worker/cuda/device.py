"""Finds the GPU that a worker was told to use, and tells what it is."""

from __future__ import annotations

import ctypes
from importlib import import_module
from typing import TYPE_CHECKING

from quasim.errors import MissingToolError
from quasim.worker.protocol import Gpu

if TYPE_CHECKING:
    import torch

MEMORY_SHARE = 0.8
"""Of the device's memory that PyTorch may allot here: workers that stand by hold a context each."""


def open_gpu(index: int) -> tuple[torch.device, Gpu]:
    """The device and its facts; a context is made on it.

    Raises:
        MissingToolError: the NVIDIA driver, PyTorch, cuda-bindings or the GPU is missing; it says which.
    """
    _need_driver()
    _need_packages()
    import torch

    count = torch.cuda.device_count() if torch.version.cuda else 0
    if index >= count:
        raise MissingToolError(
            f"no GPU {index}: PyTorch {torch.__version__} sees {count} NVIDIA GPUs",
            "check nvidia-smi, CUDA_VISIBLE_DEVICES, and that PyTorch was built for CUDA",
        )
    device = torch.device("cuda", index)
    torch.cuda.set_device(device)
    torch.cuda.set_per_process_memory_fraction(MEMORY_SHARE, device)
    torch.zeros(1, device=device).add_(1)  # makes the context, and loads PyTorch's kernels
    torch.cuda.synchronize()
    return device, _facts(device)


def _need_driver() -> None:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise MissingToolError(
            "no NVIDIA driver (libcuda.so.1)", "run on a machine with an NVIDIA GPU, or tune with --target c"
        ) from error


def _need_packages() -> None:
    for package, module in (("torch", "torch"), ("cuda-bindings", "cuda.bindings.driver")):
        try:
            import_module(module)
        except ImportError as error:
            raise MissingToolError(f"{package} cannot be imported: {error}", f"pip install {package}") from error


def _facts(device: torch.device) -> Gpu:
    import torch
    from cuda.bindings import driver

    from quasim.worker.cuda.driver import value

    properties = torch.cuda.get_device_properties(device)
    driver_version = int(value(driver.cuDriverGetVersion()))
    return Gpu(
        name=properties.name,
        uuid=f"GPU-{properties.uuid}",
        arch=f"sm_{properties.major}{properties.minor}",
        multiprocessors=properties.multi_processor_count,
        l2_bytes=properties.L2_cache_size,
        memory_bytes=properties.total_memory,
        versions=(
            ("cuda driver", f"{driver_version // 1000}.{driver_version % 1000 // 10}"),
            ("torch", str(torch.__version__)),
            ("cuda", str(torch.version.cuda)),
        ),
    )
