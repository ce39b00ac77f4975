"""Prints the tables of docs/secure-aggregation-parameters.md: ``python -m aggregation.secure``."""

from __future__ import annotations

import math
from collections.abc import Iterator

from aggregation.secure.arcs import CIRCLE, longest
from aggregation.secure.degrees import (
    COMPLETE_LIMIT,
    PLACEMENT_LIMIT,
    corrupt,
    cut,
    degrees,
    seen,
    side_quorum,
    smallest_ring,
    stuck,
)
from aggregation.secure.published import cut_if_placed, exposed, published

SIZES = (10, 20, 32, 33, 50, 64, 100, 128, 200, 256, 300, 500, 1_000, 2_000, 5_000, 10_000)
HIDDEN = (0, 5, 10, 20, 50, 100)


def parameters() -> Iterator[str]:
    """One row a size: k and t against a lying server, the usual ones, and how improbable each failure of ours is."""
    yield "| n | k | t | usual k | usual t | corrupt | the round stuck | a vector seen | the sum cut in two |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for n in SIZES:
        graph, usual = degrees(n), published(n)
        late = "as dropouts" if n <= COMPLETE_LIMIT else _power(stuck(n, graph))
        caught = (_power(chance(n, graph)) if n > PLACEMENT_LIMIT else "never" for chance in (seen, cut))
        measures = f"{graph.k} | {graph.t} | {usual.k} | {usual.t} | {corrupt(n):,}"
        yield f"| {n:,} | {measures} | {late} | {' | '.join(caught)} |"


def hidden() -> Iterator[str]:
    """One row a size above the placement limit: a vector seen with the usual (k, t), if the server hides members."""
    yield "| n | usual k | usual t | the sum cut in two | " + " | ".join(f"{m} hidden" for m in HIDDEN) + " |"
    yield "|---|---|---|---|" + "---|" * len(HIDDEN)
    for n in _large():
        graph = published(n)
        powers = " | ".join(_power(exposed(n, graph, m)) for m in HIDDEN)
        yield f"| {n:,} | {graph.k} | {graph.t} | {_power(cut_if_placed(n, graph))} | {powers} |"


def believed() -> Iterator[str]:
    """One row a size above the placement limit: what a client demands, and what it takes to fool one nevertheless."""
    yield "| n | smallest ring | each side | k of n | longest arc | corrupt on average | enough to see a vector |"
    yield "|---|---|---|---|---|---|---|"
    for n in _large():
        graph, ring = degrees(n), smallest_ring(n)
        arc = longest(graph.k, ring) / CIRCLE
        demands = f"{ring:,} | {side_quorum(n, graph)} of {graph.k // 2} | {graph.k / n:.1%} | {arc:.1%}"
        yield f"| {n:,} | {demands} | {corrupt(n) * arc:.0f} | {graph.colluders} |"


def _large() -> Iterator[int]:
    return (n for n in SIZES if n > PLACEMENT_LIMIT)


def _power(chance: tuple[int, int]) -> str:
    numerator, denominator = chance
    if not numerator:
        return "never"
    return "certain" if numerator >= denominator else f"2^{math.log2(numerator) - math.log2(denominator):.1f}"


if __name__ == "__main__":
    print("\n".join([*parameters(), "", *hidden(), "", *believed()]))
