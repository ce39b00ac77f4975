"""NVRTC as a function from a source to an image: no device, no driver, no toolkit besides the library itself."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from types import ModuleType

from quasim.errors import MissingToolError
from quasim.kernels.sizes import Size
from quasim.targets.cuda.source import CudaSource
from quasim.targets.gpu.image import Image, Number, Pointer
from quasim.targets.gpu.resources import cubin_resources, limits

ARCHS = ("sm_80", "sm_90")

_OPTIONS = ("--std=c++17", "--fmad=true", "--prec-div=true", "--prec-sqrt=true", "--ftz=false")
"""Fused multiply-adds round once; all else is as IEEE 754 says. These are the defaults, written down."""


class NvrtcError(Exception):
    """What NVRTC says of a source that it refuses."""


def nvrtc_image(source: CudaSource, arch: str) -> Image:
    """Compile for an architecture.

    Raises:
        NvrtcError: the compiler refuses the source, or makes no code for the architecture.
        MissingToolError: NVRTC, its bindings, or Triton's tools are not installed.
    """
    if arch not in ARCHS:
        raise NvrtcError(f"error: NVRTC makes no code for {arch}")
    cubin = _cubin(source, arch)
    return Image(
        kernel=source.entry,
        binary=cubin,
        entry=source.entry,
        arch=arch,
        num_warps=source.threads // limits(arch).warp,
        num_ctas=1,
        shared_bytes=source.shared_bytes,
        resources=cubin_resources(cubin, source.entry, source.shared_bytes),
        arguments=(
            *(Pointer(tensor) for tensor in source.tensors),
            *(Number(Size((dim,)), source.bits) for dim in source.extents),
        ),
        grid=source.grid,
        requirements=source.requirements,
    )


@lru_cache(maxsize=1)
def nvrtc_version() -> str:
    """Of the library that is found.

    Raises:
        MissingToolError: there is none.
    """
    status, major, minor = _nvrtc().nvrtcVersion()
    if int(status):
        raise MissingToolError(f"NVRTC does not answer: {status}", "pip install 'quasim-fleet[gpu]'")
    return f"{major}.{minor}"


@lru_cache(maxsize=1)
def _nvrtc() -> ModuleType:
    """The bindings, with the library behind them loaded."""
    try:
        nvrtc = import_module("cuda.bindings.nvrtc")
        nvrtc.nvrtcVersion()
    except (ImportError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise MissingToolError(f"NVRTC cannot be loaded: {reason}", "pip install 'quasim-fleet[gpu]'") from error
    return nvrtc


def _cubin(source: CudaSource, arch: str) -> bytes:
    nvrtc = _nvrtc()
    program = _done(nvrtc.nvrtcCreateProgram(source.text.encode(), f"{source.entry}.cu".encode(), 0, [], []))
    try:
        options = [option.encode() for option in (f"--gpu-architecture={arch}", *_OPTIONS)]
        (status,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
        if int(status):
            log = _filled(_done(nvrtc.nvrtcGetProgramLogSize(program)))
            _done(nvrtc.nvrtcGetProgramLog(program, log))
            raise NvrtcError(log.rstrip(b"\0").decode(errors="replace") or f"error: {status}")
        cubin = _filled(_done(nvrtc.nvrtcGetCUBINSize(program)))
        _done(nvrtc.nvrtcGetCUBIN(program, cubin))
        return bytes(cubin)
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def _filled(size: object) -> bytearray:
    assert isinstance(size, int)
    return bytearray(size)


def _done(answer: tuple[object, ...]) -> object:
    """What a call returned besides its status.

    Raises:
        NvrtcError: it failed.
    """
    status, *values = answer
    if int(status):  # type: ignore[call-overload]
        raise NvrtcError(f"error: {status}")
    return values[0] if values else None
