"""What is tuned: kernel families, each described once by a tile IR, and the one registry of them."""

from __future__ import annotations

from difflib import get_close_matches

from quasim.errors import UnknownNameError
from quasim.kernels._base import Array, Arrays, CostFacts, Family, Reference
from quasim.kernels.elementwise import Add, GeluResidual
from quasim.kernels.layernorm import Layernorm
from quasim.kernels.matmul import MATMULS
from quasim.kernels.softmax import Softmax
from quasim.kernels.split import Split
from quasim.kernels.statevector import Gate
from quasim.kernels.stencil2d import Stencil2d
from quasim.trial import Problem

__all__ = ["Array", "Arrays", "CostFacts", "Family", "Reference", "adopt", "check_problem", "families", "family"]

_FAMILIES: tuple[Family, ...] = (
    *MATMULS,
    Softmax(),
    Stencil2d(),
    Layernorm(),
    Add(),
    GeluResidual(),
    Gate(1),
    Gate(2),
    Split(),
)


_ADOPTED: dict[str, Family] = {}


def adopt(foreign: Family) -> None:
    """Make a family of the user's own known to this process, besides those that are registered."""
    _ADOPTED[foreign.name] = foreign


def families() -> tuple[Family, ...]:
    """Every registered family, by name."""
    return _FAMILIES


def family(name: str) -> Family:
    """The family of that name.

    Raises:
        UnknownNameError: no such family.
    """
    known = {f.name: f for f in _FAMILIES} | _ADOPTED
    if name in known:
        return known[name]
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UnknownNameError(f"unknown kernel {name!r}", f"{hint}choose one of {', '.join(known)}")


def check_problem(problem: Problem) -> Problem:
    """The problem with its shape in the order of the kernel's dimensions, which everything downstream relies on.

    Raises:
        UnknownNameError: no such family.
        ShapeError: a dimension is missing, unknown or outside its domain.
    """
    kernel = family(problem.kernel).kernel
    shape = problem.dims
    kernel.check_shape(shape)
    return Problem(problem.kernel, tuple((dim.name, shape[dim.name]) for dim in kernel.dims))
