from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasim.errors import UnknownNameError
from quasim.precision.formats import FORMATS, Format, format_named

FLOATS = [f for f in FORMATS.values() if not f.integer and f.bits <= 32]
"""Those that a float32 may not fit into."""
WORDS = [f for f in FORMATS.values() if f.bits <= 32]
INTEGERS = [f for f in FORMATS.values() if f.integer]
ALL_BITS = st.integers(0, 2**32 - 1)


def from_bits(bits: int) -> np.ndarray:
    return np.array([bits], np.uint32).view(np.float32)


@pytest.mark.parametrize("form", FLOATS, ids=lambda f: f.name)
@given(bits=ALL_BITS)
def test_rounding_errs_by_no_more_than_the_facts_say(form: Format, bits: int) -> None:
    x = from_bits(bits)
    size = abs(float(x[0]))
    if not size < 2.0 ** (form.top + 1):
        return
    bound = max(size * 2.0**form.unit, 2.0**form.floor)
    assert abs(float(form.round(x)[0]) - float(x[0])) <= bound


@pytest.mark.parametrize("form", FLOATS, ids=lambda f: f.name)
@given(bits=ALL_BITS)
def test_rounding_twice_changes_nothing(form: Format, bits: int) -> None:
    once = form.round(from_bits(bits))
    assert np.array_equal(form.round(once), once, equal_nan=True)


@pytest.mark.parametrize("form", WORDS, ids=lambda f: f.name)
def test_what_is_below_the_top_never_rounds_out_of_range(form: Format) -> None:
    limit = np.nextafter(np.float32(2.0**form.top * 2.0 if form.top < 127 else np.inf), np.float32(0), dtype=np.float32)
    largest = abs(form.round(np.array([limit, -limit], np.float32)))
    assert (largest <= form.greatest).all()
    assert np.isfinite(largest).all()


@given(bits=ALL_BITS)
def test_float64_holds_every_float32(bits: int) -> None:
    x = from_bits(bits)
    assert np.array_equal(format_named("fp64").round(x), x, equal_nan=True)


@pytest.mark.parametrize("form", WORDS, ids=lambda f: f.name)
def test_greatest_and_least_are_numbers_of_the_format(form: Format) -> None:
    ends = np.array([form.greatest, 2.0**form.least_normal, 2.0**form.least], np.float32)
    assert np.array_equal(form.round(ends), ends)


@pytest.mark.parametrize("form", FLOATS, ids=lambda f: f.name)
def test_half_of_the_least_rounds_to_zero(form: Format) -> None:
    if form.name != "fp32":
        assert form.round(np.array([2.0 ** (form.least - 1)], np.float32))[0] == 0


@pytest.mark.parametrize("form", FLOATS, ids=lambda f: f.name)
def test_nan_and_infinity_do_not_become_numbers(form: Format) -> None:
    assert not np.isfinite(form.round(np.array([np.nan, np.inf, -np.inf], np.float32))).any()


@pytest.mark.parametrize("form", INTEGERS, ids=lambda f: f.name)
def test_integers_saturate_and_tie_to_even(form: Format) -> None:
    top = form.greatest
    assert form.round(np.array([1e9, -np.inf, 0.5, 1.5, -2.5], np.float32)).tolist() == [top, -top, 0, 2, -2]


def test_an_unknown_format_is_named_with_a_near_one() -> None:
    assert format_named("e4m3").greatest == 448
    with pytest.raises(UnknownNameError, match="did you mean 'bf16'"):
        format_named("bf61")
