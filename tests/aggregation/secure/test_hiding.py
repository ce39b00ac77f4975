"""What clients of a large ring refuse of a server that hides members from them."""

from __future__ import annotations

import hashlib
import itertools
import random

import numpy as np
import pytest

from aggregation.secure.encoding import Encoding
from aggregation.secure.graph import Graph, fraction
from aggregation.secure.messages import Advertisement, Neighbourhood, Shown
from aggregation.secure.ring import position
from aggregation.secure.ring_checks import Claim, Place, check_count, check_density
from aggregation.secure.set_checks import check_sides
from aggregation.secure.terms import Terms
from quasim.errors import DataError
from tests.aggregation.secure.fleet import Fleet

N, K, T = 1_000, 168, 128
HALF = K // 2
SESSION = hashlib.sha256(b"session").digest()
FIXED = hashlib.sha256(b"advertisements").digest()
TERMS = Terms("f", 1, bytes(32), "", K, T, 1, T + 1, Encoding(64, 32, 1.0, 1.0, N))


def crowd() -> dict[float, Shown]:
    """Many more members than any ring here has, by position, to choose from."""
    source = random.Random(0)
    nonces = {f"node-{i}": source.randbytes(32) for i in range(60_000)}
    return {
        fraction(position(FIXED, node, nonce)): Shown(
            Advertisement(SESSION, node, FIXED, FIXED, FIXED, FIXED, b""), nonce, ()
        )
        for node, nonce in nonces.items()
    }


CROWD = crowd()
PLACES = np.sort(list(CROWD))


def claim(before: float, after: float) -> Claim:
    """Neighbours this many times as far apart as on a ring without gaps, on either side of place 500."""
    steps = itertools.chain(np.arange(-HALF, 0) * before, np.arange(0, HALF + 1) * after)
    near = [float(PLACES[np.searchsorted(PLACES, 0.5 + step / N)]) for step in steps]
    shown = {500 - HALF + i: CROWD[place] for i, place in enumerate(near)}
    message = Neighbourhood(SESSION, N, 500, FIXED, ())
    members = Fleet(3).members
    return Claim(message, TERMS, members, shown[500].advertisement, FIXED, Graph(N, K), shown)


@pytest.mark.parametrize(("before", "after"), [(1.0, 1.0), (1.3, 1.3), (1.6, 0.9), (0.7, 0.7)])
def test_neighbours_as_close_as_chance_lets_them_are_believed(before: float, after: float) -> None:
    check_density(claim(before, after))


@pytest.mark.parametrize(("before", "after"), [(1.75, 1.75), (2.2, 0.8), (0.8, 2.2), (0.5, 0.5)])
def test_neighbours_too_far_apart_in_all_or_on_one_side_are_refused(before: float, after: float) -> None:
    with pytest.raises(DataError, match="of the ring"):
        check_density(claim(before, after))


def test_a_ring_that_misses_more_than_a_tenth_is_refused() -> None:
    check_count(900, TERMS)
    with pytest.raises(DataError, match="a ring of 899, not of 900 to 1000"):
        check_count(899, TERMS)


def test_a_server_ends_a_round_that_misses_more_than_a_tenth() -> None:
    fleet = Fleet(260, gone={f"n{i:03}": Advertisement for i in range(27)}).run()
    assert fleet.abandoned == "a ring of 233, it needs 234"


@pytest.mark.parametrize("start", [500 - HALF, 501])
def test_a_set_that_empties_one_side_is_refused(start: int) -> None:
    place = Place(Graph(N, K), 500, b"", ())
    members = np.ones(N, np.bool_)
    members[start : start + HALF - TERMS.side_quorum] = False
    check_sides(members, place, TERMS)
    members[start + HALF - 1] = False
    with pytest.raises(DataError, match=f"{TERMS.side_quorum} are needed on each side"):
        check_sides(members, place, TERMS)
