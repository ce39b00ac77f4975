"""How many neighbours and how many shares: the smallest (k, t) that hold against a server that lies about the ring.

Source of the conditions: Bell, Bonawitz, Gascón, Lepoint and Raykova, "Secure Single-Server Aggregation with
(Poly)Logarithmic Overhead", CCS 2020, section 3. docs/secure-aggregation-parameters.md says what is asked beyond
theirs, derives it and holds the table. All probabilities are fractions of exact integers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from aggregation.secure.arcs import TRIED_BITS, crowded, longest
from quasim.errors import DataError

# Below, a secret is shared with everyone: the saving would be small and the guarantee needs no counting.
COMPLETE_LIMIT = 32
# Up to here k is large enough for any placement of the corrupt; above, members must lie in an order of chance.
PLACEMENT_LIMIT = 256
# Assumed at most, of all participants; rounded down to whole ones.
CORRUPT_PERCENT = 10
DROPPING_PERCENT = 10
SECURITY_BITS = 40
CORRECTNESS_BITS = 20


@dataclass(frozen=True, slots=True)
class Degrees:
    """The neighbour graph's measures.

    Attributes:
        k: neighbours of each participant; n - 1 in the complete graph, else even.
        t: shares that give a secret back, and neighbours that must agree on who survived.
    """

    k: int
    t: int

    @property
    def colluders(self) -> int:
        """Corrupt neighbours that are enough for a lying server to see a vector.

        Honest neighbours give a share of its seed or one of its mask key, corrupt ones both. The server needs t of
        each: 2 t <= k + corrupt.
        """
        return 2 * self.t - self.k


@lru_cache(maxsize=256)
def degrees(n: int) -> Degrees:
    """The smallest k and then the smallest t that meet both probabilities for n participants.

    Raises:
        DataError: fewer than two participants.
    """
    if n < 2:
        raise DataError(f"{n} participants", "a sum of one hides nothing; invite more")
    if n <= COMPLETE_LIMIT:
        return Degrees(n - 1, 2 * n // 3 + 1)
    return next(graph for graph in _safe(n) if graph.t <= graph.k and improbable(stuck(n, graph), CORRECTNESS_BITS))


def seen(n: int, graph: Degrees) -> tuple[int, int]:
    """Bound on the chance, as a fraction, that a lying server sees one of n vectors, above ``PLACEMENT_LIMIT``."""
    chance, whole = crowded(corrupt(n), longest(graph.k, smallest_ring(n)), graph.colluders)
    return chance << TRIED_BITS, whole


def cut(n: int, graph: Degrees) -> tuple[int, int]:
    """Bound on the chance, as a fraction, that a lying server ends a part of the ring, above ``PLACEMENT_LIMIT``.

    Between two parts whose members share no mask lie, at both ends, k/2 places in a row without an honest survivor:
    one side of a member that sees ``side_quorum`` survivors there, who all are corrupt. The counts of two arcs are
    negatively associated, so that their chances multiply to a bound of each pair.
    """
    side = side_quorum(n, graph)
    if 2 * side > corrupt(n):
        return 0, 1
    chance, whole = crowded(corrupt(n), longest(graph.k // 2, smallest_ring(n)), side)
    return chance**2 << TRIED_BITS, 2 * whole**2


def stuck(n: int, graph: Degrees) -> tuple[int, int]:
    """Bound on the chance, as a fraction, that fewer than t neighbours of one of n members stay until the end."""
    chance, whole = tail(n - 1, n * DROPPING_PERCENT // 100, graph.k, graph.k - graph.t + 1)
    return n * chance, whole


@lru_cache(maxsize=256)
def side_quorum(n: int, graph: Degrees) -> int:
    """Neighbours on either side of a member that must stay: the most of k/2 that all of n members keep.

    None need up to ``PLACEMENT_LIMIT``, where all corrupt together are too few to take the place of two sides.
    """
    if n <= PLACEMENT_LIMIT:
        return 0
    half = graph.k // 2
    return next(least for least in range(half, -1, -1) if improbable(_thin(n, half, least), CORRECTNESS_BITS))


def smallest_ring(n: int) -> int:
    """Fewest participants that a ring may have: a client believes no server that lost more than may drop.

    Up to ``PLACEMENT_LIMIT`` any ring will do: the corrupt are too few wherever they lie, and however few the others.
    """
    return n - n * DROPPING_PERCENT // 100 if n > PLACEMENT_LIMIT else 0


def corrupt(n: int) -> int:
    """Participants of n that may be corrupt."""
    return n * CORRUPT_PERCENT // 100


def tail(population: int, marked: int, drawn: int, least: int) -> tuple[int, int]:
    """P(at least ``least`` marked among ``drawn`` without replacement), as numerator and denominator."""
    ways = (math.comb(marked, i) * math.comb(population - marked, drawn - i) for i in range(max(least, 0), drawn + 1))
    return sum(ways), math.comb(population, drawn)


def improbable(chance: tuple[int, int], bits: int) -> bool:
    """Whether the chance is at most 2^-bits."""
    numerator, denominator = chance
    return numerator << bits <= denominator


def _thin(n: int, half: int, least: int) -> tuple[int, int]:
    """Bound on the chance that fewer than ``least`` stay on one of the 2 n sides."""
    chance, whole = tail(n - 1, n * DROPPING_PERCENT // 100, half, half - least + 1)
    return 2 * n * chance, whole


def _safe(n: int) -> Iterator[Degrees]:
    """For k = 2, 4, ... the smallest t with which no vector is seen, above k where no k neighbours meet it."""
    t = 2
    for k in range(2, n - 1, 2):
        # Two neighbours more never let fewer colluders do: t only grows, and each step is tried once.
        t = max(t, k // 2 + 1)
        while not _is_safe(n, Degrees(k, t)):
            t += 1
        yield Degrees(k, t)


def _is_safe(n: int, graph: Degrees) -> bool:
    if n <= PLACEMENT_LIMIT:
        return graph.colluders > corrupt(n)
    return improbable(seen(n, graph), SECURITY_BITS)
