from __future__ import annotations

import msgspec
import pytest

from quasim.energy import Wanted
from quasim.energy.actuators import Setting
from quasim.energy.law import Law, Situation
from quasim.energy.pi import ProportionalIntegral
from quasim.energy.plant import Physics, SimulatedGpu
from quasim.energy.predictive import Predictive
from quasim.energy.regulator import DeviceRegulator
from quasim.energy.thermal import Prior, ThermalModel
from quasim.energy.tuning import Tuning
from tests.quasim.energy.closed_loop import SECOND_NS, run

PHYSICS = Physics(leakage_w_per_k=0.0)


def _situation(power_w: float = 500.0, seconds: int = 240, **changes: float) -> Situation:
    """A device that has settled under a cap, at its set point."""
    gpu, model = SimulatedGpu(PHYSICS), ThermalModel(Prior(), 700.0)
    for second in range(seconds):
        gpu.load(1.0)
        gpu.command(Setting(power_w, None))
        gpu.advance(second * SECOND_NS)
        model.observe(gpu.power_w, gpu.reading_c, gpu.now_ns)
    settled = Situation(
        set_point_c=gpu.reading_c,
        temperature_c=gpu.reading_c,
        power_w=power_w,
        cap_w=power_w,
        low_w=200.0,
        high_w=700.0,
        dt_s=1.0,
        model=model,
    )
    return msgspec.structs.replace(settled, **changes)


@pytest.mark.parametrize("law", [Predictive(Tuning()), ProportionalIntegral(Prior(), Tuning())])
def test_at_its_set_point_a_settled_device_is_left_alone(law: Law) -> None:
    assert law.power_w(_situation()) == pytest.approx(500.0, abs=15.0)


@pytest.mark.parametrize("law", [Predictive(Tuning()), ProportionalIntegral(Prior(), Tuning())])
def test_more_is_allowed_below_the_set_point_than_above_it(law: Law) -> None:
    settled = _situation()
    warm, cold = (msgspec.structs.replace(settled, set_point_c=settled.set_point_c + away) for away in (-3.0, 3.0))
    assert law.power_w(warm) < 480.0
    assert law.power_w(cold) > 520.0


def test_the_predictive_law_lands_where_the_approach_would_be_one_step_later() -> None:
    settled, tuning = _situation(), Tuning(settle_s=10.0, delay_s=1e-9)
    now = msgspec.structs.replace(settled, set_point_c=settled.model.chip_c + 5.0)
    power_w = Predictive(tuning).power_w(now)
    aimed_k = 5.0 * (1 - 2.718281828 ** (-1 / 10.0))
    assert now.model.ahead_c(power_w, 1.0) - now.model.chip_c == pytest.approx(aimed_k, rel=0.02)


@pytest.mark.parametrize(
    "idle_hand",
    [
        {"set_point_c": 90.0, "power_w": 300.0},  # the load leaves the cap unused
        {"set_point_c": 120.0},  # the answer is above every cap
        {"set_point_c": 30.0},  # and below
        {"set_point_c": 68.0, "power_w": 560.0},  # nobody obeys
    ],
)
def test_the_integral_rests_while_the_cap_does_not_act(idle_hand: dict[str, float]) -> None:
    law = ProportionalIntegral(Prior(), Tuning())
    settled = _situation()
    law.power_w(settled)
    before = law.state()
    law.power_w(msgspec.structs.replace(settled, **idle_hand))
    assert law.state() == before


def test_the_integral_moves_while_the_cap_acts() -> None:
    law = ProportionalIntegral(Prior(), Tuning())
    settled = _situation()
    law.power_w(settled)
    law.power_w(msgspec.structs.replace(settled, set_point_c=settled.set_point_c + 2.0))
    state = law.state()
    assert state is not None
    assert state > 500.0


@pytest.mark.parametrize("law", ["predictive", "pi"])
def test_ten_minutes_without_work_wind_nothing_up(law: str) -> None:
    trace = run(
        DeviceRegulator(Physics().caps, Wanted(temperature_c=75.0), law=law, prior=Prior()),
        Physics(),
        1000,
        load=lambda second: 0.3 if 150 <= second < 750 else 1.0,
    )
    assert trace.over_k(75.0, start=750) <= 2.5


@pytest.mark.parametrize("law", ["predictive", "pi"])
def test_ten_minutes_beyond_reach_wind_nothing_up(law: str) -> None:
    """The air is so warm that the lowest cap is too much; afterwards, power comes back at once."""
    trace = run(
        DeviceRegulator(Physics().caps, Wanted(temperature_c=75.0), law=law, prior=Prior()),
        Physics(),
        1000,
        ambient_c=lambda second: 62.0 if 150 <= second < 750 else 30.0,
    )
    assert trace.caps_w[749] == 200.0
    assert trace.caps_w[830] > 500.0
    assert trace.over_k(75.0, start=830) <= 2.5
