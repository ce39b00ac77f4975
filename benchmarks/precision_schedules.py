"""What is tried for plans of quantised words, and for words that are balanced along the sum."""

from __future__ import annotations

from itertools import product

from quasim.trial import Genome, Value

_WALKS = ("tiles", "persistent", "flat")

_BLOCK_K = 128
"""Elements that share a scale: a step of the loop."""


def _genome(plan: str, m: int, n: int, warps: int, stages: int, walk: str, **more: Value) -> Genome:
    fixed: dict[str, Value] = {"group": 8, "access": "descriptor", "epilogue": 4, "promote": 0, "block_k": _BLOCK_K}
    tile: dict[str, Value] = {"block_m": m, "block_n": n, "warps": warps, "stages": stages, "walk": walk}
    return Genome({**fixed, **tile, "plan": plan, **more})


def _scaled_in_the_loop(plan: str) -> list[Genome]:
    """Tiles of half the size: a block's sum and the whole sum are both in registers."""
    tiles = ((128, 128, 8), (64, 256, 8), (256, 64, 8), (64, 128, 4), (128, 64, 4))
    return [_genome(plan, m, n, warps, stages, walk) for (m, n, warps), stages, walk in product(tiles, (3, 4), _WALKS)]


def _scaled_at_the_end(plan: str) -> list[Genome]:
    tiles = ((128, 256), (256, 128), (128, 128))
    return [
        _genome(plan, m, n, 8, stages, walk, block_k=depth)
        for (m, n), depth, stages, walk in product(tiles, (64, 128), (3, 4), _WALKS)
    ]


def _balanced(plan: str) -> list[Genome]:
    """Blocks of 64 by themselves, or two of 32 that are promoted together."""
    steps = ((64, 1, 2), (64, 1, 3), (32, 2, 2), (32, 2, 3))
    return [
        _genome(plan, 128, 128, 8, stages, walk, block_k=depth, promote=every, epilogue=2)
        for (depth, every, stages), walk in product(steps, _WALKS)
    ]


BLOCKED: dict[str, list[Genome]] = {
    **{plan: _scaled_in_the_loop(plan) for plan in ("int8", "e4m3", "e5m2")},
    "int8r": _scaled_at_the_end("int8r"),
    "fp16x2k": _balanced("fp16x2k"),
}
"""By plan."""
