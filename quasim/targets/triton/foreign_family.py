"""A foreign kernel where a family is expected, and how it is found: by its file and its name in it."""

from __future__ import annotations

import importlib.util
import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from quasim.errors import ConfigError, ShapeError
from quasim.kernels import Array, Arrays, CostFacts, Reference
from quasim.kernels._base import numpy_dtype
from quasim.kernels.ir import Dim, Dtype, Kernel, Role, Tensor, extents
from quasim.targets.triton.foreign import ForeignKernel, In, Out, Shape
from quasim.trial import Problem

PREFIX = "foreign:"
"""Of the names of their problems: no family of ours has a colon in its name."""

LARGEST = 1 << 31

TOLERANCES: dict[Dtype, float] = {"float64": 1e-12, "float32": 1e-5, "float16": 2e-3, "bfloat16": 2e-2}
"""Of the Frobenius error where the user names none: some ten roundings of the outputs' format."""


class ForeignFamily:
    """A foreign kernel as everything else sees a family: arrays, inputs and reference, but no body.

    Attributes:
        path: of the user's file.
        place: the file and the name in it, as ``load`` takes it; how other processes find the kernel.
    """

    def __init__(self, foreign: ForeignKernel, path: Path, attribute: str) -> None:
        self.foreign = foreign
        self.path = path
        self.place = f"{path}:{attribute}"
        self.name = PREFIX + foreign.name
        self.summary = f"a user's own kernel, from {path.name}"
        self.kernel = _signature(self.name, foreign)
        outputs = [t.dtype for t in self.kernel.tensors if t.role is Role.OUTPUT]
        self.tolerance = foreign.tolerance or max(TOLERANCES[dtype] for dtype in outputs)

    @property
    def problem(self) -> Problem:
        """At the shape that its description names."""
        return Problem.of(self.name, **self.foreign.shape)

    def inputs(self, shape: Shape, rng: np.random.Generator) -> Arrays:
        """As the user makes them; standard normal where they do not say."""
        return {
            name: _made(name, argument, extents(self._tensor(name), shape), rng)
            for name, argument in self.foreign.arguments.items()
            if isinstance(argument, In)
        }

    def reference(self, shape: Shape, inputs: Arrays) -> dict[str, Reference]:
        """What the user says; the scale of an output is its largest magnitude.

        Where they say nothing it is empty, and the output of the default configuration must do.

        Raises:
            ConfigError: it is not what the outputs are.
        """
        if self.foreign.reference is None:
            return {}
        given = self.foreign.reference({name: array.astype(np.float64) for name, array in inputs.items()})
        outputs = [t for t in self.kernel.tensors if t.role is Role.OUTPUT]
        if set(given) != {t.name for t in outputs}:
            raise ConfigError(f"{self.name}: the reference gives {sorted(given)}", f"give {[t.name for t in outputs]}")
        return {t.name: reference_of(t.name, given[t.name], extents(t, shape)) for t in outputs}

    def library(self, inputs: Arrays, outputs: Arrays) -> bool:
        """No library is known to compute it."""
        return False

    def cost(self, problem: Problem) -> CostFacts:
        """Every array moved once; flops 0: unknown."""
        sizes = [(extents(t, problem.dims), numpy_dtype(t.dtype).itemsize) for t in self.kernel.tensors]
        return CostFacts(flops=0, bytes=sum(int(np.prod(shape)) * item for shape, item in sizes))

    def _tensor(self, name: str) -> Tensor:
        return next(t for t in self.kernel.tensors if t.name == name)


def reference_of(name: str, values: npt.ArrayLike, shape: tuple[int, ...]) -> Reference:
    """An answer that somebody gives.

    Raises:
        ConfigError: its shape is not that of the output.
    """
    value = np.asarray(values, dtype=np.float64)
    if value.shape != shape:
        raise ConfigError(f"the reference of {name} has shape {value.shape}", f"give {shape}")
    finite = np.abs(value[np.isfinite(value)])
    return Reference(value, np.broadcast_to(np.float64(finite.max(initial=0.0)), shape))


def _signature(name: str, foreign: ForeignKernel) -> Kernel:
    dims = {extent: Dim(extent, 1, LARGEST) for extent in foreign.shape}
    try:
        tensors = tuple(
            Tensor(
                argument,
                tuple(dims[size] if isinstance(size, str) else size for size in array.shape),
                array.dtype,
                Role.INPUT if isinstance(array, In) else Role.OUTPUT,
            )
            for argument, array in foreign.arguments.items()
            if isinstance(array, (In, Out))
        )
    except KeyError as error:
        raise ShapeError(f"{foreign.name}: no extent {error}", f"choose one of {', '.join(dims)}") from error
    return Kernel(name, tuple(dims.values()), tensors, (), ())


def _made(name: str, argument: In, sizes: tuple[int, ...], rng: np.random.Generator) -> Array:
    array = argument.make(rng, sizes) if argument.make else rng.standard_normal(sizes, dtype=np.float32)
    if array.shape != sizes:
        raise ConfigError(f"make of {name} gives shape {array.shape}", f"give {sizes}")
    made: Array = array.astype(numpy_dtype(argument.dtype))
    return made


def load(place: str) -> ForeignFamily:
    """The description at ``FILE.py:NAME``. Executes the file, once in a process.

    Raises:
        ConfigError: there is no such file or name, it fails, or the name is no ``ForeignKernel``.
    """
    file, _, name = place.rpartition(":")
    if not file.endswith(".py") or not name.isidentifier():
        raise ConfigError(f"{place!r} is not FILE.py:NAME", "such as examples/row_scale.py:KERNEL")
    path = Path(file).resolve()
    if not path.is_file():
        raise ConfigError(f"no file {file}", "name the file in which your kernel is described")
    found = _executed(path).get(name)
    if not isinstance(found, ForeignKernel):
        raise ConfigError(f"{name} in {file} is {type(found).__name__}", "make it a ForeignKernel")
    return ForeignFamily(found, path, name)


@lru_cache(maxsize=16)
def _executed(path: Path) -> dict[str, object]:
    """Names of a module, executed as Python would: the imports of its own folder work."""
    spec = importlib.util.spec_from_file_location(f"quasim_foreign_{path.stem}", path)
    assert spec is not None  # as of every path that ends in .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConfigError(f"{path} cannot be executed: {type(error).__name__}: {error}", "run it by python") from error
    finally:
        sys.path.remove(str(path.parent))
    return vars(module)
