"""From a source to an image, by whichever compiler the source is for: no device, no driver, no torch.

Images are kept in a folder by a digest of source, architecture and version, so that each is made once. A kept file
starts with its own digest: one that was cut short is made again.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

from quasim.codec import from_msgpack, to_msgpack
from quasim.errors import DataError, QuasimError, StorageError
from quasim.targets.cuda.compile import nvrtc_image, nvrtc_version
from quasim.targets.cuda.source import CudaSource
from quasim.targets.gpu.image import CompileFailure, Image
from quasim.targets.gpu.resources import limits, obstacle
from quasim.targets.triton.compile import triton_image, triton_version
from quasim.targets.triton.source import Source

ARCHS = ("sm_80", "sm_90", "gfx90a", "gfx942")

_REASON_LENGTH = 300
_DIGEST_BYTES = 32
_ELSEWHERE = "set QUASIM_CACHE_DIR to a writable folder"

Result = Image | CompileFailure

AnySource = Source | CudaSource
"""What a compiler is sent."""


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
        image = nvrtc_image(source, arch) if isinstance(source, CudaSource) else triton_image(source, arch)
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
