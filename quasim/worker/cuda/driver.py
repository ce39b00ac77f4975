"""The calls of the CUDA driver, with its error codes as exceptions."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import TypeVar

from cuda.bindings import driver

from quasim.errors import QuasimError

T = TypeVar("T")

TIMED_OUT = int(driver.CUresult.CUDA_ERROR_LAUNCH_TIMEOUT)


class CudaError(QuasimError):
    """The driver refused a call, or a kernel ended badly.

    Attributes:
        code: the driver's number.
    """

    def __init__(self, what: str, do: str = "", code: int = 0) -> None:
        super().__init__(what, do)
        self.code = code

    def __reduce__(self) -> tuple[type[CudaError], tuple[str, str, int]]:  # type: ignore[override]
        return type(self), (self.what, self.do, self.code)


def done(result: tuple[driver.CUresult]) -> None:
    """Check a call that gives nothing.

    Raises:
        CudaError: it failed.
    """
    _check(int(result[0]))


def value(result: tuple[driver.CUresult, T]) -> T:
    """What a call gives.

    Raises:
        CudaError: it failed.
    """
    _check(int(result[0]))
    return result[1]


def context_fault() -> int:
    """Wait for the device: the driver's number for what went wrong in this context, 0 for nothing.

    A number here is sticky: every later call in this process fails with it, too.
    """
    return int(driver.cuCtxSynchronize()[0])


def name(code: int) -> str:
    """Such as ``CUDA_ERROR_ILLEGAL_ADDRESS``."""
    try:
        return str(driver.CUresult(code).name)
    except ValueError:
        return f"CUDA error {code}"


def encode_tensor_map(*arguments: object) -> ctypes.Array[ctypes.c_char]:
    """The 128 bytes of ``cuTensorMapEncodeTiled``, called with what follows the descriptor.

    Through the library itself: it wants the descriptor on 64 bytes, and ``driver.CUtensorMap`` objects are on 16.

    Raises:
        CudaError: the driver refuses such a descriptor.
    """
    room = (ctypes.c_char * 192)()
    descriptor = (ctypes.c_char * 128).from_buffer(room, -ctypes.addressof(room) % 64)
    _check(_libcuda().cuTensorMapEncodeTiled(ctypes.byref(descriptor), *arguments))
    return descriptor


@lru_cache(maxsize=1)
def _libcuda() -> ctypes.CDLL:
    return ctypes.CDLL("libcuda.so.1")


def _check(code: int) -> None:
    if code:
        raise CudaError(f"{name(code)} from the CUDA driver", code=code)
