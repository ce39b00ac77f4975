"""Genomes and ragged shapes of every family for the tests of the Triton target."""

from __future__ import annotations

from quasim.targets.triton.space import space
from quasim.trial import Genome, Problem, Value

PRODUCT: dict[str, Value] = {
    "block_m": 16,
    "block_n": 32,
    "block_k": 16,
    "warps": 4,
    "stages": 2,
    "group": 2,
    "access": "pointer",
    "walk": "tiles",
    "epilogue": 1,
}
ROWS: dict[str, Value] = {"rows": 1, "block": 64, "warps": 1, "persist": 0, "stages": 1, "once": False}
FLAT: dict[str, Value] = {"block": 256, "warps": 1, "persist": 0, "cache": "any"}
TILED: dict[str, Value] = {"rows": 4, "block": 16, "warps": 1, "align": False, "persist": 0}


def genome(base: dict[str, Value], **genes: Value) -> Genome:
    """The base with other genes."""
    return Genome({**base, **genes})


def default(problem: Problem, arch: str) -> Genome:
    """What the target tries first."""
    found = space(problem, arch).default
    assert found is not None
    return found
