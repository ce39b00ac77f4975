"""Genomes of every family for the tests of the CUDA target, with blocks small enough to be emulated."""

from __future__ import annotations

from quasim.trial import Genome, Value

FLAT: dict[str, Value] = {"threads": 32, "vector": 4, "items": 2, "once": False}
TILED: dict[str, Value] = {"threads": 64, "across": 32, "rows": 2, "vector": 4}
ROWS: dict[str, Value] = {"threads": 64, "group": 32, "rows": 2, "vector": 4, "once": False}
PRODUCT: dict[str, Value] = {
    "block_m": 32,
    "block_n": 32,
    "block_k": 8,
    "each_m": 4,
    "each_n": 4,
    "group": 2,
    "asynchronous": False,
}


def genome(base: dict[str, Value], **genes: Value) -> Genome:
    """The base with other genes."""
    return Genome({**base, **genes})


FAMILIES = (
    "matmul",
    "matmul_nt",
    "matmul_tn",
    "bmm",
    "bmm_nt",
    "bmm_tn",
    "softmax",
    "layernorm",
    "stencil2d",
    "add",
    "gelu_residual",
    "gate1",
    "gate2",
)
"""Families that the target has schedules for."""
