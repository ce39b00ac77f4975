"""The genes of each pattern on a machine of threads, and which of their combinations are sensible.

Memory is moved by 16 bytes where a genome says ``vector=4`` and the shape allows it. The defaults are what one writes
down before measuring anything: the tiles and register blocks of a textbook, a row for each block.
"""

from __future__ import annotations

from quasim.kernels import check_problem, family
from quasim.kernels.ir import Axis, Kernel, Load
from quasim.kernels.lower.pattern import Pattern, contraction, unsupported
from quasim.kernels.lower.threads import thread_pattern
from quasim.kernels.lower.threads_parts import FOUR
from quasim.kernels.lower.tiles_known import power_of_two
from quasim.kernels.lower.tiles_pointwise import can_flatten
from quasim.kernels.lower.tiles_rows import row_axes
from quasim.space import AtMost, Constraint, Kind, Parameter, SearchSpace
from quasim.targets.cuda.compile import ARCHS
from quasim.targets.gpu.resources import limits
from quasim.trial import Genome, Problem, Value

MOST_HELD = 64
"""Elements of a row that a thread may hold: with as many more for what is computed, its registers are used up."""

MOST_THREADS = 512
"""Of a block that multiplies: with more, a thread has too few registers for its part of the result."""

_BOTH = (False, True)

_Values = dict[str, tuple[Value, ...]]
_Space = tuple[_Values, tuple[Constraint, ...], dict[str, Value]]


def space(problem: Problem, arch: str) -> SearchSpace:
    """The search space of a problem on an architecture.

    Raises:
        UnknownNameError, ShapeError: there is no such problem or architecture.
        LoweringError: the kernel has no schedule, or NVRTC makes no code for the architecture.
    """
    limits(arch)
    dims = check_problem(problem).dims
    kernel = family(problem.kernel).kernel
    if arch not in ARCHS:
        raise unsupported(kernel, f"no form in CUDA C++ for {arch}")
    found = thread_pattern(kernel)
    if found is Pattern.CONTRACTION:
        values, constraints, default = _contraction(kernel, dims)
    elif found is Pattern.ROWS:
        values, constraints, default = _rows(kernel, dims)
    elif can_flatten(kernel):
        values, constraints, default = _flat()
    else:
        values, constraints, default = _tiled()
    parameters = tuple(Parameter(name, choices, Kind.ORDINAL) for name, choices in values.items())
    return SearchSpace(parameters, constraints, Genome(default))


def _contraction(kernel: Kernel, dims: dict[str, int]) -> _Space:
    part = contraction(kernel)
    rows, cols = (_blocks(dims[axis.dim.name] - axis.trim) for axis in (part.rows, part.cols))
    values: _Values = {
        "block_m": rows,
        "block_n": cols,
        "block_k": (8, 16, 32),
        "each_m": (4, 8),
        "each_n": (4, 8),
        "group": (1, 8),
        "asynchronous": _BOTH
        if any(_as_in_a_tile(side, part.over, dims) for side in (part.left, part.right))
        else (False,),
    }
    constraints = (AtMost(("block_m", "block_n"), MOST_THREADS, per=("each_m", "each_n")),)
    default: dict[str, Value] = {
        "block_m": rows[-1],
        "block_n": cols[-1],
        "block_k": 8,
        "each_m": 8,
        "each_n": 8,
        "group": 8,
        "asynchronous": False,
    }
    return values, constraints, default


def _as_in_a_tile(read: Load, over: Axis, dims: dict[str, int]) -> bool:
    """Whether an operand's groups of four lie in memory as they do in shared memory."""
    last = read.index[-1].axis
    return last is not None and last != over and dims[last.dim.name] % FOUR == 0


def _blocks(steps: int) -> tuple[int, ...]:
    """Sizes of tiles for an axis: whole gangs of every register block, and no more than the array needs."""
    top = max(64, power_of_two(steps))
    return tuple(size for size in (64, 128) if size <= top)


def _rows(kernel: Kernel, dims: dict[str, int]) -> _Space:
    rows, cols = row_axes(kernel)
    length = dims[cols.dim.name] - cols.trim
    # The largest group holds any row; of the smaller ones, those that need not spill.
    groups = tuple(g for g in (8, 16, 32, 64, 128, 256, 512) if length <= g * MOST_HELD and g < power_of_two(length))
    groups = groups or (1024 if length > 1 else 8,)
    most = min(power_of_two(dims[rows.dim.name]), max(1, MOST_HELD * groups[-1] // length))
    values: _Values = {
        "threads": (64, 128, 256, 512, 1024),
        "group": groups,
        "rows": tuple(held for held in (1, 2, 4) if held <= most),
        "vector": (1, 4),
        "once": _BOTH,
    }
    constraints = (AtMost(("group",), 1, per=("threads",)),)
    group = max((g for g in groups if g * 16 <= length), default=groups[0])
    default: dict[str, Value] = {"threads": max(64, group), "group": group, "rows": 1, "vector": 4, "once": False}
    return values, constraints, default


def _flat() -> _Space:
    values: _Values = {
        "threads": (64, 128, 256, 512, 1024),
        "vector": (1, 4),
        "items": (1, 2, 4, 8),
        "once": _BOTH,
    }
    return values, (), {"threads": 256, "vector": 4, "items": 1, "once": False}


def _tiled() -> _Space:
    values: _Values = {
        "threads": (64, 128, 256, 512),
        "across": (32, 64, 128, 256),
        "rows": (1, 2, 4, 8, 16),
        "vector": (1, 4),
    }
    constraints = (AtMost(("across",), 1, per=("threads",)),)
    return values, constraints, {"threads": 128, "across": 128, "rows": 4, "vector": 4}
