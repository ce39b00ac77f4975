"""Search spaces of the Triton target: the genes of each schedule, and the values that a practitioner would try.

Values follow the shape (no tile is much larger than the array) and the architecture (shared memory, width of a warp,
descriptors). Constraints keep out what could not launch or would spill; the compiler's facts weed out the rest. The
defaults are what one writes down before measuring anything.
"""

from __future__ import annotations

from quasim.kernels import check_problem, family
from quasim.kernels._base import numpy_dtype
from quasim.kernels.ir import Dot, Kernel, Load
from quasim.kernels.lower.pattern import Pattern, pattern, unsupported
from quasim.kernels.lower.tiles_contraction import can_have_descriptor, roles
from quasim.kernels.lower.tiles_known import Known, power_of_two
from quasim.kernels.lower.tiles_packed import can_pack
from quasim.kernels.lower.tiles_pointwise import CACHE, accesses, can_flatten
from quasim.kernels.lower.tiles_rows import row_axes
from quasim.kernels.walk import walk
from quasim.precision.rewrite import PROMOTIONS
from quasim.space import AtMost, Constraint, Implies, Kind, Parameter, SearchSpace
from quasim.targets.gpu.resources import Limits, limits
from quasim.targets.triton.plans import PLAN, PROMOTE
from quasim.trial import Genome, Problem, Value

MOST_HELD = 64
"""Elements of a tile that a thread may hold: with as many more for what is computed, its registers are used up."""

MOST_SUMMED = 128
"""Elements of a result that a thread may hold where products leave it little else to hold."""

_SHARED_USE = 80
"""Bound on block_m · block_n · block_k · stages for each operand that fits into shared memory. What needs more than is
there also exceeds this, but for flat tiles; a little that fits is lost."""

_BOTH = (False, True)

_PLANS: dict[str, dict[str, tuple[Value, ...]]] = {
    "fp64": {"block_k": (16,), "walk": ("tiles", "persistent"), "epilogue": (1,), "promote": (0,)},
    "fp32": {"block_k": (16, 32), "epilogue": (1,), "promote": (0,)},
    "tf32x3": {"block_k": (32, 64), "epilogue": (1,), "promote": (0,)},
    "bf16x6": {"block_k": (32, 64), "epilogue": (1,), "promote": (0,)},
    "fp16x2": {"block_k": (32, 64), "epilogue": (2,)},
}
"""Precision plans that stay within the tolerance of float32 products, and what other genes each of them can have.

They are for the plain float32 product: the others' data are of too few bits, or laid out otherwise. Words are offered
only where float64 is quick, which answers where words may not.
"""

_Values = dict[str, tuple[Value, ...]]
_Space = tuple[_Values, tuple[Constraint, ...], dict[str, Value]]


def space(problem: Problem, arch: str) -> SearchSpace:
    """The search space of a problem on an architecture.

    Raises:
        UnknownNameError, ShapeError: there is no such problem or architecture.
        LoweringError: the kernel has no schedule, or the architecture lacks its products.
    """
    have, dims = limits(arch), check_problem(problem).dims
    kernel = family(problem.kernel).kernel
    found = pattern(kernel)
    if found is Pattern.CONTRACTION:
        values, constraints, default = _contraction(kernel, dims, arch, have)
    elif found in (Pattern.ROWS, Pattern.SPLITS):
        values, constraints, default = _rows(kernel, dims, have)
    elif can_flatten(kernel):
        values, constraints, default = _flat(kernel, dims, have)
    else:
        values, constraints, default = _tiled(kernel, dims, have)
    parameters = tuple(
        Parameter(name, choices, Kind.CATEGORICAL if isinstance(choices[0], str) else Kind.ORDINAL)
        for name, choices in values.items()
    )
    return SearchSpace(parameters, constraints, Genome(default))


