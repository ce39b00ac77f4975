"""The usual (k, t), for a server that gives everyone the place that chance gave it: what ours are compared with.

Source: Bell et al. 2020, as in ``degrees``; used by the tables of docs/secure-aggregation-parameters.md alone.
"""

from __future__ import annotations

from aggregation.secure.degrees import (
    CORRECTNESS_BITS,
    PLACEMENT_LIMIT,
    SECURITY_BITS,
    Degrees,
    corrupt,
    degrees,
    improbable,
    stuck,
    tail,
)


def published(n: int) -> Degrees:
    """The smallest k and then the smallest t, where neighbours are drawn from all n by chance; else as ``degrees``."""
    if n <= PLACEMENT_LIMIT:
        return degrees(n)
    candidates = (Degrees(k, _threshold(n, k)) for k in range(2, n - 1, 2))
    return next(c for c in candidates if c.t <= c.k and improbable(stuck(n, c), CORRECTNESS_BITS))


def exposed(n: int, graph: Degrees, hidden: int = 0) -> tuple[int, int]:
    """Bound on the chance that corrupt neighbours serve a server that hides so many honest members of its choice.

    These lie before and after a victim in hidden + 1 ways, each another stretch of k + hidden.
    """
    chance, whole = tail(n - 1, corrupt(n), graph.k + hidden, graph.colluders)
    return n * (hidden + 1) * chance, whole


def cut_if_placed(n: int, graph: Degrees) -> tuple[int, int]:
    """Bound on the chance that a server which hides nobody can end a part of the ring at two places.

    This is without ``degrees.side_quorum``. At each place k/2 neighbours in a row are declared dropped. The member
    beside them keeps k/2 on its other side, and its vector is still unmasked if t - k/2 corrupt ones in the row give
    shares all the same. The counts of two rows are negatively associated, so that their chances multiply to a bound;
    of n rows there are fewer than n^2 / 2 pairs.
    """
    chance, whole = tail(n, corrupt(n), graph.k // 2, graph.t - graph.k // 2)
    return (n * chance) ** 2, 2 * whole**2


def _threshold(n: int, k: int) -> int:
    """The smallest t that is safe with k neighbours, and at most k + 1, which no k neighbours meet."""
    return next(t for t in range(k // 2 + 1, k + 2) if t > k or improbable(exposed(n, Degrees(k, t)), SECURITY_BITS))
