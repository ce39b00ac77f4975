"""The simulated plant: heat, leakage, delay, sensors, its own slowdown."""

from __future__ import annotations

import math

import pytest
from msgspec.structs import replace

from quasim.energy.actuators import Setting
from quasim.energy.plant import Physics, Plant, SimulatedGpu

SECOND = 1_000_000_000
PLAIN = Physics(leakage_w_per_k=0.0, lag_s=0.0, step_c=0.0, delay_s=0.0, slowdown_c=200.0, busy_w=700.0)


def run(gpu: SimulatedGpu, seconds: float) -> SimulatedGpu:
    gpu.advance(gpu.now_ns + round(seconds * SECOND))
    return gpu


def test_it_heats_as_a_first_order_system_does() -> None:
    gpu = SimulatedGpu(PLAIN)
    start_c, end_c = gpu.temperature_c, PLAIN.ambient_c + PLAIN.resistance_k_per_w * 700
    gpu.load(1.0)
    run(gpu, PLAIN.tau_s)
    assert gpu.temperature_c == pytest.approx(end_c + (start_c - end_c) / math.e, abs=1e-6)
    assert run(gpu, 20 * PLAIN.tau_s).temperature_c == pytest.approx(end_c, abs=1e-6)


def test_an_idle_one_starts_in_balance_and_stays_there() -> None:
    gpu = SimulatedGpu(Physics())
    start_c = gpu.temperature_c
    assert run(gpu, 600).temperature_c == pytest.approx(start_c, abs=1e-9)
    assert gpu.power_w == pytest.approx(Physics().settled_idle_w)


def test_leakage_makes_a_hotter_one_draw_more_for_the_same_work() -> None:
    cool, hot = (SimulatedGpu(Physics(ambient_c=c, power_default_w=2000, power_max_w=2000)) for c in (20.0, 35.0))
    for gpu in (cool, hot):
        gpu.load(0.8)
        run(gpu, 300)
    assert cool.work_s == pytest.approx(hot.work_s)
    assert hot.energy_j > cool.energy_j


def test_a_cap_holds_after_its_delay_and_not_before() -> None:
    gpu = SimulatedGpu(replace(PLAIN, delay_s=1.0))
    gpu.load(1.0)
    run(gpu, 1)
    gpu.command(Setting(400.0))
    assert run(gpu, 0.9).power_w == pytest.approx(700.0)
    assert run(gpu, 0.3).power_w == pytest.approx(400.0)


@pytest.mark.parametrize("cap_w", [250.0, 400.0, 550.0, 650.0])
def test_the_controller_finds_the_clock_that_draws_just_the_cap(cap_w: float) -> None:
    gpu = SimulatedGpu(PLAIN)
    gpu.load(1.0)
    gpu.command(Setting(cap_w))
    assert run(gpu, 5).power_w == pytest.approx(cap_w)
    assert PLAIN.clock_min_mhz < gpu.clock_mhz < PLAIN.clock_max_mhz


def test_a_clock_cap_slows_and_saves() -> None:
    gpu = SimulatedGpu(PLAIN)
    gpu.load(1.0)
    gpu.command(Setting(None, 990.0))
    run(gpu, 10)
    assert gpu.clock_mhz == 990.0
    assert gpu.work_s == pytest.approx(5.0)
    assert gpu.power_w < 400


def test_lower_caps_save_joules_of_the_same_work_until_idle_power_outweighs_it() -> None:
    joules = {}
    for cap_w in (100.0, 450.0, 700.0):
        gpu = SimulatedGpu(replace(PLAIN, power_min_w=100.0))
        gpu.load(1.0)
        gpu.command(Setting(cap_w))
        while gpu.work_s < 30:
            run(gpu, 0.1)
        joules[cap_w] = gpu.energy_j
    assert joules[450.0] < joules[700.0]
    assert joules[450.0] < joules[100.0]


def test_the_sensor_is_late_and_coarse() -> None:
    gpu = SimulatedGpu(Physics(lag_s=2.0, step_c=1.0))
    gpu.load(1.0)
    run(gpu, 10)
    assert gpu.reading_c == round(gpu.reading_c)
    assert 0.5 < gpu.temperature_c - gpu.reading_c < 3


def test_too_hot_a_device_slows_itself_down_until_it_is_some_kelvin_cooler() -> None:
    gpu = SimulatedGpu(Physics(ambient_c=45.0))
    gpu.load(1.0)
    temperatures = []
    while gpu.now_ns < 300 * SECOND:
        temperatures.append(run(gpu, 0.1).temperature_c)
    assert gpu.throttled_s > 10
    assert max(temperatures) < Physics().slowdown_c + 1
    assert min(temperatures[-600:]) < Physics().slowdown_c - 2


def test_equal_calls_give_equal_numbers_however_time_is_cut() -> None:
    whole, cut = SimulatedGpu(Physics()), SimulatedGpu(Physics())
    for gpu in (whole, cut):
        gpu.load(1.0)
        gpu.command(Setting(500.0))
    run(whole, 60)
    for _ in range(60):
        run(cut, 1)
    assert (whole.temperature_c, whole.energy_j, whole.work_s) == (cut.temperature_c, cut.energy_j, cut.work_s)


def test_time_never_goes_back() -> None:
    with pytest.raises(ValueError, match="time goes back"):
        run(SimulatedGpu(Physics()), 5).advance(SECOND)


def test_neighbours_warm_one_another() -> None:
    plant = Plant([Physics(), Physics()], recirculation_k_per_w=0.02)
    busy, idle = plant.gpus
    alone_c = idle.temperature_c
    busy.load(1.0)
    plant.advance(300 * SECOND)
    assert idle.temperature_c == pytest.approx(alone_c + 0.02 * busy.power_w, abs=1)
    assert busy.now_ns == idle.now_ns == 300 * SECOND


@pytest.mark.parametrize(
    "wrong",
    [
        {"tau_s": 0.0},
        {"leakage_w_per_k": 13.0},
        {"knee": 1.0},
        {"lag_s": -1.0},
        {"power_min_w": 800.0},
        {"idle_w": 9.0},
    ],
)
def test_there_is_no_impossible_device(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"no device|runs away|not an order"):
        Physics(**wrong)


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_load_is_a_share(share: float) -> None:
    with pytest.raises(ValueError, match="share of time"):
        SimulatedGpu(Physics()).load(share)
