"""Triton's compiler as a function from a source to an image, and NVRTC's: no device, no driver, no torch.

Images are kept in a folder by a digest of source, architecture and version, so that each is made once. A kept file
starts with its own digest: one that was cut short is made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.abc
import importlib.util
import io
import linecache
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Literal, Protocol

from quasim.codec import from_msgpack, to_msgpack
from quasim.errors import DataError, MissingToolError, QuasimError, StorageError
from quasim.kernels.sizes import Size
from quasim.targets.cuda.compile import nvrtc_image, nvrtc_version
from quasim.targets.cuda.source import CudaSource
from quasim.targets.triton.abi import check_abi
from quasim.targets.triton.image import (
    Argument,
    CompileFailure,
    Image,
    Number,
    Pointer,
    Real,
    Scratch,
    TensorMap,
)
from quasim.targets.triton.resources import Resources, amdgcn_resources, cubin_resources, limits, obstacle
from quasim.targets.triton.source import (
    ConstantParameter,
    DescriptorParameter,
    ExtentParameter,
    NumberParameter,
    PointerParameter,
    RealParameter,
    Source,
)

ARCHS = ("sm_80", "sm_90", "gfx90a", "gfx942")

_REASON_LENGTH = 300
_DIGEST_BYTES = 32
_ELSEWHERE = "set QUASIM_CACHE_DIR to a writable folder"

Result = Image | CompileFailure

AnySource = Source | CudaSource
"""What a compiler is sent."""


class _Compiled(Protocol):
    """What we use of ``triton.compile``'s result."""

    asm: Mapping[str, str | bytes]
    metadata: object


def compile_source(source: AnySource, arch: str, folder: Path) -> Result:
    """Compile for an architecture, or take the image from ``folder`` when it was made before.

    What the compiler refuses, or what could not launch, is a ``CompileFailure`` and no exception.

    Raises:
        UnknownNameError: we do not know the architecture.
        MissingToolError: the source's compiler is not installed.
        StorageError: the folder cannot be read or written.
    """
    result = kept(source, arch, folder)
    if result is None:
        result = _compile(source, arch)
        if not isinstance(result, CompileFailure) or result.stage != "crashed":
            _write(_path(source, arch, folder), result)
    return result


def kept(source: AnySource, arch: str, folder: Path) -> Result | None:
    """What was made before; None: nothing, or nothing whole.

    Raises:
        UnknownNameError, MissingToolError, StorageError: as ``compile_source``.
    """
    limits(arch)
    return _read(_path(source, arch, folder))


@lru_cache(maxsize=1)
def triton_version() -> str:
    """The installed version, without importing it.

    Raises:
        MissingToolError: there is none.
    """
    try:
        return version("triton")
    except PackageNotFoundError as error:
        raise MissingToolError("triton is not installed", "pip install 'quasim-fleet[gpu]'") from error


def _version(source: AnySource) -> str:
    return nvrtc_version() if isinstance(source, CudaSource) else triton_version()


def _path(source: AnySource, arch: str, folder: Path) -> Path:
    parts = (to_msgpack(source), arch.encode(), _version(source).encode())
    key = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
    return folder / f"{key}.image"


def _read(path: Path) -> Result | None:
    try:
        data = path.read_bytes()
        if hashlib.sha256(data[_DIGEST_BYTES:]).digest() != data[:_DIGEST_BYTES]:
            return None
        result: Result = from_msgpack(data[_DIGEST_BYTES:], Result, "compiled image")  # type: ignore[arg-type]
    except (FileNotFoundError, DataError):
        return None
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error}", _ELSEWHERE) from error
    return result


def _write(path: Path, result: Result) -> None:
    body = to_msgpack(result)
    try:
        _replace(path, hashlib.sha256(body).digest() + body)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error}", _ELSEWHERE) from error


def _replace(path: Path, data: bytes) -> None:
    """Write a file that appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, made = tempfile.mkstemp(dir=path.parent, prefix=".making-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(made).replace(path)
    finally:
        Path(made).unlink(missing_ok=True)


def _compile(source: AnySource, arch: str) -> Result:
    try:
        if isinstance(source, CudaSource):
            image = nvrtc_image(source, arch)
        else:
            image = _image(source, arch, _run_triton(source, arch))
    except QuasimError:
        raise
    except Exception as error:
        return CompileFailure("crashed" if _passing(error) else "compile", _reason(error))
    cannot = obstacle(arch, image.threads, image.resources)
    return CompileFailure("resources", cannot) if cannot else image


def _passing(error: Exception) -> bool:
    """Whether it tells of the machine's state (no memory, no disk) and not of the source, so that it is not kept."""
    tool = error.__context__
    killed = isinstance(tool, subprocess.CalledProcessError) and tool.returncode < 0
    return killed or isinstance(error, (OSError, MemoryError))


