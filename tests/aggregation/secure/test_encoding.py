from __future__ import annotations

import math
from fractions import Fraction
from typing import Literal

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregation.secure.encoding import Encoding
from aggregation.secure.masks import Ring
from quasim.errors import DataError
from quasim.space import Floats

SMALL = Encoding(32, 20, 1.0, 1.0, 100)
WIDE = Encoding(64, 40, 4.0, 8.0, 1000)


def total(vectors: list[Ring]) -> Ring:
    result: Ring = np.sum(np.stack(vectors), axis=0, dtype=vectors[0].dtype)
    return result


def test_known_answers_32() -> None:
    values = np.array([0.0, 1.0, -1.0, 0.5, -(2.0**-20), 1.5 * 2.0**-20, 2.5 * 2.0**-20, 0.5 * 2.0**-20, 7.0, -7.0])
    expected = [0, 0x100000, 0xFFF00000, 0x80000, 0xFFFFFFFF, 2, 2, 0, 0x100000, 0xFFF00000, 0x100000]
    encoded = SMALL.encode(values, 1.0)
    assert encoded.dtype == np.uint32
    assert encoded.tolist() == expected


def test_known_answers_64() -> None:
    encoded = WIDE.encode(np.array([0.75, -4.0, 100.0, 1 / 3]), 2.5)
    assert encoded.dtype == np.uint64
    third = round(Fraction(1 / 3 * 2.5) * 2**40)
    assert encoded.tolist() == [15 << 37, 2**64 - (10 << 40), 10 << 40, third, 5 << 39]


@given(
    rows=st.lists(
        st.tuples(st.lists(st.floats(-6, 6), min_size=3, max_size=3), st.floats(0, 8)), min_size=1, max_size=6
    )
)
def test_decoded_sum_is_the_exact_sum_of_the_rounded(rows: list[tuple[list[float], float]]) -> None:
    decoded, weight = WIDE.decode(total([WIDE.encode(np.array(values), w) for values, w in rows]))
    fixed = [[round(max(-4.0, min(4.0, v)) * w * 2.0**40) for v in [*values, 1.0]] for values, w in rows]
    sums = [sum(column) for column in zip(*fixed, strict=True)]
    assert [*decoded.tolist(), weight] == [s / 2.0**40 for s in sums]


@given(values=st.lists(st.floats(-1, 1), max_size=8), weight=st.floats(0, 1))
def test_one_vector_comes_back_within_half_a_unit(values: list[float], weight: float) -> None:
    decoded, back = SMALL.decode(SMALL.encode(np.array(values, dtype=float), weight))
    assert np.abs(decoded - np.array(values) * weight).max(initial=0.0) <= 2.0**-21
    assert abs(back - weight) <= 2.0**-21


@pytest.mark.parametrize("ring_bits", [32, 64])
def test_overflow_is_refused_one_above_the_bound(ring_bits: Literal[32, 64]) -> None:
    largest = 2 ** (ring_bits - 1) - 1
    assert Encoding(ring_bits, 0, 1.0, 1.0, largest).participants == largest
    with pytest.raises(DataError, match="overflow"):
        Encoding(ring_bits, 0, 1.0, 1.0, largest + 1)
    # Every factor counts: 3 participants of 7 * 3 make 63 * 2^f < 2^(b - 1), a fourth one is too many.
    scale = ring_bits - 7
    assert Encoding(ring_bits, scale, 7.0, 3.0, 3).peak == 21 << scale
    with pytest.raises(DataError, match="overflow"):
        Encoding(ring_bits, scale, 7.0, 3.0, 4)


def test_sums_at_the_bound_do_not_wrap() -> None:
    encoding = Encoding(32, 24, 1.0, 1.0, 127)
    high = total([encoding.encode(np.array([1.0, -1.0]), 1.0)] * 127)
    decoded, weight = encoding.decode(high)
    assert [*decoded.tolist(), weight] == [127.0, -127.0, 127.0]


def test_weights_cannot_overflow_where_the_clip_is_small() -> None:
    assert Encoding(32, 20, 2.0**-10, 1.0, 2047).peak == 1 << 20
    with pytest.raises(DataError, match="overflow"):
        Encoding(32, 20, 2.0**-10, 1.0, 2048)


def test_all_weights_zero_is_a_sum_of_nothing() -> None:
    decoded, weight = SMALL.decode(total([SMALL.encode(np.array([0.5, -0.5]), 0.0)] * 3))
    assert decoded.tolist() == [0.0, 0.0]
    assert weight == 0.0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_are_refused(bad: float) -> None:
    with pytest.raises(DataError, match="NaN or infinity"):
        SMALL.encode(np.array([0.0, bad]), 1.0)


@pytest.mark.parametrize("weight", [-0.001, 1.001, math.nan, math.inf])
def test_weight_out_of_bounds_is_refused(weight: float) -> None:
    with pytest.raises(DataError, match="weight"):
        SMALL.encode(np.array([0.0]), weight)


@pytest.mark.parametrize(
    ("scale_bits", "clip", "weight_bound", "participants"),
    [
        (-1, 1.0, 1.0, 1),
        (32, 1.0, 1.0, 1),
        (8, 0.0, 1.0, 1),
        (8, -1.0, 1.0, 1),
        (8, math.nan, 1.0, 1),
        (8, 1.0, 0.0, 1),
        (8, 1.0, math.inf, 1),
        (8, 1e308, 1e308, 1),
        (8, 1.0, 1.0, 0),
    ],
)
def test_senseless_encoding_cannot_be_built(
    scale_bits: int, clip: float, weight_bound: float, participants: int
) -> None:
    with pytest.raises(DataError):
        Encoding(32, scale_bits, clip, weight_bound, participants)


def test_encoding_read_from_bytes_is_checked_too() -> None:
    assert msgspec.json.decode(msgspec.json.encode(SMALL), type=Encoding) == SMALL
    with pytest.raises((msgspec.ValidationError, DataError)):
        msgspec.json.decode(msgspec.json.encode(SMALL).replace(b'"ring_bits":32', b'"ring_bits":16'), type=Encoding)


def sums(*entries: int) -> Ring:
    return np.array([entry % 2**32 for entry in entries], dtype=np.uint32)


@pytest.mark.parametrize("entry", [100 * 2**20 + 1, -100 * 2**20 - 1, -(2**31)])
def test_sum_that_honest_vectors_cannot_have_is_refused(entry: int) -> None:
    assert SMALL.decode(sums(100 * 2**20, -100 * 2**20, 0))[0].tolist() == [100.0, -100.0]
    with pytest.raises(DataError, match="out of range"):
        SMALL.decode(sums(entry, 0))


def test_negative_sum_of_weights_is_refused() -> None:
    with pytest.raises(DataError, match="out of range"):
        SMALL.decode(sums(0, -1))


@pytest.mark.parametrize("bad", [np.zeros(3, np.uint64), np.zeros(0, np.uint32), np.zeros((1, 2), np.uint32)])
def test_sum_of_another_kind_is_refused(bad: Ring) -> None:
    with pytest.raises(DataError, match="a sum of shape"):
        SMALL.decode(bad)


def test_encoding_leaves_its_input_alone() -> None:
    values: Floats = np.array([3.0, -3.0])
    SMALL.encode(values, 0.5)
    assert values.tolist() == [3.0, -3.0]
