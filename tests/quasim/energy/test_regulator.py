from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quasim.energy import Action, Caps, Observation, Regulator, Wanted
from quasim.energy.guards import MISSES, RECOVERED
from quasim.energy.plant import Physics
from quasim.energy.regulator import SLOWDOWN_MARGIN_K, DeviceRegulator, prior_of
from quasim.energy.thermal import Prior
from quasim.energy.tuning import Tuning
from quasim.errors import DataError, UnknownNameError
from tests.quasim.energy.closed_loop import SECOND_NS, Trace, run, wrong

SET_POINT_C = 75.0
CAPS = Physics().caps


def _regulator(law: str = "predictive", **kwargs: object) -> DeviceRegulator:
    return DeviceRegulator(CAPS, Wanted(temperature_c=SET_POINT_C), law=law, **kwargs)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def nominal() -> Trace:
    return run(_regulator(), Physics(), 300)


def test_the_nominal_plant_meets_every_bar(nominal: Trace) -> None:
    assert nominal.over_k(SET_POINT_C) <= 2.5
    assert nominal.settled_s(SET_POINT_C) <= 60
    assert nominal.ripple_k() <= 1.5
    assert nominal.mean_c() == pytest.approx(SET_POINT_C, abs=1.5)
    assert nominal.writes_a_minute <= 12
    assert nominal.steepest_w <= Tuning().slew_w_per_s
    assert nominal.latches() == 0


def test_the_device_works_as_much_as_under_the_best_constant_cap_of_the_same_temperature(nominal: Trace) -> None:
    """Not "always throttle": the best constant cap is the one that settles at the mean that was kept."""
    physics = Physics()
    still_w = physics.idle_w + physics.leakage_w(nominal.mean_c())
    cap_w = (nominal.mean_c() - physics.ambient_c) / physics.resistance_k_per_w
    share = physics.clock_share(cap_w - still_w, physics.busy_w - physics.idle_w)
    longer = run(_regulator(), physics, 600)
    assert longer.work_s - nominal.work_s >= 0.95 * share * 300


def test_pi_keeps_the_same_set_point(nominal: Trace) -> None:
    trace = run(_regulator("pi"), Physics(), 400)
    assert trace.over_k(SET_POINT_C) <= 2.5
    assert trace.ripple_k() <= 1.5
    assert trace.mean_c() == pytest.approx(SET_POINT_C, abs=1.5)
    assert trace.steepest_w <= Tuning().slew_w_per_s


@pytest.mark.parametrize("law", ["predictive", "pi"])
@pytest.mark.parametrize(("resistance", "tau", "delay_s"), [*product((0.8, 1.2), (0.8, 1.2), (0.0, 2.0))])
def test_plants_that_are_not_as_thought_are_kept_too(law: str, resistance: float, tau: float, delay_s: float) -> None:
    trace = run(_regulator(law, prior=Prior()), wrong(resistance, tau, 1.2, delay_s), 300)
    assert trace.over_k(SET_POINT_C) <= 3.0
    assert trace.ripple_k() <= 2.0


@pytest.mark.parametrize("lag_s", [0.0, 4.0])
@pytest.mark.parametrize("step_c", [0.0, 2.0])
def test_sensors_that_are_not_as_thought_do_no_harm(lag_s: float, step_c: float) -> None:
    trace = run(_regulator(), msgspec.structs.replace(Physics(), lag_s=lag_s, step_c=step_c), 300)
    assert trace.over_k(SET_POINT_C) <= 3.0
    assert trace.ripple_k() <= 2.0


@pytest.mark.parametrize("law", ["predictive", "pi"])
def test_a_law_four_times_as_strong_is_still_stable(law: str) -> None:
    trace = run(_regulator(law, tuning=Tuning(gain=4.0)), Physics(), 400)
    assert trace.over_k(SET_POINT_C) <= 3.0
    assert trace.ripple_k() <= 3.0


def test_a_device_that_heats_twice_as_much_as_thought_is_kept() -> None:
    trace = run(_regulator(prior=Prior(resistance_k_per_w=0.04)), Physics(), 300)
    assert trace.over_k(SET_POINT_C) <= 3.0
    assert trace.ripple_k() <= 2.0