def _reason(error: Exception) -> str:
    """The line that says most: compilers print the place first and the complaint last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "")
    return f"{type(error).__name__}: {said}"[:_REASON_LENGTH]


def _run_triton(source: Source, arch: str) -> _Compiled:
    import triton
    from triton.compiler import ASTSource

    function = getattr(_module(source.text), source.entry)
    if hasattr(function, "configs"):  # a foreign kernel with Triton's own tuner around it
        function = function.fn
    signature = {parameter.name: parameter.type for parameter in source.parameters}
    hints = {
        (number,): [["tt.divisibility", parameter.multiple]]
        for number, parameter in enumerate(source.parameters)
        if parameter.multiple > 1
    }
    constants = {p.name: p.value for p in source.parameters if isinstance(p, ConstantParameter)}
    made = ASTSource(fn=function, signature=signature, constexprs=constants, attrs=hints)
    options = {"num_warps": source.warps, "num_stages": source.stages, "num_ctas": source.clusters}
    options["enable_fp_fusion"] = True  # as every version up to 3.9 does by default; later ones do not
    if source.registers is not None:
        options["maxnreg"] = source.registers
    with _private_cache(), contextlib.redirect_stdout(io.StringIO()):
        compiled: _Compiled = triton.compile(made, target=_target(arch), options=options)
    return compiled


def _target(arch: str) -> object:
    from triton.backends.compiler import GPUTarget

    if arch.startswith("sm_"):
        return GPUTarget("cuda", int(arch.removeprefix("sm_")), limits(arch).warp)
    return GPUTarget("hip", arch, limits(arch).warp)


@contextlib.contextmanager
def _private_cache() -> Iterator[None]:
    """Triton's own cache for the time of one compilation: ours holds what is worth keeping.

    Line tables are left out, so that equal programs make equal binaries wherever they are compiled.
    """
    from triton import knobs

    with (
        tempfile.TemporaryDirectory(prefix="quasim-triton-") as scratch,
        knobs.cache.scope(),
        knobs.compilation.scope(),
    ):
        knobs.cache.dir = scratch
        knobs.compilation.disable_line_info = True
        yield


class _Text(importlib.abc.SourceLoader):
    """A module's source from memory: a file, and bytecode beside it, may be another's or damaged."""

    def __init__(self, text: str) -> None:
        self._text = text

    def get_filename(self, fullname: str) -> str:
        return f"{fullname}.py"

    def get_data(self, path: str) -> bytes:
        return self._text.encode()


def _module(text: str) -> ModuleType:
    """The module of a text, named by its digest."""
    loader = _Text(text)
    spec = importlib.util.spec_from_loader(f"quasim_{hashlib.sha256(text.encode()).hexdigest()}", loader)
    assert spec is not None  # as of every loader that is given
    module = importlib.util.module_from_spec(spec)
    # Triton reads a function's source again, and looks for it there.
    linecache.lazycache(loader.get_filename(spec.name), vars(module))
    loader.exec_module(module)
    return module


def _image(source: Source, arch: str, compiled: _Compiled) -> Image:
    facts: Mapping[str, object] = compiled.metadata._asdict()  # type: ignore[attr-defined]
    shared = _integer(facts, "shared")
    entry = str(facts["name"])
    binary, resources = _binary(compiled, entry, shared)
    arguments = _arguments(source, facts)
    if "ptx" in compiled.asm:
        check_abi(arguments, str(compiled.asm["ptx"]))
    return Image(
        kernel=source.entry,
        binary=binary,
        entry=entry,
        arch=arch,
        num_warps=_integer(facts, "num_warps"),
        num_ctas=_integer(facts, "num_ctas"),
        shared_bytes=shared,
        resources=resources,
        arguments=arguments,
        grid=source.grid,
        grid_yz=source.grid_yz,
        requirements=source.requirements,
        launch_pdl=bool(facts.get("launch_pdl", False)),
        cooperative=bool(facts["launch_cooperative_grid"]),
    )


def _binary(compiled: _Compiled, entry: str, shared: int) -> tuple[bytes, Resources]:
    if "cubin" in compiled.asm:
        cubin = bytes(compiled.asm["cubin"])  # type: ignore[arg-type]
        return cubin, cubin_resources(cubin, entry, shared)
    return bytes(compiled.asm["hsaco"]), amdgcn_resources(str(compiled.asm["amdgcn"]), shared)  # type: ignore[arg-type]


def _integer(facts: Mapping[str, object], name: str, default: int | None = None) -> int:
    value = facts.get(name, default)
    if not isinstance(value, int):
        raise DataError(f"the compiler's {name} is {value!r}", "check the version of triton")
    return value


def _arguments(source: Source, facts: Mapping[str, object]) -> tuple[Argument, ...]:
    """The parameters of the binary: see the head of ``image``."""
    boxes = list(facts.get("tensordesc_meta") or [])  # type: ignore[call-overload]
    found: list[Argument] = []
    for parameter in source.parameters:
        if isinstance(parameter, PointerParameter):
            found.append(Pointer(parameter.tensor, parameter.multiple))
        elif isinstance(parameter, ExtentParameter):
            found.append(Number(Size((parameter.dim,)), parameter.bits))
        elif isinstance(parameter, NumberParameter):
            found.append(Number(Size(factor=parameter.value), parameter.bits))
        elif isinstance(parameter, RealParameter):
            found.append(Real(parameter.value, parameter.bits))
        elif isinstance(parameter, DescriptorParameter):
            found.extend(_descriptor(parameter, boxes.pop(0)))
    kinds: tuple[Literal["global", "profile"], ...] = ("global", "profile")
    scratch = (
        Scratch(k, _integer(facts, f"{k}_scratch_size", 0), _integer(facts, f"{k}_scratch_align", 1)) for k in kinds
    )
    return (*found, *scratch)


def _descriptor(parameter: DescriptorParameter, facts: Mapping[str, object]) -> Iterator[Argument]:
    strides = _strides(parameter.shape)
    box = tuple(int(size) for size in facts["block_size"])  # type: ignore[attr-defined]
    swizzle = _integer(facts, "swizzle")
    yield TensorMap(parameter.tensor, parameter.dtype, parameter.shape, strides, box, swizzle)
    yield from (Number(size, 32) for size in parameter.shape)
    yield from (Number(size, 64) for size in strides)


def _strides(shape: tuple[Size, ...]) -> tuple[Size, ...]:
    found = [Size()]
    for size in reversed(shape[1:]):
        found.append(Size((*size.dims, *found[-1].dims), size.factor * found[-1].factor))
    return tuple(reversed(found))


__all__ = ["ARCHS", "AnySource", "Result", "compile_source", "triton_version"]
