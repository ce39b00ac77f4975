from __future__ import annotations

import ctypes
from dataclasses import replace
from itertools import pairwise

import ml_dtypes
import numpy as np
import pytest

from quasim.kernels import family
from quasim.kernels.accuracy import UNTOUCHED, untouched
from quasim.kernels.ir import Role, Tensor
from quasim.worker.arena import ALIGN, MAX_SETS, Arena

KERNEL = family("softmax").kernel


def _arena(rows: int, cols: int, total_bytes: int) -> Arena:
    inputs = family("softmax").inputs({"rows": rows, "cols": cols}, np.random.default_rng(1))
    return Arena(KERNEL, {"rows": rows, "cols": cols}, inputs, total_bytes)


def test_sets_together_exceed_the_bytes_asked_for() -> None:
    arena = _arena(64, 100, 1 << 20)
    assert arena.set_bytes == 2 * 64 * 100 * 4
    assert len(arena.sets) * arena.set_bytes > 1 << 20
    assert arena.bytes > 1 << 20


def test_a_problem_larger_than_the_caches_still_rotates() -> None:
    assert len(_arena(64, 1000, 1000).sets) == 2


def test_tiny_problems_stop_at_a_bounded_number_of_sets() -> None:
    assert len(_arena(1, 1, 1 << 20).sets) == MAX_SETS


@pytest.mark.parametrize("cols", [1, 7, 64, 1024])
def test_arrays_are_aligned_disjoint_and_equal_in_every_set(cols: int) -> None:
    arena = _arena(3, cols, 4 * 3 * cols * 4)
    spans = []
    for arrays in arena.sets:
        np.testing.assert_array_equal(arrays["x"], arena.sets[0]["x"])
        assert (arrays["y"] == UNTOUCHED).all()
        for array in arrays.values():
            assert array.shape == (3, cols)
            assert array.ctypes.data % ALIGN == 0
            spans.append((array.ctypes.data, array.ctypes.data + array.nbytes))
    spans.sort()
    assert all(end < start for (_, end), (start, _) in pairwise(spans))


def test_arrays_of_whole_pages_do_not_share_their_page_offset() -> None:
    arrays = _arena(4, 1024, 1).sets[0]
    assert arrays["x"].ctypes.data % 4096 != arrays["y"].ctypes.data % 4096


def _narrow() -> Arena:
    """Arrays of 15 numbers of 16 bits, which end within a word, and of constant extents."""
    x = Tensor("x", (3, 5), "bfloat16", Role.INPUT)
    y = Tensor("y", (3, 5), "float16", Role.OUTPUT)
    source = np.arange(15).reshape(3, 5).astype(ml_dtypes.bfloat16)
    return Arena(replace(KERNEL, tensors=(x, y)), {}, {"x": source}, 1)


def test_16_bit_arrays_of_constant_extents_hold_their_inputs_and_marked_outputs() -> None:
    arena = _narrow()
    assert arena.set_bytes == 2 * 2 * 15
    for arrays in arena.sets:
        assert arrays["x"].astype(int).tolist() == np.arange(15).reshape(3, 5).tolist()
        assert (arrays["y"] == untouched("float16")).all()
    arena.sets[0]["y"][...] = 1
    arena.clear_outputs(0)
    assert (arena.sets[0]["y"] == untouched("float16")).all()


@pytest.mark.parametrize(("name", "element"), [("x", -1), ("x", 15), ("y", 15), ("y", 16)])
def test_a_write_of_two_bytes_beside_a_16_bit_array_is_seen(name: str, element: int) -> None:
    arena = _narrow()
    ctypes.c_uint16.from_address(arena.sets[1][name].ctypes.data + 2 * element).value = 0
    assert arena.trespass(1) == "wrote past the end of an array"
    assert arena.trespass(1) == ""


def test_a_write_into_a_16_bit_input_is_seen_and_undone() -> None:
    arena = _narrow()
    arena.sets[0]["x"][2, 4] = np.nan
    assert arena.trespass(0) == "wrote into its input x"
    assert arena.sets[0]["x"].astype(int).tolist() == np.arange(15).reshape(3, 5).tolist()


def test_a_write_into_an_input_is_seen_and_undone() -> None:
    arena = _arena(4, 5, 1)
    before = arena.sets[0]["x"].copy()
    assert arena.trespass(0) == ""
    arena.sets[0]["x"][2, 3] += 1
    assert arena.trespass(0) == "wrote into its input x"
    np.testing.assert_array_equal(arena.sets[0]["x"], before)
    assert arena.trespass(0) == ""


@pytest.mark.parametrize(("name", "element"), [("x", -1), ("y", 20), ("y", 21), ("y", 20 + 1000)])
def test_a_write_beside_an_array_is_seen_and_undone(name: str, element: int) -> None:
    arena = _arena(4, 5, 1)
    address = arena.sets[1][name].ctypes.data + 4 * element
    ctypes.c_float.from_address(address).value = 1.0
    assert arena.trespass(1) == "wrote past the end of an array"
    assert arena.trespass(1) == ""
