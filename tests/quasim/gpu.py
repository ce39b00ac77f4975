"""Whether this machine has a GPU to test on, asked of the driver itself."""

from __future__ import annotations

import ctypes
from importlib.util import find_spec

import pytest


def missing() -> str:
    """What keeps GPU tests from running here; empty when nothing does."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no NVIDIA driver on this machine"
    count = ctypes.c_int(0)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return "no NVIDIA GPU on this machine"
    absent = [name for name in ("torch", "cuda", "triton") if find_spec(name) is None]
    return f"not installed: {', '.join(absent)}" if absent else ""


REASON = missing()

on_gpu = [pytest.mark.gpu, pytest.mark.skipif(bool(REASON), reason=REASON or "there is a GPU")]
"""Marks of a module that needs a GPU: ``pytestmark = on_gpu``."""
