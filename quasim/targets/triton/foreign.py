"""Foreign kernels: a user's own ``@triton.jit`` function, described well enough to be called, and tuned as it is.

The description stands in the user's own file, beside the function, and is found by path and name. Whoever measures
executes that file: the user's processes on the user's machine, each told so by its command line, never by a message.
Nothing is known of what such a kernel computes, so its trials carry no certificate.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import msgspec
import numpy as np
import numpy.typing as npt

from quasim.errors import ConfigError, ShapeError, SpaceError
from quasim.kernels import Array, Arrays
from quasim.kernels.ir import Dtype
from quasim.space import Kind, Listed, Parameter, SearchSpace
from quasim.trial import Value

OPTIONS = {"num_warps": 4, "num_stages": 3, "num_ctas": 1, "maxnreg": None}
"""Triton's own parameters of a configuration, with its defaults; all others are constants of the function."""

Shape = Mapping[str, int]
Scalar = bool | int | float | str | Callable[[Shape], int | float]
"""A number, the name of an extent, or what computes a number from the extents."""

Make = Callable[[np.random.Generator, tuple[int, ...]], Array]
Compute = Callable[[Arrays], Mapping[str, npt.ArrayLike]]
"""Every input in float64, to every output."""


@dataclass(frozen=True, slots=True)
class In:
    """An array that the kernel reads, by a pointer.

    Attributes:
        shape: names of extents, or numbers.
        make: from a seeded generator and the sizes; None: standard normal.
    """

    shape: tuple[str | int, ...]
    dtype: Dtype = "float32"
    make: Make | None = None


@dataclass(frozen=True, slots=True)
class Out:
    """An array that the kernel writes whole, by a pointer."""

    shape: tuple[str | int, ...]
    dtype: Dtype = "float32"


class Config(Protocol):
    """A ``triton.Config``."""

    def all_kwargs(self) -> dict[str, object]:
        """Its constants and options by name."""
        ...


class KernelParameter(Protocol):
    """A parameter of a ``@triton.jit`` function."""

    name: str
    is_constexpr: bool
    default: object


class JitFunction(Protocol):
    """A ``@triton.jit`` function."""

    fn: Callable[..., object]
    params: Sequence[KernelParameter]


