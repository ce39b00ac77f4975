"""How many corrupt members an arc of the ring can hold that a client takes for that of its neighbours."""

from __future__ import annotations

import math
from functools import lru_cache

from aggregation.secure.graph import is_plausible

# Lengths are whole parts of the circle, so that probabilities are fractions of whole numbers.
CIRCLE = 1 << 24
# Places that server and corrupt members can try for themselves, choosing nonces, before the participants are fixed.
TRIED_BITS = 60


@lru_cache(maxsize=4096)
def longest(near: int, count: int) -> int:
    """Upper end of the arcs that a client on a ring of ``count`` believes to hold so many others near it, in parts.

    The whole circle where every arc is believed. Longer arcs are believed on smaller rings.
    """
    low, high = near * CIRCLE // (count - 1), CIRCLE
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if is_plausible(near, count - 1, middle / CIRCLE) else (low, middle)
    return high


def crowded(corrupt: int, arc: int, least: int) -> tuple[int, int]:
    """Bound on the chance, as a fraction, that some arc of this length holds so many corrupt members.

    An arc that holds ``least`` can be moved to begin at one of them and then holds ``least`` - 1 of the others:
    corrupt * P[Binomial(corrupt - 1, arc) >= least - 1]. Honest members do not count: the server may hide as many as
    it likes. At least 1 where the bound says nothing.

    Args:
        corrupt: members in collusion with the server, from 1.
        arc: in parts of ``CIRCLE``.
        least: from 1.
    """
    others, more = corrupt - 1, least - 1
    if more >= others:
        return corrupt * arc**others * (more == others), CIRCLE**others
    # Beyond its mean a binomial distribution falls at least as fast as a geometric series with its first ratio, so
    # that the first term gives a bound of the whole tail.
    steepness = (more + 1) * CIRCLE - corrupt * arc
    if steepness <= 0:
        return 1, 1
    first = math.comb(others, more) * arc**more * (CIRCLE - arc) ** (others - more)
    return corrupt * first * (more + 1) * (CIRCLE - arc), CIRCLE**others * steepness