def test_warmer_air_latches_the_guard_at_most_once_and_makes_no_limit_cycle() -> None:
    trace = run(_regulator(), Physics(), 500, ambient_c=lambda second: 30.0 if second < 200 else 38.0)
    assert trace.over_k(SET_POINT_C) <= 9.0
    assert trace.latches() <= 1
    assert trace.ripple_k(150) <= 1.5


def test_a_square_load_is_kept_below_the_set_point() -> None:
    trace = run(_regulator(), Physics(), 400, load=lambda second: 1.0 if second // 30 % 2 == 0 else 0.2)
    assert trace.over_k(SET_POINT_C) <= 3.0


def test_power_is_capped_before_anything_is_known_of_the_device() -> None:
    trace = run(_regulator(), Physics(), 20)
    assert "start" in trace.actions[0].reasons
    assert max(trace.caps_w) < 0.75 * CAPS.power_max_w


def _missing(second: int, seen: Observation) -> None:
    return None


def _frozen(second: int, seen: Observation) -> Observation:
    return Observation(seen.ts_ns, 512.34, 71.0, 1500.0, False)


@pytest.mark.parametrize("fault", [_missing, _frozen])
@pytest.mark.parametrize("at", [3, 17, 61, 150])
def test_lost_telemetry_means_the_safe_cap_within_three_periods_and_recovery_by_ramp(
    fault: Callable[[int, Observation], Observation | None], at: int
) -> None:
    back = at + 40
    lost = range(at + (fault is _frozen) * -1, back)  # the first frozen sample is still a good one
    trace = run(_regulator(), Physics(), back + 60, spoil=lambda s, seen: fault(s, seen) if s in lost else seen)
    safe = [second for second, action in enumerate(trace.actions) if action.safe]
    assert safe == [*range(at + MISSES - 1, back + RECOVERED - 1)]
    assert {trace.actions[second].power_cap_w for second in safe} == {CAPS.power_min_w}
    rises = [b - a for a, b in zip(trace.caps_w[back:], trace.caps_w[back + 1 :], strict=False)]
    assert max(rises) <= Tuning().slew_w_per_s
    climb_w = trace.caps_w[back + 7] - CAPS.power_min_w
    assert 0 < climb_w <= 7 * Tuning().ramp_w_per_s


def test_a_device_that_never_answers_is_safe() -> None:
    regulator = _regulator()
    actions = [regulator.step(None, second * SECOND_NS) for second in range(4)]
    assert [action.safe for action in actions] == [False, False, True, True]
    assert actions[-1] == Action(CAPS.power_min_w, reasons=("missing",), safe=True)


readings = st.none() | st.floats(allow_nan=True, allow_infinity=True) | st.floats(0, 120)
seen = st.none() | st.builds(
    Observation, st.integers(0, 400_000_000_000), readings, readings, readings, st.none() | st.booleans()
)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(seen, st.integers(0, 20_000_000_000)), max_size=40),
    st.none() | st.floats(1, 2000),
    st.none() | st.floats(20, 200),
    st.none() | st.floats(10, 110),
    st.sampled_from(["predictive", "pi"]),
)
def test_the_cap_is_always_within_the_devices_limits_and_the_operators(
    steps: list[tuple[Observation | None, int]],
    power_w: float | None,
    temperature_c: float | None,
    slowdown_c: float | None,
    law: str,
) -> None:
    caps = Caps(200.5, 650.25, 600.0, slowdown_c=slowdown_c)
    regulator: Regulator = DeviceRegulator(caps, Wanted(power_w, temperature_c), law=law)
    now_ns = 0
    for observation, dt_ns in steps:
        now_ns += dt_ns
        cap_w = regulator.step(observation, now_ns).power_cap_w
        if cap_w is not None:
            assert caps.power_min_w <= cap_w <= caps.power_max_w
            assert cap_w <= max(power_w or caps.power_default_w, caps.power_min_w)
        regulator.snapshot()


def test_equal_samples_give_equal_actions() -> None:
    assert run(_regulator(), Physics(), 120).actions == run(_regulator(), Physics(), 120).actions


@pytest.mark.parametrize("law", ["predictive", "pi"])
@pytest.mark.parametrize("at", [0, 30, 90])
def test_a_restored_regulator_goes_on_equally(law: str, at: int) -> None:
    class Restarted:
        """Gives way to a new one that knows its state alone."""

        def __init__(self) -> None:
            self._one = _regulator(law)

        def step(self, seen: Observation | None, now_ns: int) -> Action:
            if now_ns == at * SECOND_NS:
                state = self._one.state()
                self._one = _regulator(law)
                self._one.restore(state)
            return self._one.step(seen, now_ns)

        def __getattr__(self, name: str) -> object:
            return getattr(self._one, name)

    restarted: Regulator = Restarted()  # type: ignore[assignment]
    assert run(restarted, Physics(), 150).actions == run(_regulator(law), Physics(), 150).actions