@runtime_checkable
class Autotuner(Protocol):
    """A ``@triton.jit`` function with ``@triton.autotune`` around it."""

    fn: JitFunction
    configs: Sequence[Config]
    keys: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignKernel:
    """A user's kernel.

    Attributes:
        function: as it is; with ``@triton.autotune`` around it, that gives ``configs`` and ``key``.
        shape: the extents at which it is tuned, where no others are asked for.
        arguments: what each parameter gets that no configuration sets. Every array begins on 16 bytes and is dense.
        grid: blocks along up to three axes, from the integers among arguments, extents and configuration.
        configs: its configurations; the first, or the space's default, is the default.
        key: the extents or arguments on which the choice depends; None: all extents.
        reference: what it should compute, in float64; None: whatever its default configuration computes.
        tolerance: largest Frobenius error of a right answer; None: by the format of the outputs (``foreign_family``).

    Raises:
        ConfigError: a parameter of the function has no value, or something has no parameter.
        SpaceError: the configurations make no space.
    """

    function: JitFunction | Autotuner
    shape: Shape
    arguments: Mapping[str, In | Out | Scalar]
    grid: Callable[[Mapping[str, int]], Sequence[int]]
    configs: SearchSpace | Sequence[Config] | None = None
    key: tuple[str, ...] | None = None
    reference: Compute | None = None
    tolerance: float | None = None

    def __post_init__(self) -> None:
        # Asked of the function itself: under Triton's interpreter, where such a file must work too, it has no params.
        parameters = inspect.signature(self.jit.fn).parameters
        names, given = list(parameters), [*self.arguments, *self.constants]
        missing = [p.name for p in parameters.values() if p.name not in given and p.default is p.empty]
        if missing or set(given) - set(names) or len(set(given)) < len(given):
            raise ConfigError(
                f"{self.name} has parameters {', '.join(names)}; given are {', '.join(given)}",
                "name each parameter once, as an argument or in the configurations",
            )
        if not any(isinstance(argument, Out) for argument in self.arguments.values()):
            raise ConfigError(f"{self.name} writes nothing", "describe an output by Out(shape)")
        unknown = set(self.key or ()) - {*self.shape, *self.arguments}
        if unknown:
            raise ConfigError(f"{self.name}: key names {sorted(unknown)}", f"use extents: {', '.join(self.shape)}")

    @property
    def jit(self) -> JitFunction:
        """The function without its tuner."""
        return self.function.fn if isinstance(self.function, Autotuner) else self.function

    @property
    def name(self) -> str:
        """Of the function."""
        return self.jit.fn.__name__

    @property
    def keys(self) -> tuple[str, ...]:
        """On what the choice depends."""
        if self.key is not None:
            return self.key
        tuned = self.function.keys if isinstance(self.function, Autotuner) else ()
        return tuple(tuned) or tuple(self.shape)

    @property
    def space(self) -> SearchSpace:
        """The configurations, with a default."""
        configs = self.configs
        if configs is None and isinstance(self.function, Autotuner):
            configs = self.function.configs
        if configs is None:
            raise SpaceError(f"{self.name} has no configurations", "give configs=, or use @triton.autotune")
        if not isinstance(configs, SearchSpace):
            return space_of(configs)
        return configs if configs.default else msgspec.structs.replace(configs, default=configs.genome_at(0))

    @property
    def constants(self) -> tuple[str, ...]:
        """What the configurations set in the function."""
        return tuple(name for name in self.space.names if name not in OPTIONS)

    def scalars(self, shape: Shape) -> dict[str, int | float]:
        """The arguments that are no arrays, at a shape."""
        return {
            name: _number(argument, shape)
            for name, argument in self.arguments.items()
            if not isinstance(argument, (In, Out))
        }

    def blocks(self, shape: Shape, genome: Mapping[str, Value]) -> tuple[int, int, int]:
        """The grid of a launch.

        Raises:
            ConfigError: it is none.
        """
        known = {**shape, **self.scalars(shape), **genome}
        try:
            grid = tuple(self.grid({name: value for name, value in known.items() if isinstance(value, int)}))
        except Exception as error:
            raise ConfigError(f"the grid of {self.name} fails at {dict(genome)}: {error!r}", "see its file") from error
        if not 1 <= len(grid) <= 3 or min(grid) < 1:
            raise ConfigError(f"{self.name} has grid {grid} at {genome}", "give one to three counts of 1 or more")
        x, y, z = (*grid, 1, 1)[:3]
        return x, y, z


def _number(argument: Scalar, shape: Shape) -> int | float:
    if isinstance(argument, str):
        if argument not in shape:
            raise ShapeError(f"no extent {argument!r}", f"choose one of {', '.join(shape)}")
        return shape[argument]
    return argument(shape) if callable(argument) else argument


def space_of(configs: Sequence[Config]) -> SearchSpace:
    """The space of exactly these configurations; the first is its default.

    Raises:
        SpaceError: there are none, or they do not set the same parameters to plain values.
    """
    each = [{name: _plain(name, value) for name, value in config.all_kwargs().items()} for config in configs]
    if not each or any(set(one) != set(each[0]) for one in each):
        raise SpaceError("the configurations do not set the same parameters", "set each parameter in every one")
    parameters = tuple(_parameter(name, [one[name] for one in each]) for name in each[0])
    rows = tuple(tuple(p.values.index(one[p.name]) for p in parameters) for one in each)
    space = SearchSpace(parameters, (Listed(rows),))
    return msgspec.structs.replace(space, default=space.decode(rows[0]))


def _plain(name: str, value: object) -> Value:
    if name == "ir_override" or not isinstance(value, (bool, int, float, str)):
        raise SpaceError(f"a configuration sets {name}={value!r}", "tune booleans, numbers and text")
    return value


def _parameter(name: str, values: Sequence[Value]) -> Parameter:
    if any(isinstance(value, str) for value in values):
        return Parameter(name, tuple(dict.fromkeys(values)), Kind.CATEGORICAL)
    return Parameter(name, tuple(sorted(set(values))))
