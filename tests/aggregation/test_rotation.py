from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregation.rotation import Rotation, largest_entry, padded
from quasim.errors import DataError


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 300), st.integers(0, 2**32))
def test_a_rotation_keeps_lengths_and_is_undone(length: int, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=length)
    rotation = Rotation(seed.to_bytes(8, "little"), length)
    rotated = rotation.forward(values)
    assert rotated.shape == (padded(length),)
    assert np.linalg.norm(rotated) == pytest.approx(np.linalg.norm(values), rel=1e-12)
    assert np.allclose(rotation.back(rotated), values, rtol=0, atol=1e-12)


def test_it_is_the_hadamard_matrix_after_signs() -> None:
    matrix = np.array([[1.0]])
    for _ in range(3):
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    columns = np.array([Rotation(b"seed", 8).forward(row) for row in np.eye(8)]).T
    signs = np.sign(columns[0])
    assert np.allclose(columns, matrix / np.sqrt(8) * signs, rtol=0, atol=1e-15)
    assert set(signs) == {-1.0, 1.0}


def test_sums_turn_back_into_sums() -> None:
    rotation = Rotation(b"seed", 100)
    a, b = np.random.default_rng(1).normal(size=(2, 100))
    assert np.allclose(rotation.back(rotation.forward(a) + rotation.forward(b)), a + b, rtol=0, atol=1e-12)


def test_seeds_rotate_differently() -> None:
    values = np.ones(64)
    assert not np.allclose(Rotation(b"a", 64).forward(values), Rotation(b"b", 64).forward(values))


def test_a_single_large_entry_is_spread_below_the_bound() -> None:
    spike = np.zeros(5000)
    spike[17] = 1.0
    assert np.abs(Rotation(b"seed", 5000).forward(spike)).max() < largest_entry(1.0, 5000) < 0.11
    assert largest_entry(2.0, 1) == 2.0


def test_paddings_are_the_next_powers_of_two() -> None:
    assert [padded(length) for length in (1, 2, 3, 4, 5, 1000, 1024)] == [1, 2, 4, 4, 8, 1024, 1024]


def test_another_length_is_refused() -> None:
    with pytest.raises(DataError, match="length"):
        Rotation(b"seed", 5).forward(np.zeros(8))
    with pytest.raises(DataError, match="length"):
        Rotation(b"seed", 5).back(np.zeros(5))