def test_a_restored_cap_is_clipped_to_todays_limits() -> None:
    before = _regulator()
    run(before, Physics(), 200)
    after = DeviceRegulator(CAPS, Wanted(power_w=300.0, temperature_c=SET_POINT_C))
    after.restore(before.state())
    action = after.step(Observation(200 * SECOND_NS, 560.1, 75.0, 1700.0, False), 200 * SECOND_NS)
    assert action.power_cap_w is not None
    assert action.power_cap_w <= 300.0


@pytest.mark.parametrize("state", [b"", b"\x80", b"\xff" * 40])
def test_bytes_that_are_no_state_are_refused(state: bytes) -> None:
    with pytest.raises(DataError, match="regulator's state"):
        _regulator().restore(state)


def test_advice_that_nobody_follows_stays_sensible() -> None:
    trace = run(_regulator(), Physics(), 300, obeyed=False)
    assert max(trace.power_w) > 650.0
    assert trace.caps_w[-1] < 560.0


def test_without_any_temperature_limit_only_power_is_kept() -> None:
    caps = Caps(200.0, 700.0, 700.0)
    free, limited = DeviceRegulator(caps, Wanted()), DeviceRegulator(caps, Wanted(power_w=450.0))
    seen = Observation(0, 600.5, None, None, None)
    assert free.step(seen, 0) == Action(700.0)
    assert limited.step(seen, 0) == Action(450.0, reasons=("power",))
    assert free.snapshot().set_point_c is None


def test_a_power_limit_below_the_devices_lowest_cap_is_said_to_be_out_of_reach() -> None:
    regulator = DeviceRegulator(Caps(200.0, 700.0, 700.0), Wanted(power_w=120.0))
    action = regulator.step(Observation(0, 600.5), 0)
    assert action.power_cap_w == 200.0
    assert set(action.reasons) == {"power", "floor"}


def test_the_set_point_stays_below_slowdown_whatever_is_wanted() -> None:
    assert CAPS.slowdown_c is not None
    told = DeviceRegulator(CAPS, Wanted(temperature_c=95.0))
    assert told.set_point_c == DeviceRegulator(CAPS, Wanted()).set_point_c == CAPS.slowdown_c - SLOWDOWN_MARGIN_K


def test_a_device_that_does_not_tell_its_power_is_taken_to_draw_its_cap() -> None:
    trace = run(_regulator(), Physics(), 300, spoil=lambda second, seen: msgspec.structs.replace(seen, power_w=None))
    assert trace.over_k(SET_POINT_C) <= 3.0
    assert trace.mean_c() == pytest.approx(SET_POINT_C, abs=1.5)


def test_a_snapshot_says_what_is_believed() -> None:
    regulator = _regulator()
    empty = regulator.snapshot()
    assert (empty.temperature_c, empty.forecast_c, empty.writes, empty.fitted) == (None, None, 0, False)
    trace = run(regulator, Physics(), 300)
    full = regulator.snapshot()
    assert full.fitted
    assert full.action == trace.actions[-1]
    assert full.resistance_k_per_w == pytest.approx(0.08, rel=0.1)
    assert full.tau_s == pytest.approx(24.0, rel=0.15)
    assert full.forecast_c == pytest.approx(SET_POINT_C, abs=1.5)
    assert full.rising_c_per_s == pytest.approx(0.0, abs=0.05)
    assert (full.guard, full.misses, full.law) == ("", 0, "predictive")


def test_an_unknown_device_is_taken_to_be_cooled_for_its_highest_power() -> None:
    assert prior_of(CAPS).resistance_k_per_w == pytest.approx((87.0 - 25.0) / 700.0)
    assert prior_of(Caps(200.0, 700.0, 700.0)) == Prior()
    assert math.isfinite(prior_of(Caps(200.0, 700.0, 700.0, slowdown_c=10.0)).resistance_k_per_w)


def test_an_unknown_law_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(UnknownNameError, match="predictive, pi"):
        _regulator("bang-bang")
