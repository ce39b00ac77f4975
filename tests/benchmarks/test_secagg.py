from __future__ import annotations

import argparse

import pytest

from benchmarks.harness import Bar
from benchmarks.secagg import LARGE, PEER_PYTHON, SMALL, Measured, Peer, _bars, _cases, measure, options
from benchmarks.secagg_bound import Operation, Size, bound_s, client_counts, measure_prices, server_counts
from benchmarks.secagg_round import Case, Cost, run
from benchmarks.secagg_vectors import dropped, vector

FREE = dict.fromkeys(Operation, 0.0)


@pytest.mark.parametrize("case", [Case(5, 40, 0.2), Case(40, 40, 0.1)], ids=["complete", "ring"])
def test_a_round_with_dropouts_is_exact_and_both_sides_are_billed(case: Case) -> None:
    cost = run(case)
    assert cost.exact
    assert 0 < cost.client_s <= cost.worst_client_s
    assert cost.server_s > 0
    assert cost.client_bytes > 4 * case.length


@pytest.mark.parametrize("clients", [10, 100, 200, 1_000, 10_000])
def test_the_encoding_is_the_finest_that_so_many_vectors_allow(clients: int) -> None:
    bits = Case(clients, 1, 0.0).encoding().scale_bits
    assert clients * 2**bits < 2**31 <= clients * 2 ** (bits + 1)


def test_all_sides_see_the_same_vectors_and_dropouts() -> None:
    assert vector(3, 8).tobytes() == vector(3, 8).tobytes() != vector(4, 8).tobytes()
    assert abs(vector(3, 1000)).max() <= 1
    assert dropped(100, 0.1) == dropped(100, 0.1)
    assert len(dropped(100, 0.1)) == 10
    assert max(dropped(100, 1.0)) == 99


def test_counts_of_a_complete_graph_of_three_where_one_drops_out() -> None:
    size = Size(stayed=2, lost=1, k=2, t=2, own=True, entries=7)
    client, server = client_counts(size), server_counts(size)
    assert client[Operation.AGREE] == 2 + 2 + 1
    assert client[Operation.VERIFY] == 1 + 2 + 1
    assert client[Operation.STREAM] == client[Operation.ADD] == (2 + 1) * 7
    assert server[Operation.AGREE] == 2 + 1 * 2
    assert server[Operation.VERIFY] == 3 + 2 + 2
    assert server[Operation.JOIN] == 3
    assert server[Operation.STREAM] == (2 + 2) * 7
    assert server[Operation.ADD] == (2 + 2 + 2) * 7


def test_a_bound_is_counts_times_prices() -> None:
    assert bound_s({Operation.SIGN: 3, Operation.ADD: 10}, {**FREE, Operation.SIGN: 2.0, Operation.ADD: 0.5}) == 11.0


def test_every_operation_has_a_price() -> None:
    prices = measure_prices(Size(stayed=30, lost=4, k=8, t=5, own=False, entries=1000))
    assert set(prices) == set(Operation)
    assert min(prices.values()) > 0


def test_bars_are_those_of_the_case() -> None:
    cost, peer = Cost(0.044, 0.05, 0.5, 4_080_000, exact=True), Peer("1.42.0", 0.44, 0.5, 25.0, 1e-7)
    size = Size(stayed=90, lost=10, k=32, t=22, own=False, entries=LARGE + 1)
    prices = {**FREE, Operation.SIGN: 0.01}
    large = _bars(Measured(Case(100, LARGE, 0.1), size, cost, prices, peer))
    assert [bar.bar for bar in large] == [">= 1", "<= 1.1", "<= 75", "<= 550", ">= 6", ">= 40"]
    assert all(bar.ok for bar in large)
    many = _bars(Measured(Case(1_000, 10_000, 0.1), size, cost, prices, None))
    assert [bar.bar for bar in many] == [">= 1", "<= 2.5", "<= 2.5"]
    assert [bar.ok for bar in many] == [True, True, False]


def test_an_inexact_sum_fails() -> None:
    cost, size = Cost(1.0, 1.0, 1.0, 1, exact=False), Size(4, 0, 3, 3, own=True, entries=2)
    (bar,) = _bars(Measured(Case(4, 1, 0.0), size, cost, FREE, None))
    assert isinstance(bar, Bar)
    assert not bar.ok


def test_a_round_of_ones_own_has_rows_for_both_sides_and_the_prices() -> None:
    rows, bars = measure(argparse.Namespace(clients=4, dim=50, dropout=0.0, peer="none"))
    assert [row.get("side") for row in rows] == ["client", "server", None]
    assert rows[0]["exact"] is True
    assert rows[0]["Flower ms"] is None
    assert [bar.ok for bar in bars] == [True]


@pytest.mark.parametrize(
    ("line", "length"),
    [
        ("--clients 200", LARGE),
        ("--clients 999", LARGE),
        ("--clients 1000", SMALL),
        ("--clients 10000", SMALL),
        ("--clients 1000 --dim 7", 7),
        ("--clients 10 --dim 7", 7),
    ],
)
def test_a_round_of_ones_own_has_short_vectors_where_clients_are_many(line: str, length: int) -> None:
    parser = argparse.ArgumentParser()
    options(parser)
    given = parser.parse_args(line.split())
    assert _cases(given) == [Case(given.clients, length, 0.1)]


def test_each_round_of_all_can_be_had_alone() -> None:
    parser = argparse.ArgumentParser()
    options(parser)
    cases = _cases(parser.parse_args([]))
    assert [(case.clients, case.length) for case in cases] == [
        (10, LARGE),
        (100, LARGE),
        (200, LARGE),
        (1_000, SMALL),
        (10_000, SMALL),
    ]
    assert cases == [alone for case in cases for alone in _cases(parser.parse_args(["--clients", str(case.clients)]))]


@pytest.mark.skipif(not PEER_PYTHON.exists(), reason="the peers are not installed (make peers)")
def test_flower_finds_the_same_mean() -> None:
    rows, _ = measure(argparse.Namespace(clients=5, dim=50, dropout=0.2, peer="flower"))
    assert isinstance(rows[0]["Flower ms"], float)
    assert rows[0]["Flower ms"] > 0
