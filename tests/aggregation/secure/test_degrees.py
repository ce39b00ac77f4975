from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path

import pytest

from aggregation.secure.__main__ import believed, hidden, parameters
from aggregation.secure.degrees import (
    COMPLETE_LIMIT,
    PLACEMENT_LIMIT,
    Degrees,
    corrupt,
    cut,
    degrees,
    seen,
    side_quorum,
    smallest_ring,
    stuck,
    tail,
)
from quasim.errors import DataError

PAGE = Path(__file__).parents[3] / "docs" / "secure-aggregation-parameters.md"


def enumerated(population: int, marked: int, drawn: int, least: int) -> Fraction:
    draws = list(itertools.combinations(range(population), drawn))
    return Fraction(sum(len([i for i in draw if i < marked]) >= least for draw in draws), len(draws))


@pytest.mark.parametrize(("population", "marked", "drawn"), [(1, 0, 1), (7, 3, 4), (9, 2, 6), (10, 10, 3), (11, 5, 5)])
def test_tails_are_those_of_enumeration(population: int, marked: int, drawn: int) -> None:
    for least in range(-1, drawn + 2):
        assert Fraction(*tail(population, marked, drawn, least)) == enumerated(population, marked, drawn, least)


@pytest.mark.parametrize(
    ("n", "k", "t"), [(50, 16, 11), (100, 32, 22), (200, 56, 39), (300, 76, 54), (1_000, 168, 128), (10_000, 270, 208)]
)
def test_known_answers(n: int, k: int, t: int) -> None:
    assert degrees(n) == Degrees(k, t)


@pytest.mark.parametrize("n", range(2, COMPLETE_LIMIT + 1))
def test_small_rounds_are_complete_and_need_two_thirds(n: int) -> None:
    assert degrees(n) == Degrees(n - 1, 2 * n // 3 + 1)


@pytest.mark.parametrize("n", [33, 47, 99, 256, 257, 333, 710, 1_000, 3_000, 10_000])
def test_every_member_keeps_enough_neighbours(n: int) -> None:
    graph = degrees(n)
    assert graph.k % 2 == 0
    assert graph.k // 2 < graph.t <= graph.k < n - 1
    dropping = n // 10
    assert n * Fraction(*tail(n - 1, dropping, graph.k, graph.k - graph.t + 1)) <= Fraction(1, 2**20)
    assert Fraction(*stuck(n, graph)) <= Fraction(1, 2**20)


@pytest.mark.parametrize("n", [257, 333, 710, 1_000, 3_000, 10_000])
def test_a_server_that_hides_members_neither_sees_a_vector_nor_cuts_the_ring(n: int) -> None:
    graph = degrees(n)
    assert Fraction(*seen(n, graph)) <= Fraction(1, 2**40)
    assert Fraction(*cut(n, graph)) <= Fraction(1, 2**40)


@pytest.mark.parametrize("n", [257, 1_000, 10_000])
def test_no_smaller_graph_would_do(n: int) -> None:
    graph = degrees(n)
    assert Fraction(*seen(n, Degrees(graph.k, graph.t - 1))) > Fraction(1, 2**40)
    for t in range(graph.k // 2, graph.k - 1):
        smaller = Degrees(graph.k - 2, t)
        secure = Fraction(*seen(n, smaller)) <= Fraction(1, 2**40)
        assert not (secure and Fraction(*stuck(n, smaller)) <= Fraction(1, 2**20))


@pytest.mark.parametrize("n", range(2, PLACEMENT_LIMIT + 1))
def test_up_to_the_placement_limit_no_arrangement_helps_the_corrupt(n: int) -> None:
    assert degrees(n).colluders > corrupt(n)
    assert smallest_ring(n) == side_quorum(n, degrees(n)) == 0


@pytest.mark.parametrize("least", range(1, 20))
def test_fewer_shares_are_easier_to_collect(least: int) -> None:
    n, graph = 1_000, degrees(1_000)
    easier, harder = (Fraction(*seen(n, Degrees(graph.k, graph.t - fewer))) for fewer in (least, least - 1))
    assert easier > harder


@pytest.mark.parametrize("n", [257, 1_000, 10_000])
def test_each_side_keeps_as_many_as_dropouts_leave(n: int) -> None:
    graph = degrees(n)
    half, side = graph.k // 2, side_quorum(n, graph)

    def thin(least: int) -> Fraction:
        return 2 * n * Fraction(*tail(n - 1, n // 10, half, half - least + 1))

    assert thin(side) <= Fraction(1, 2**20) < thin(side + 1)
    # More than what t leaves to the side of a row that is declared dropped.
    assert side > graph.t - half


@pytest.mark.parametrize(("n", "ring"), [(256, 0), (257, 232), (1_000, 900), (10_000, 9_000)])
def test_a_large_ring_may_miss_a_tenth(n: int, ring: int) -> None:
    assert smallest_ring(n) == ring


@pytest.mark.parametrize("n", [-1, 0, 1])
def test_nobody_sums_alone(n: int) -> None:
    with pytest.raises(DataError, match="invite more"):
        degrees(n)


def test_the_page_holds_the_tables_that_the_command_prints() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for table in (parameters(), hidden(), believed()):
        assert "\n".join(table) in page
