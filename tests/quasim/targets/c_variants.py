"""The variants that the tests of the C target compile, few as they are: some genomes for each family."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from quasim.kernels import family
from quasim.kernels.lower import lower
from quasim.targets.c.compile import CCompiler
from quasim.targets.c.emit import emit
from quasim.targets.c.space import space
from quasim.trial import Genome, Problem

SHAPES: dict[str, list[dict[str, int]]] = {
    "matmul": [
        {"m": m, "n": n, "k": k}
        for m, n, k in [(1, 1, 1), (5, 3, 2), (13, 17, 129), (24, 48, 128), (97, 33, 5), (50, 391, 131), (200, 24, 777)]
    ],
    "softmax": [
        {"rows": rows, "cols": cols}
        for rows, cols in [(1, 1), (3, 2), (2, 15), (5, 17), (9, 64), (33, 131), (129, 40), (4, 1029)]
    ],
    "stencil2d": [
        {"h": h, "w": w} for h, w in [(3, 3), (3, 70), (60, 3), (4, 17), (11, 34), (19, 130), (40, 531), (5, 1100)]
    ],
    "layernorm": [
        {"rows": rows, "cols": cols}
        for rows, cols in [(1, 1), (3, 2), (2, 15), (5, 17), (9, 64), (33, 131), (129, 40), (4, 1029)]
    ],
    "add": [{"rows": rows, "cols": cols} for rows, cols in [(1, 1), (60, 3), (4, 17), (19, 130), (40, 531)]],
    "gelu_residual": [
        {"rows": rows, "cols": cols}
        for rows, cols in [(1, 1), (1, 70), (60, 3), (4, 17), (19, 130), (40, 531), (5, 1100)]
    ],
    "matmul_bf16_nt": [
        {"m": m, "n": n, "k": k} for m, n, k in [(1, 1, 1), (5, 3, 2), (24, 48, 128), (97, 33, 5), (50, 391, 777)]
    ],
    "bmm_fp16_tn": [
        {"b": b, "m": m, "n": n, "k": k}
        for b, m, n, k in [(1, 1, 1, 1), (3, 5, 3, 2), (2, 24, 48, 128), (5, 50, 91, 131), (2, 97, 33, 777)]
    ],
    "gate1": [{"outer": o, "inner": i} for o, i in [(1, 1), (9, 1), (70, 2), (1, 1030), (5, 17), (33, 64), (3, 600)]],
    "gate2": [
        {"outer": o, "middle": m, "inner": i}
        for o, m, i in [(1, 1, 1), (9, 1, 1), (1, 7, 2), (1, 1, 1030), (5, 33, 17), (33, 2, 64)]
    ],
}
"""Sizes of 1, below and above a vector, a step, a tile and a block, and whole multiples of them."""

# Each gene that changes the code has each of its values somewhere.
GENOMES: dict[str, list[dict[str, bool | int | str]]] = {
    "matmul": [
        {},
        {"mr": 6, "nv": 2, "ku": 8, "kc": 384, "mc": 96, "nc": 768, "pack_a": True, "pack_b": True},
        {"mr": 12, "nv": 1, "ku": 2, "mc": 24, "pack_a": True, "threads": 1},
        {"mr": 8, "nv": 3, "lanes": 4, "ku": 1, "pack_b": True},
    ],
    "softmax": [
        {},
        {"unroll": 4, "keep": "scratch", "chunk": 32, "overlap": True, "prefetch": True, "stream": True},
        {"unroll": 2, "keep": "output", "chunk": 2, "overlap": True, "threads": 1},
        {"unroll": 8, "lanes": 4, "keep": "nothing", "chunk": 2, "prefetch": True, "stream": True},
    ],
    "stencil2d": [
        {},
        {"unroll": 2, "step_rows": 1, "tile_rows": 64, "tile_cols": 4096, "prefetch": True, "stream": True},
        {"unroll": 4, "step_rows": 8, "lanes": 4, "stream": True, "threads": 1},
        {"unroll": 1, "step_rows": 2, "prefetch": True},
    ],
    "layernorm": [
        {},
        {"unroll": 4, "keep": "scratch", "chunk": 32, "overlap": True, "prefetch": True, "stream": True},
        {"unroll": 2, "keep": "output", "chunk": 2, "overlap": True, "threads": 1},
        {"unroll": 8, "lanes": 4, "keep": "nothing", "chunk": 2, "overlap": True, "stream": True},
    ],
    "add": [{}, {"unroll": 2, "tile_cols": 4096, "prefetch": True, "stream": True}],
    "matmul_bf16_nt": [{}, {"mr": 6, "nv": 2, "ku": 8, "kc": 384, "mc": 96, "nc": 768, "pack_a": True}],
    "bmm_fp16_tn": [
        {},
        {"mr": 6, "nv": 2, "ku": 2, "mc": 24, "pack_a": True, "by_batch": True},
        {"mr": 8, "lanes": 4, "kc": 384, "nc": 1536, "pack_b": True, "by_batch": True, "threads": 1},
    ],
    "gate1": [
        {},
        {"unroll": 4, "tile_rows": 4, "tile_cols": 256, "ahead": 4, "stream": True},
        {"unroll": 2, "lanes": 4, "tile_rows": 256, "ahead": 16, "threads": 1},
    ],
    "gate2": [{}, {"unroll": 2, "tile_rows": 4, "tile_cols": 256, "ahead": 4, "stream": True}],
    "gelu_residual": [{}, {"unroll": 4, "step_rows": 8, "lanes": 4, "prefetch": True, "stream": True}],
}


def genomes(name: str) -> list[Genome]:
    """The genomes of a family: its default, and others of its space."""
    found = space(Problem.of(name, **SHAPES[name][0]), 2)
    assert found.default is not None
    chosen = [Genome({**found.default, **genes}) for genes in GENOMES[name]]
    assert all(found.contains(genome) for genome in chosen)
    return chosen


def compiled(name: str, genome: Genome, folder: Path, *extra_flags: str) -> Path:
    """The shared library of a variant."""
    source = emit(lower(family(name).kernel, genome, "c"))
    return CCompiler.find().compile(source, folder, extra_flags=extra_flags).path


def rng(*numbers: int) -> np.random.Generator:
    """A generator of a test's own."""
    return np.random.default_rng(numbers)
