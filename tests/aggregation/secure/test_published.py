from __future__ import annotations

from fractions import Fraction

import pytest

from aggregation.secure.degrees import Degrees, degrees, stuck
from aggregation.secure.published import cut_if_placed, exposed, published
from tests.aggregation.secure.test_degrees import enumerated


@pytest.mark.parametrize(
    ("n", "k", "t"), [(50, 16, 11), (100, 32, 22), (200, 56, 39), (1_000, 96, 67), (10_000, 122, 85)]
)
def test_known_answers(n: int, k: int, t: int) -> None:
    assert published(n) == Degrees(k, t)


@pytest.mark.parametrize("n", [257, 1_000, 10_000])
def test_both_probabilities_hold_where_nobody_is_hidden(n: int) -> None:
    graph = published(n)
    assert Fraction(*exposed(n, graph)) <= Fraction(1, 2**40) < Fraction(*exposed(n, Degrees(graph.k, graph.t - 1)))
    assert Fraction(*stuck(n, graph)) <= Fraction(1, 2**20)


def test_hiding_widens_the_stretch_around_a_victim() -> None:
    # 20 members, 2 of them corrupt; both among the 4 neighbours, or among 6 in three ways.
    assert Fraction(*exposed(20, Degrees(4, 3))) == 20 * enumerated(19, 2, 4, 2)
    assert Fraction(*exposed(20, Degrees(4, 3), hidden=2)) == 20 * 3 * enumerated(19, 2, 6, 2)


def test_cut_counts_corrupt_rows() -> None:
    # 20 members, 2 of them corrupt, rows of two: one corrupt among the two, or both; two such rows.
    assert Fraction(*cut_if_placed(20, Degrees(4, 3))) == (20 * enumerated(20, 2, 2, 1)) ** 2 / 2
    assert Fraction(*cut_if_placed(20, Degrees(4, 4))) == (20 * enumerated(20, 2, 2, 2)) ** 2 / 2


@pytest.mark.parametrize("n", [300, 1_000, 10_000])
def test_a_lying_server_costs_more_neighbours(n: int) -> None:
    assert degrees(n).k > published(n).k