def _contraction(kernel: Kernel, dims: dict[str, int], arch: str, have: Limits) -> _Space:
    (dot,) = (node for node in walk(kernel.body) if isinstance(node, Dot))
    part = roles(kernel)
    size = numpy_dtype(kernel.tensors[0].dtype).itemsize
    if dot.precision == "tf32" and arch == "gfx90a":
        raise unsupported(kernel, "tf32 products, which gfx90a lacks")
    # Without units for products, tiles are held to what a thread can add up by itself.
    units = size == 2 or dot.precision == "tf32"
    most = 256 if units else 128
    rows, cols = (_blocks(dims[axis.dim.name] - axis.trim, most) for axis in (part.rows, part.cols))
    depths = (32, 64, 128) if size == 2 else (16, 32, 64)
    values: _Values = {
        "block_m": rows,
        "block_n": cols,
        "block_k": depths if units else (16, 32),
        "warps": (4, 8),
        "stages": (2, 3, 4) if arch.startswith("sm_") else (1, 2),
        "group": (1, 8),
        "access": ("pointer", "descriptor") if _descriptors(kernel, dims, arch) else ("pointer",),
        "walk": ("tiles", "persistent", "flat"),
        "epilogue": (1, 2) if units and cols[0] >= 32 else (1,),
    }
    constraints: tuple[Constraint, ...] = (
        AtMost(("block_m", "block_n"), MOST_SUMMED * have.warp, per=("warps",)),
        AtMost(("block_m", "block_n", "block_k", "stages"), have.shared_bytes // size * _SHARED_USE),
    )
    plans = _PLANS if kernel.name == "matmul" and arch.startswith("sm_") and have.float64_units else {}
    if plans:
        values |= {"block_k": (16, 32, 64), "epilogue": (1, 2), PLAN: tuple(plans), PROMOTE: PROMOTIONS[:-1]}
        # Blocks that are promoted together are in shared memory together, where hardly four of them fit.
        shared = AtMost(("block_m", "block_n", "block_k", "stages", PROMOTE), have.shared_bytes // size * _SHARED_USE)
        constraints += (shared,)
        constraints += tuple(Implies(PLAN, name, *fit) for name, genes in plans.items() for fit in genes.items())
    default: dict[str, Value] = {
        "block_m": _near(rows, 128 if units else 64),
        "block_n": _near(cols, 128 if units else 64),
        "block_k": 32,
        "warps": 8 if units else 4,
        "stages": values["stages"][-2],
        "group": 8,
        "access": "pointer",
        "walk": "tiles",
        "epilogue": 1,
    }
    return values, constraints, default | ({PLAN: "fp32", PROMOTE: 0} if plans else {})


def _descriptors(kernel: Kernel, dims: dict[str, int], arch: str) -> bool:
    known = Known(kernel, dims)
    return arch == "sm_90" and all(can_have_descriptor(tensor, known) for tensor in kernel.tensors)


def _blocks(steps: int, most: int) -> tuple[int, ...]:
    """Sizes of tiles for an axis: 16 at least, as products need, and no more than the array has."""
    top = max(16, min(most, power_of_two(steps)))
    return tuple(size for size in (16, 32, 64, 128, 256) if min(64, top) <= size <= top)


def _near(values: tuple[int, ...], wanted: int) -> int:
    return min(values, key=lambda value: abs(value - wanted))


def _rows(kernel: Kernel, dims: dict[str, int], have: Limits) -> _Space:
    rows, cols = row_axes(kernel)
    whole = power_of_two(dims[cols.dim.name] - cols.trim)
    pieces = [size for size in (1024, 4096) if size < whole]
    most = have.threads // have.warp
    values: _Values = {
        "rows": tuple(held for held in (1, 2, 4, 8) if held <= power_of_two(dims[rows.dim.name])),
        "block": (*pieces, whole),
        "warps": tuple(
            warps for warps in (1, 2, 4, 8, 16, 32) if warps <= most and (warps - 1) * have.warp < 8 * whole
        ),
        "persist": (0, 2, 4),
        "stages": (1, 2),
        "once": _BOTH,
    }
    constraints = (AtMost(("rows", "block"), MOST_HELD * have.warp, per=("warps",)),)
    # The tutorial's: a row for each block, sixteen numbers for each thread.
    warps = max(1, min(most, whole // (16 * have.warp)))
    default: dict[str, Value] = {
        "rows": 1,
        "block": whole if whole <= MOST_HELD * have.warp * most else pieces[-1],
        "warps": warps,
        "persist": 0,
        "stages": 1,
        "once": False,
    }
    return values, constraints, default


def _flat(kernel: Kernel, dims: dict[str, int], have: Limits) -> _Space:
    values: _Values = {
        "block": (256, 512, 1024, 2048, 4096, 8192),
        "warps": (1, 2, 4, 8, 16),
        "persist": (0, 4, 8),
        "cache": tuple(CACHE),
    }
    default: dict[str, Value] = {"block": 1024, "warps": 4, "persist": 0, "cache": "any"}
    if pattern(kernel) is Pattern.SECTIONS:
        values["layout"] = ("flat", "packed") if can_pack(kernel, dims) else ("flat",)
        default["layout"] = "flat"
    # An array more or less to read makes little difference; the sections of a state are many.
    read = sum(bool(load.guard) for load in accesses(kernel) if isinstance(load, Load))
    return values, (AtMost(("block",), 2 * MOST_HELD // max(2, read) * have.warp, per=("warps",)),), default


def _tiled(kernel: Kernel, dims: dict[str, int], have: Limits) -> _Space:
    values: _Values = {
        "rows": (1, 2, 4, 8, 16, 32),
        "block": (64, 128, 256, 512, 1024),
        "warps": (1, 2, 4, 8),
        "align": _BOTH,
        "persist": (0, 4),
    }
    default: dict[str, Value] = {"rows": 1, "block": 1024, "warps": 4, "align": False, "persist": 0}
    return values, (AtMost(("rows", "block"), MOST_HELD * have.warp, per=("warps",)),), default
