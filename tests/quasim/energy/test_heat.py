"""Forecasts of heat, and when a device counts as hot."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasim.energy.heat import HORIZON_S, Forecast, HeatWatch
from quasim.energy.plant import Physics, SimulatedGpu


def forecast(now_c: float = 60.0, settles_c: float = 90.0) -> Forecast:
    return Forecast(now_c, settles_c, tau_s=24.0, resistance_k_per_w=0.08, slowdown_c=87.0)


def test_it_says_what_a_simulated_device_does() -> None:
    gpu = SimulatedGpu(Physics(leakage_w_per_k=0.0), start_c=50.0)
    gpu.load(1.0)
    gpu.advance(1)
    ahead = Forecast(50.0, 30.0 + 0.08 * gpu.power_w, 24.0, 0.08, 200.0)
    gpu.advance(round(HORIZON_S * 1e9))
    assert ahead.at() == pytest.approx(gpu.temperature_c, abs=0.01)


@given(now_c=st.floats(20, 100), later_c=st.floats(20, 100), tau_s=st.floats(5, 100))
def test_it_goes_through_the_point_that_a_regulator_gives(now_c: float, later_c: float, tau_s: float) -> None:
    assert Forecast.through(now_c, later_c, tau_s, 0.08, 87.0).at() == pytest.approx(later_c, abs=1e-6)


@given(now_c=st.floats(20, 120), settles_c=st.floats(20, 120))
def test_time_above_slowdown_is_that_of_the_curve(now_c: float, settles_c: float) -> None:
    ahead = forecast(now_c, settles_c)
    steps = [ahead.at(second / 50) >= ahead.slowdown_c for second in range(60 * 50)]
    assert ahead.slowed_s(60.0) == pytest.approx(sum(steps) / 50, abs=0.05)


def test_watts_are_charged_where_they_will_end() -> None:
    assert forecast().charged(100.0).settles_c == pytest.approx(98.0)
    assert forecast().charged(100.0).temperature_c == 60.0


def test_three_hot_samples_in_a_row_are_counted_each_once() -> None:
    watch = HeatWatch()
    assert [watch.see(forecast(85.0), ts_ns) for ts_ns in (1, 2, 2, 3)] == [1, 2, 2, 3]


def test_a_cool_or_missing_sample_ends_the_row() -> None:
    watch = HeatWatch()
    watch.see(forecast(85.0), 1)
    assert watch.see(forecast(50.0, 50.0), 2) == 0
    watch.see(forecast(85.0), 3)
    assert watch.see(None, 4) == 0


@pytest.mark.parametrize("bad", [{"tau_s": 0.0}, {"resistance_k_per_w": -1.0}, {"settles_c": math.nan}])
def test_a_model_that_no_device_has_cannot_be_built(bad: dict[str, float]) -> None:
    good = {"temperature_c": 1.0, "settles_c": 1.0, "tau_s": 1.0, "resistance_k_per_w": 1.0, "slowdown_c": 9.0}
    with pytest.raises(ValueError, match=r"forecast|above 0"):
        Forecast(**{**good, **bad})
