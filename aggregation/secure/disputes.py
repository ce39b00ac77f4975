"""Who must go where one says that another's shares did not open: nobody can tell which of the two lies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable


def losers(disputes: Iterable[tuple[int, int]]) -> list[int]:
    """Participants without whom no dispute is left: again and again the one with the most, of two the dealer.

    Who deals rubbish to many, or complains of many, has many disputes and goes alone; a liar can take at most about
    one honest participant along, if it spares all others.

    Args:
        disputes: pairs of a dealer and a receiver whose delivery did not open.
    """
    opponents: dict[int, set[int]] = {}
    accused: Counter[int] = Counter()
    for dealer, receiver in disputes:
        opponents.setdefault(dealer, set()).add(receiver)
        opponents.setdefault(receiver, set()).add(dealer)
        accused[dealer] += 1
    gone = []
    while opponents:
        worst = max(opponents, key=lambda one: (len(opponents[one]), accused[one], -one))
        gone.append(worst)
        for other in opponents.pop(worst):
            opponents[other].discard(worst)
        opponents = {one: others for one, others in opponents.items() if others}
    return gone
