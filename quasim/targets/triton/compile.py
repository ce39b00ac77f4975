"""Triton's compiler as a function from a source to an image: no device, no driver, no torch."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.abc
import importlib.util
import io
import linecache
import tempfile
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Literal, Protocol

from quasim.errors import DataError, MissingToolError
from quasim.kernels.sizes import Size
from quasim.targets.gpu.image import Argument, Image, Number, Pointer, Real, Scratch, TensorMap
from quasim.targets.gpu.resources import Resources, amdgcn_resources, cubin_resources, limits
from quasim.targets.triton.abi import check_abi
from quasim.targets.triton.source import (
    ConstantParameter,
    DescriptorParameter,
    ExtentParameter,
    NumberParameter,
    PointerParameter,
    RealParameter,
    Source,
)


class _Compiled(Protocol):
    """What we use of ``triton.compile``'s result."""

    asm: Mapping[str, str | bytes]
    metadata: object


@lru_cache(maxsize=1)
def triton_version() -> str:
    """The installed version, without importing it.

    Raises:
        MissingToolError: there is none.
    """
    try:
        return version("triton")
    except PackageNotFoundError as error:
        raise MissingToolError("Triton is not installed", "pip install 'quasim-fleet[gpu]'") from error


def triton_image(source: Source, arch: str) -> Image:
    """What Triton makes of a source.

    Raises:
        Exception: whatever Triton, or the assembler that it calls, says against the source.
        DataError: its binary takes other parameters than we know of.
    """
    return _image(source, arch, _run_triton(source, arch))


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
