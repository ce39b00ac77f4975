from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregation.secure import shamir
from quasim.errors import DataError

SECRET = bytes(range(32))


def rng(seed: int = 0) -> Callable[[int], bytes]:
    return random.Random(seed).randbytes


def fixed(*coefficients: int) -> Callable[[int], bytes]:
    return lambda size: b"".join(c.to_bytes(32, "big") for c in coefficients)[:size]


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_t_shares_give_the_secret_back(data: st.DataObject) -> None:
    points = data.draw(st.lists(st.integers(1, shamir.MAX_POINT), min_size=1, max_size=25, unique=True))
    threshold = data.draw(st.integers(1, len(points)))
    secret = data.draw(st.integers(0, shamir.PRIME - 1)).to_bytes(32, "big")
    shares = dict(zip(points, shamir.split(secret, points, threshold, rng()), strict=True))
    chosen = data.draw(st.permutations(points))[:threshold]
    assert shamir.join({x: shares[x] for x in chosen}, threshold) == secret


def test_shares_are_the_polynomial_at_the_points() -> None:
    secret = (5).to_bytes(32, "big")
    shares = shamir.split(secret, (1, 2, 10), 3, fixed(3, shamir.PRIME - 1))  # 3 x^2 - x + 5
    assert [int.from_bytes(share, "big") for share in shares] == [7, 15, 295]


def test_fewer_than_t_shares_fit_every_secret() -> None:
    # For any two shares of three and any other secret there is a polynomial of degree 2 through all of them.
    shares = shamir.split(SECRET, (1, 2, 3), 3, rng())
    for pair in itertools.combinations(range(3), 2):
        seen = {i + 1: shares[i] for i in pair}
        missing = ({1, 2, 3} - set(seen)).pop()
        joined = {shamir.join(seen | {missing: guess.to_bytes(32, "big")}, 3) for guess in range(20)}
        assert len(joined) == 20


def test_one_share_fewer_is_refused() -> None:
    shares = dict(enumerate(shamir.split(SECRET, range(1, 6), 4, rng()), start=1))
    with pytest.raises(DataError, match="cannot meet the threshold 4"):
        shamir.join({x: shares[x] for x in (1, 2, 3)}, 4)


def test_only_the_first_t_shares_count() -> None:
    shares = dict(enumerate(shamir.split(SECRET, range(1, 6), 3, rng()), start=1))
    assert shamir.join(shares | {4: bytes(32), 5: bytes(32)}, 3) == SECRET


def test_a_wrong_share_gives_another_secret() -> None:
    shares = dict(enumerate(shamir.split(SECRET, range(1, 4), 3, rng()), start=1))
    assert shamir.join(shares | {2: bytes(32)}, 3) != SECRET


def test_weights_interpolate_at_zero() -> None:
    points = (2, 3, 7, 11, 1024)
    for degree in range(len(points)):
        at_zero = sum(w * x**degree for w, x in zip(shamir.weights(points), points, strict=True)) % shamir.PRIME
        assert at_zero == (1 if degree == 0 else 0)


def test_large_graph_joins_from_any_neighbours() -> None:
    shares = dict(enumerate(shamir.split(SECRET, range(1, 123), 85, rng()), start=1))
    chosen = random.Random(1).sample(sorted(shares), 85)
    assert shamir.join({x: shares[x] for x in chosen}, 85) == SECRET


def test_split_is_determined_by_its_rng() -> None:
    assert shamir.split(SECRET, (1, 2), 2, rng(3)) == shamir.split(SECRET, (1, 2), 2, rng(3))
    assert shamir.split(SECRET, (1, 2), 2, rng(3)) != shamir.split(SECRET, (1, 2), 2, rng(4))


def test_known_answer() -> None:
    shares = shamir.split(SECRET, (1, 2, 3, 4, 5), 3, lambda size: hashlib.shake_256(b"shamir").digest(size))
    first, second = (
        int.from_bytes(hashlib.shake_256(b"shamir").digest(64)[i : i + 32], "big") % shamir.PRIME for i in (0, 32)
    )
    expected = [(first * x * x + second * x + int.from_bytes(SECRET, "big")) % shamir.PRIME for x in range(1, 6)]
    assert [int.from_bytes(share, "big") for share in shares] == expected


@pytest.mark.parametrize("secret", [bytes(31), bytes(33), b"\xff" * 32, shamir.PRIME.to_bytes(32, "big")])
def test_what_is_no_field_element_is_refused(secret: bytes) -> None:
    with pytest.raises(DataError, match="no element"):
        shamir.split(secret, (1, 2), 2, rng())
    with pytest.raises(DataError, match="no element"):
        shamir.join({1: secret, 2: SECRET}, 2)


@pytest.mark.parametrize("points", [(0, 1), (1, 1), (-1, 2), (1, shamir.MAX_POINT + 1)])
def test_points_that_repeat_or_are_out_of_range_are_refused(points: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="points"):
        shamir.split(SECRET, points, 2, rng())
    with pytest.raises(DataError, match="points"):
        shamir.weights(points)


@pytest.mark.parametrize("threshold", [0, -1, 3])
def test_threshold_out_of_range_is_refused(threshold: int) -> None:
    with pytest.raises(DataError, match="threshold"):
        shamir.split(SECRET, (1, 2), threshold, rng())
    with pytest.raises(DataError, match="threshold"):
        shamir.join({1: SECRET, 2: SECRET}, threshold)
