"""Search spaces of the C target: the genes of each schedule pattern, and the values that a practitioner would try.

Sizes are such that every choice nests: blocks of rows are multiples of all register tiles, and so on. The defaults are
what one writes down before measuring anything: vectors and all threads, small tiles, and none of the tricks.
"""

from __future__ import annotations

from quasim.kernels import check_problem, family
from quasim.kernels.lower import Pattern, pattern
from quasim.kernels.lower.contraction import exact_contraction
from quasim.kernels.lower.pattern import Contraction, unsupported
from quasim.kernels.lower.row_passes import KEEP
from quasim.space import AtMost, Kind, Parameter, SearchSpace
from quasim.trial import Genome, Problem, Value

NATIVE_LANES = 8
"""Floats in a vector register of AVX and AVX2, which nearly all servers have; the compiler splits what is wider."""

_ACCUMULATORS = 13
"""Of 16 registers, three hold the operands; accumulators beyond that are spilled in the innermost loop."""

_BOTH = (False, True)

_Values = dict[str, tuple[Value, ...]]


def space(problem: Problem, threads: int, lanes: int = NATIVE_LANES) -> SearchSpace:
    """The search space of a problem.

    Args:
        problem: a registered family at a shape of its domain.
        threads: processors that a variant may use.
        lanes: floats in the machine's vector registers; half of it is tried too.

    Raises:
        UnknownNameError, ShapeError: there is no such problem.
        LoweringError: the kernel has no schedule.
    """
    kernel = family(check_problem(problem).kernel).kernel
    found = pattern(kernel)
    if found not in _GENES:
        raise unsupported(kernel, f"the form {found.value!r}, for which CPUs have no schedule")
    shared: _Values = {"threads": tuple(sorted({max(1, threads // 2), threads})), "lanes": (max(2, lanes // 2), lanes)}
    values, chosen = shared | _GENES[found], _DEFAULTS[found]
    if found is Pattern.CONTRACTION:
        parts = exact_contraction(kernel)
        values = values | _right_genes(parts) | (_BATCHED if parts.batch else {})
        chosen = chosen | ({} if parts.right_rows else {"pack_b": True}) | ({"by_batch": False} if parts.batch else {})
    parameters = tuple(
        Parameter(name, choices, Kind.CATEGORICAL if isinstance(choices[0], str) else Kind.ORDINAL)
        for name, choices in values.items()
    )
    fits = AtMost(("mr", "nv", "lanes"), _ACCUMULATORS * lanes)
    default = Genome({"threads": threads, "lanes": lanes} | chosen)
    return SearchSpace(parameters, (fits,) if found is Pattern.CONTRACTION else (), default)


def _right_genes(parts: Contraction) -> _Values:
    """Columns of the right operand that are apart must be packed."""
    return {} if parts.right_rows else {"pack_b": (True,)}


_BATCHED: _Values = {"kc": (128, 384), "nc": (384, 1536), "by_batch": _BOTH}
"""Genes of batched products, of which each is small."""

_GENES: dict[Pattern, _Values] = {
    Pattern.CONTRACTION: {
        "mr": (2, 4, 6, 8, 12),
        "nv": (1, 2, 3),
        "ku": (1, 2, 8),
        "kc": (128, 256, 384, 768),
        "mc": (24, 48, 96, 192),
        "nc": (384, 768, 1536),
        "pack_a": _BOTH,
        "pack_b": _BOTH,
    },
    Pattern.ROWS: {
        "unroll": (1, 2, 4, 8),
        "keep": KEEP,
        "chunk": (2, 8, 32, 128),
        "overlap": _BOTH,
        "prefetch": _BOTH,
        "stream": _BOTH,
    },
    Pattern.POINTWISE: {
        "unroll": (1, 2, 4),
        "step_rows": (1, 2, 4, 8),
        "tile_rows": (16, 64, 256),
        "tile_cols": (512, 1024, 4096),
        "prefetch": _BOTH,
        "stream": _BOTH,
    },
    Pattern.SECTIONS: {
        "unroll": (1, 2, 4),
        "tile_rows": (4, 32, 256, 2048),
        "tile_cols": (256, 1024, 4096, 16384),
        "ahead": (0, 4, 16),
        "stream": _BOTH,
    },
}

_DEFAULTS: dict[Pattern, dict[str, Value]] = {
    Pattern.CONTRACTION: {
        "mr": 4,
        "nv": 1,
        "ku": 1,
        "kc": 128,
        "mc": 48,
        "nc": 384,
        "pack_a": False,
        "pack_b": False,
    },
    Pattern.ROWS: {
        "unroll": 1,
        "keep": "nothing",
        "chunk": 8,
        "overlap": False,
        "prefetch": False,
        "stream": False,
    },
    Pattern.POINTWISE: {
        "unroll": 1,
        "step_rows": 1,
        "tile_rows": 16,
        "tile_cols": 512,
        "prefetch": False,
        "stream": False,
    },
    Pattern.SECTIONS: {
        "unroll": 1,
        "tile_rows": 32,
        "tile_cols": 1024,
        "ahead": 0,
        "stream": False,
    },
}
