"""A foreign kernel under a configuration as a ``Source``: the user's file as it is, and what each parameter gets.

Specialised as Triton's launcher does it (``specialize_impl`` of 3.6): an integer of 1 is a constant, a multiple of 16
is known as one, unless the function says otherwise; every array begins on 16 bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from quasim.errors import ConfigError, StorageError
from quasim.kernels.sizes import Grid, Requirement, Size, Tiles
from quasim.targets.triton.foreign import In, KernelParameter, Out
from quasim.targets.triton.foreign_family import ForeignFamily
from quasim.targets.triton.source import (
    ConstantParameter,
    NumberParameter,
    PointerParameter,
    RealParameter,
    Source,
    SourceParameter,
)
from quasim.trial import Genome, Value

ALIGNMENT = 16

DEFAULT_WARPS, DEFAULT_STAGES = 4, 3
"""Of a ``triton.Config`` that names none."""


class Specialised(KernelParameter, Protocol):
    """What else Triton notes of a parameter."""

    annotation_type: str
    do_not_specialize: bool
    do_not_specialize_on_alignment: bool


def foreign_source(family: ForeignFamily, genome: Genome, shape: Mapping[str, int]) -> Source:
    """The source of a configuration, good for this shape alone.

    Raises:
        ConfigError: an argument is nothing that a kernel can be given, or the grid is none.
        StorageError: the user's file cannot be read.
    """
    foreign = family.foreign
    x, y, z = foreign.blocks(shape, genome)
    return Source(
        text=_text(family.path),
        entry=foreign.name,
        parameters=tuple(_parameter(family, p, genome, shape) for p in foreign.jit.params),  # type: ignore[arg-type]
        warps=_option(genome, "num_warps", DEFAULT_WARPS),
        stages=_option(genome, "num_stages", DEFAULT_STAGES),
        clusters=_option(genome, "num_ctas", 1),
        registers=_option(genome, "maxnreg", 0) or None,
        grid=Grid((Tiles(Size(factor=x), 1),)),
        grid_yz=(y, z),
        requirements=tuple(Requirement(Size((name,)), extent, extent) for name, extent in shape.items()),
    )


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}", "name the kernel's file") from error


def _option(genome: Mapping[str, Value], name: str, default: int) -> int:
    value = genome.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"{name}={value!r} is no number", "give an integer")
    return value


def _parameter(
    family: ForeignFamily, parameter: Specialised, genome: Genome, shape: Mapping[str, int]
) -> SourceParameter:
    name, argument = parameter.name, family.foreign.arguments.get(parameter.name)
    if isinstance(argument, (In, Out)):
        return PointerParameter(name, name, argument.dtype)
    value = genome[name] if name in genome else family.foreign.scalars(shape).get(name, parameter.default)
    if parameter.is_constexpr or value is None:
        return ConstantParameter(name, _plain(family, name, value))
    return _scalar(family, parameter, _plain(family, name, value))


def _plain(family: ForeignFamily, name: str, value: object) -> Value | None:
    if value is not None and not isinstance(value, (bool, int, float, str)):
        raise ConfigError(f"{family.foreign.name}: {name}={value!r} is no plain value", "give a number")
    return value


def _scalar(family: ForeignFamily, parameter: Specialised, value: Value | None) -> SourceParameter:
    """A number that is passed at launch, unless Triton would make it a constant."""
    name, wanted = parameter.name, parameter.annotation_type
    if isinstance(value, float) and wanted in ("", "fp32", "fp64"):
        return RealParameter(name, value, 64 if wanted == "fp64" else 32)
    if isinstance(value, bool) or not isinstance(value, int) or wanted not in ("", "i32", "i64"):
        raise ConfigError(
            f"{family.foreign.name}: {name}={value!r} ({wanted or 'not annotated'}) cannot be passed",
            "pass integers of 32 or 64 bits and floats, or make it tl.constexpr",
        )
    if value == 1 and not wanted and not parameter.do_not_specialize:
        return ConstantParameter(name, value)
    free = parameter.do_not_specialize or parameter.do_not_specialize_on_alignment
    wide = wanted == "i64" or not -(1 << 31) <= value < 1 << 31
    return NumberParameter(name, value, 64 if wide else 32, ALIGNMENT if value % ALIGNMENT == 0 and not free else 1)
