from __future__ import annotations

import hashlib
import itertools
import math
import random
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest

from aggregation.secure.arcs import CIRCLE, crowded, longest
from aggregation.secure.degrees import Degrees, corrupt, degrees, smallest_ring
from aggregation.secure.graph import fraction, is_plausible
from aggregation.secure.published import published
from aggregation.secure.ring import position

Places = npt.NDArray[np.float64]
N = 1_000


def places(count: int, seed: int) -> Places:
    """Positions of so many members with nonces of their own, ascending, shape (count,)."""
    source, fixed = random.Random(seed), hashlib.sha256(seed.to_bytes(4, "big")).digest()
    return np.sort([fraction(position(fixed, f"node-{i}", source.randbytes(32))) for i in range(count)])


def most_around(victim: float, colluders: Places, graph: Degrees, believed: Callable[[float], bool]) -> int:
    """Most corrupt neighbours that a server can show a victim, hiding any honest members, in an arc it believes."""
    half = graph.k // 2
    after, before = np.sort((colluders - victim) % 1)[:half], np.sort((victim - colluders) % 1)[:half]
    # So many corrupt on either side; honest members between them fill the k. An arc too short to be believed can
    # always be stretched by honest members at its end, a longer one cannot be shortened.
    shown = itertools.product(enumerate([0.0, *after.tolist()]), enumerate([0.0, *before.tolist()]))
    return max(i + j for (i, right), (j, left) in shown if right + left <= graph.k / N or believed(right + left))


def attacked(seed: int, graph: Degrees, believed: Callable[[float], bool]) -> int:
    """Most corrupt neighbours of any of some victims."""
    everyone = places(N, seed)
    chosen = random.Random(seed).sample(range(N), corrupt(N))
    victims = np.delete(everyone, chosen)[::25].tolist()
    return max(most_around(victim, everyone[chosen], graph, believed) for victim in victims)


def exact_bound(corrupt_members: int, arc: int, least: int) -> Fraction:
    p, others = Fraction(arc, CIRCLE), corrupt_members - 1
    terms = (math.comb(others, i) * p**i * (1 - p) ** (others - i) for i in range(least - 1, others + 1))
    return corrupt_members * sum(terms, Fraction(0))


@pytest.mark.parametrize("arc", [CIRCLE // 100, CIRCLE // 10, CIRCLE // 4])
def test_the_bound_is_hardly_above_the_exact_tail(arc: int) -> None:
    for least in range(16, 31):
        exact, bound = exact_bound(30, arc, least), Fraction(*crowded(30, arc, least))
        assert exact <= bound <= 2 * exact


def test_where_all_or_more_are_needed_the_bound_is_exact() -> None:
    assert Fraction(*crowded(5, CIRCLE // 4, 5)) == Fraction(5, 4**4)
    assert crowded(5, CIRCLE // 4, 6)[0] == 0


def test_below_the_mean_the_bound_says_nothing() -> None:
    assert Fraction(*crowded(100, CIRCLE // 2, 10)) >= 1


@pytest.mark.parametrize(("near", "count"), [(84, 900), (168, 900), (168, 1_000), (270, 9_000)])
def test_the_longest_arc_is_where_belief_ends(near: int, count: int) -> None:
    arc = longest(near, count)
    assert is_plausible(near, count - 1, (arc - 1) / CIRCLE)
    assert not is_plausible(near, count - 1, arc / CIRCLE)


def test_smaller_rings_have_longer_arcs() -> None:
    arcs = [longest(168, count) for count in range(1_000, 899, -10)]
    assert arcs == sorted(arcs)


def test_arcs_of_honest_rings_are_believed() -> None:
    everyone, k = places(N, seed=1), degrees(N).k
    arcs = (np.roll(everyone, -k) - everyone) % 1
    assert all(is_plausible(k, N - 1, float(arc)) for arc in arcs)


@pytest.mark.parametrize("seed", range(3))
def test_hiding_members_exposes_nobody(seed: int) -> None:
    graph = degrees(N)
    most = attacked(seed, graph, lambda arc: is_plausible(graph.k, smallest_ring(N) - 1, arc))
    # The attack gains: about a tenth of the neighbours are corrupt where nobody is hidden. It does not gain enough.
    assert 0.15 * graph.k < most < graph.colluders


@pytest.mark.parametrize("graph", [published(N), degrees(N)])
def test_a_victim_that_believes_any_arc_is_exposed(graph: Degrees) -> None:
    assert attacked(0, graph, lambda arc: True) >= graph.colluders


def test_a_victim_that_believes_in_a_tiny_ring_is_exposed() -> None:
    graph = degrees(N)
    assert attacked(0, graph, lambda arc: is_plausible(graph.k, 180 - 1, arc)) >= graph.colluders


def test_members_that_choose_their_places_need_the_root_to_be_known() -> None:
    # A corrupt member tries nonces for a place in a tenth of the ring under one root; under another it lies anywhere.
    source = random.Random(5)
    known, fixed = hashlib.sha256(b"guess").digest(), hashlib.sha256(b"root").digest()
    found = [
        next(nonce for nonce in iter(lambda: source.randbytes(32), b"") if fraction(position(known, node, nonce)) < 0.1)
        for node in (f"node-{i}" for i in range(200))
    ]
    there = sum(fraction(position(fixed, f"node-{i}", nonce)) < 0.1 for i, nonce in enumerate(found))
    # Binomial(200, 0.1): mean 20, standard deviation 4.2; five of them.
    assert there < 42
