from __future__ import annotations

import math
from itertools import product

import msgspec
import numpy as np
import pytest

from quasim.energy.actuators import Setting
from quasim.energy.plant import Physics, SimulatedGpu
from quasim.energy.thermal import GAP_S, Prior, ThermalModel
from quasim.errors import DataError
from tests.quasim.energy.closed_loop import NOISE_W, SECOND_NS, wrong

TOP_W = 700.0


def _watched(physics: Physics, seconds: int, warmer_at: int = -1) -> tuple[ThermalModel, SimulatedGpu]:
    """A model that saw a device idle, loaded under one cap and then under another."""
    gpu, model, noise = SimulatedGpu(physics), ThermalModel(Prior(), TOP_W), np.random.default_rng(3)
    for second in range(seconds):
        gpu.load(1.0 if second > 5 else 0.0)
        gpu.command(Setting(400.0 if second < 60 else 600.0 if second < 200 else 500.0, None))
        if second == warmer_at:
            gpu.inlet_c += 8.0
        gpu.advance(second * SECOND_NS)
        model.observe(gpu.power_w + float(noise.normal(0, NOISE_W)), gpu.reading_c, gpu.now_ns)
    return model, gpu


@pytest.mark.parametrize(("resistance", "tau"), [*product((0.8, 1.0, 1.2), repeat=2)])
def test_resistance_and_time_constant_are_found_from_late_and_coarse_readings(resistance: float, tau: float) -> None:
    physics = wrong(resistance, tau)
    model, _ = _watched(physics, 240)
    assert model.fitted
    assert model.resistance_k_per_w == pytest.approx(physics.resistance_k_per_w, rel=0.06)
    assert model.tau_s == pytest.approx(physics.tau_s, rel=0.12)


def test_nothing_is_fitted_while_a_device_idles() -> None:
    physics = Physics()
    gpu, model = SimulatedGpu(physics), ThermalModel(Prior(resistance_k_per_w=0.12), TOP_W)
    for second in range(300):
        gpu.advance(second * SECOND_NS)
        model.observe(gpu.power_w, gpu.reading_c, gpu.now_ns)
    assert not model.fitted
    assert model.resistance_k_per_w == pytest.approx(0.12, rel=0.05)


def test_warmer_air_is_a_disturbance_and_not_another_device() -> None:
    before, _ = _watched(Physics(), 249)
    after, gpu = _watched(Physics(), 400, warmer_at=250)
    assert after.air_c - before.air_c == pytest.approx(8.0, abs=1.5)
    assert after.resistance_k_per_w == pytest.approx(before.resistance_k_per_w, rel=0.05)
    assert after.chip_c == pytest.approx(gpu.temperature_c, abs=0.5)


def test_the_chip_is_known_ahead_of_its_sensor() -> None:
    watched = [_watched(Physics(), seconds) for seconds in range(64, 72)]
    assert np.mean([gpu.temperature_c - gpu.reading_c for _, gpu in watched]) > 0.8
    assert abs(np.mean([gpu.temperature_c - model.chip_c for model, gpu in watched])) < 0.4


def test_a_forecast_of_thirty_seconds_comes_true() -> None:
    model, gpu = _watched(Physics(), 70)
    forecast_c = model.ahead_c(gpu.power_w, 30.0)
    now_c = gpu.temperature_c
    gpu.advance(gpu.now_ns + 30 * SECOND_NS)
    assert gpu.temperature_c - now_c > 5.0
    assert forecast_c == pytest.approx(gpu.temperature_c, abs=1.0)


def test_a_forecast_ends_where_air_and_power_say() -> None:
    model, _ = _watched(Physics(), 240)
    settled_c = model.air_c + model.resistance_k_per_w * 300.0
    assert model.ahead_c(300.0, 3600.0) == pytest.approx(settled_c, abs=0.01)
    assert model.ahead_c(300.0, 0.0) == model.ahead_c(650.0, 0.0)


@pytest.mark.parametrize("away_ns", [round((GAP_S + 1) * 1e9), -SECOND_NS])
def test_after_a_gap_or_a_new_clock_the_device_is_met_anew_but_not_forgotten(away_ns: int) -> None:
    model, gpu = _watched(Physics(), 240)
    resistance = model.resistance_k_per_w
    model.observe(100.0, 45.0, gpu.now_ns + away_ns)
    assert model.chip_c == pytest.approx(45.0, abs=0.01)
    assert model.resistance_k_per_w == pytest.approx(resistance)
    assert model.fitted


def test_a_sample_seen_twice_counts_once() -> None:
    model, gpu = _watched(Physics(), 100)
    before = model.state()
    model.observe(gpu.power_w, gpu.reading_c + 20, gpu.now_ns)
    assert msgspec.structs.replace(model.state(), power_w=0.0) == msgspec.structs.replace(before, power_w=0.0)


def test_a_restored_model_goes_on_equally() -> None:
    model, gpu = _watched(Physics(), 100)
    other = ThermalModel(Prior(), TOP_W)
    other.restore(model.state())
    for one in (model, other):
        one.observe(450.0, 66.0, gpu.now_ns + SECOND_NS)
    assert other.state() == model.state()


def test_a_state_of_another_form_is_refused() -> None:
    model = ThermalModel(Prior(), TOP_W)
    for broken in ({"evidence": [0.0]}, {"mean": [[math.nan] * 3] * 9}):
        with pytest.raises(DataError, match="another form"):
            model.restore(msgspec.structs.replace(model.state(), **broken))


def test_readings_and_priors_are_numbers() -> None:
    with pytest.raises(ValueError, match="not a sample"):
        ThermalModel(Prior(), TOP_W).observe(math.nan, 40.0, 0)
    for prior in ({"resistance_k_per_w": 0.0}, {"tau_s": -1.0}, {"lag_s": math.nan}):
        with pytest.raises(ValueError, match="no thermal model"):
            Prior(**prior)


def test_a_sensor_without_lag_is_a_sensor() -> None:
    model = ThermalModel(Prior(lag_s=0.0), TOP_W)
    gpu = SimulatedGpu(Physics(lag_s=0.0, step_c=0.0))
    for second in range(120):
        gpu.load(1.0)
        gpu.command(Setting(400.0 if second < 60 else 600.0, None))
        gpu.advance(second * SECOND_NS)
        model.observe(gpu.power_w, gpu.reading_c, gpu.now_ns)
    assert model.chip_c == pytest.approx(gpu.temperature_c, abs=0.3)
