"""Energy from simulated power curves whose energy is known, and every way in which a window is voided."""

from __future__ import annotations

import math
from dataclasses import replace

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from quasim.meters import VOIDING, ClockEvent, Energy, Fault, Recording, Sample, energy, infer_tick_ns, mean_power
from quasim.trial import EnergySource
from tests.quasim.meters.simulated import MS, START_NS, Curve, changed, offset

STEADY = Curve()

CURVES = st.builds(
    Curve,
    mean_w=st.floats(200, 700),
    swing_w=st.floats(0, 60),
    swing_hz=st.floats(0.3, 20),
    drift_w_s=st.floats(-10, 10),
    noise_w=st.floats(0, 30),
    tick_ns=st.sampled_from([20 * MS, 50 * MS, 100 * MS]),
    period_ns=st.sampled_from([5 * MS, 11 * MS, 20 * MS]),
    jitter=st.floats(0, 1),
    rate=st.floats(1, 1e6),
    seconds=st.floats(2.6, 6),
    seed=st.integers(0, 1000),
)


def middle(curve: Curve) -> int:
    return len(curve.recording().samples) // 2


@settings(max_examples=60, deadline=None)
@given(CURVES)
def test_the_figure_is_within_two_percent_of_the_truth_beyond_its_interval(curve: Curve) -> None:
    found = energy(curve.recording(), curve.progress())
    assert found.voided == ""
    assert found.j_per_op is not None
    assert found.low is not None
    assert found.high is not None
    # The window leaves out up to two ticks at the ends, where a swing or a drift may lie.
    assert 0.98 * found.low <= curve.j_per_op() <= 1.02 * found.high
    assert found.j_per_op == pytest.approx(curve.j_per_op(), rel=0.05)
    assert found.source is EnergySource.COUNTER


def test_the_interval_holds_the_truth_nineteen_times_in_twenty() -> None:
    noisy = [Curve(noise_w=40.0, seed=seed) for seed in range(200)]
    found = [energy(curve.recording(), curve.progress()) for curve in noisy]
    held = [e.low <= 0.4 <= e.high for e in found if e.low is not None and e.high is not None]
    assert len(held) == 200
    assert sum(held) >= 184


def test_a_steady_load_has_a_narrow_interval() -> None:
    found = energy(STEADY.recording(), STEADY.progress())
    assert found.j_per_op == pytest.approx(0.4, rel=5e-3)
    assert found.low is not None
    assert found.high is not None
    assert (found.high - found.low) / 0.4 < 0.04
    assert found.power_w == pytest.approx(400, rel=5e-3)


def test_twice_the_work_costs_twice_the_energy() -> None:
    whole = energy(STEADY.recording(), STEADY.progress())
    half = energy(STEADY.recording(), [(ts, done / 2) for ts, done in STEADY.progress()])
    assert whole.j_per_op is not None
    assert half.j_per_op is not None
    assert half.j_per_op / whole.j_per_op == pytest.approx(2.0)


@pytest.mark.parametrize("tick_ms", [20, 50, 100, 200])
def test_the_tick_is_inferred(tick_ms: int) -> None:
    tick_ns = infer_tick_ns(Curve(tick_ns=tick_ms * MS, period_ns=7 * MS).recording().samples)
    assert tick_ns == pytest.approx(tick_ms * MS, rel=0.25)


def test_there_is_no_tick_without_changes() -> None:
    assert infer_tick_ns([Sample(i * MS, 0, energy_j=5.0) for i in range(9)]) is None
    assert infer_tick_ns([Sample(i * MS, 0) for i in range(9)]) is None
    assert infer_tick_ns([]) is None


def test_the_window_lies_between_ticks_inside_the_work() -> None:
    found = energy(STEADY.recording(), STEADY.progress())
    assert 2.7e9 <= found.window_ns <= 3e9
    ticks = round(found.window_ns / (100 * MS))
    assert found.window_ns == pytest.approx(ticks * 100 * MS, abs=STEADY.period_ns)
    assert found.tick_ns == pytest.approx(100 * MS, rel=0.2)


def test_what_was_drawn_before_and_after_the_work_does_not_count() -> None:
    curve = Curve(seconds=9)
    loud = offset(offset(curve.recording(), 100, 5000.0), 350, 5000.0)
    inside = [(ts, done) for ts, done in curve.progress() if 3e9 <= ts - START_NS <= 6e9]
    found = energy(loud, inside)
    assert found.j_per_op == pytest.approx(0.4, rel=0.01)


def test_counter_and_power_are_compared() -> None:
    found = energy(STEADY.recording(), STEADY.progress())
    assert found.cross_check == pytest.approx(0, abs=0.01)
    doubted = replace(STEADY.recording(), samples=tuple(replace(s, power_w=440.0) for s in STEADY.recording().samples))
    assert energy(doubted, STEADY.progress()).cross_check == pytest.approx(0.1, abs=0.01)


def test_a_counter_that_power_contradicts_is_voided() -> None:
    found = energy(offset(STEADY.recording(), middle(STEADY), 1e9), STEADY.progress())
    assert "differ" in found.voided


def test_power_is_integrated_where_there_is_no_counter() -> None:
    curve = Curve(swing_w=50.0, seconds=4.0)
    bare = Recording(tuple(replace(s, energy_j=None) for s in curve.recording().samples))
    found = energy(bare, curve.progress())
    assert found.source is EnergySource.INTEGRATED
    assert found.j_per_op == pytest.approx(curve.j_per_op(), rel=0.02)
    assert found.cross_check is None
    assert found.tick_ns is None


def test_idle_power_is_subtracted_in_the_second_figure_alone() -> None:
    found = energy(STEADY.recording(), STEADY.progress(), idle_power_w=100.0)
    assert found.j_per_op == pytest.approx(0.4, rel=0.01)
    assert found.idle_subtracted_j_per_op == pytest.approx(0.3, rel=0.01)


def test_no_second_figure_where_idle_power_exceeds_the_load() -> None:
    assert energy(STEADY.recording(), STEADY.progress(), idle_power_w=500.0).idle_subtracted_j_per_op is None
    assert energy(STEADY.recording(), STEADY.progress()).idle_subtracted_j_per_op is None


def test_mean_power_is_joules_per_second() -> None:
    idle = mean_power(Curve(mean_w=71.5).recording())
    assert idle.j_per_op == pytest.approx(71.5, rel=0.01)
    with pytest.raises(ValueError, match="two samples"):
        mean_power(Recording(()))


@pytest.mark.parametrize("reading", [math.nan, -1.0, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["energy_j", "power_w"])
def test_impossible_readings_void(name: str, reading: float) -> None:
    found = energy(changed(STEADY.recording(), middle(STEADY), **{name: reading}), STEADY.progress())
    assert found.voided == f"{name} read {reading}"
    assert found.j_per_op is None
    assert found.source is EnergySource.UNMETERED


@pytest.mark.parametrize("back_to", [0.0, 5.0])
def test_a_counter_that_goes_back_voids(back_to: float) -> None:
    start = middle(STEADY)
    joules = STEADY.recording().samples[start].energy_j
    assert joules is not None
    found = energy(offset(STEADY.recording(), start, back_to - joules), STEADY.progress())
    assert "went back" in found.voided


def test_a_counter_that_stops_voids() -> None:
    samples = STEADY.recording().samples
    stuck = samples[middle(STEADY)].energy_j
    stale = tuple(s if i < middle(STEADY) else replace(s, energy_j=stuck) for i, s in enumerate(samples))
    assert "did not change for" in energy(Recording(stale), STEADY.progress()).voided


def test_a_counter_that_never_ticks_voids() -> None:
    still = tuple(replace(s, energy_j=7.0) for s in STEADY.recording().samples)
    assert energy(Recording(still), STEADY.progress()).voided == "the counter changed 0 times while the work ran"


def test_a_meter_that_dies_midway_voids() -> None:
    half = STEADY.recording().samples[: middle(STEADY)]
    assert "did not change for" in energy(Recording(half), STEADY.progress()).voided


def test_a_failed_read_inside_the_work_voids() -> None:
    inside, outside = Fault(START_NS + 10**9, "the GPU is lost"), Fault(START_NS - 1, "no data yet")
    assert energy(replace(STEADY.recording(), faults=(outside,)), STEADY.progress()).voided == ""
    found = energy(replace(STEADY.recording(), faults=(inside,)), STEADY.progress())
    assert found.voided == "a read failed: the GPU is lost"


@pytest.mark.parametrize("event", sorted(ClockEvent))
def test_only_slowdowns_void(event: ClockEvent) -> None:
    found = energy(changed(STEADY.recording(), middle(STEADY), clock_events=frozenset({event})), STEADY.progress())
    assert (found.j_per_op is None) == (event in VOIDING)
    assert found.events == (event,)
    assert (event.value in found.voided) == (event in VOIDING)


def test_slowdowns_outside_the_work_do_not_void() -> None:
    cool = STEADY.progress()[50:]
    hot = changed(STEADY.recording(), 5, clock_events=frozenset({ClockEvent.HW_THERMAL}))
    assert energy(hot, cool).voided == ""


def test_short_windows_void() -> None:
    assert "shorter than 2 s" in energy(STEADY.recording(), STEADY.progress()[:200]).voided
    assert energy(STEADY.recording(), STEADY.progress()[:200], min_window_ns=10**9).voided == ""


def test_work_that_finishes_nothing_voids() -> None:
    idle = [(ts, 0.0) for ts, _ in STEADY.progress()]
    assert "give no figure" in energy(STEADY.recording(), idle).voided


def test_a_meter_without_readings_voids() -> None:
    blind = tuple(Sample(s.ts_ns, 0) for s in STEADY.recording().samples)
    assert "neither energy nor power" in energy(Recording(blind), STEADY.progress()).voided
    assert "neither energy nor power" in energy(Recording(()), STEADY.progress()).voided


@pytest.mark.parametrize(
    "progress",
    [[], [(0, 0.0)], [(0, 0.0), (0, 1.0)], [(5, 0.0), (4, 1.0)], [(0, 2.0), (5, 1.0)], [(0, 0.0), (5, math.nan)]],
)
def test_progress_that_is_none_is_refused(progress: list[tuple[int, float]]) -> None:
    with pytest.raises(ValueError, match="progress"):
        energy(STEADY.recording(), progress)


READINGS = st.one_of(st.none(), st.floats(), st.floats(0, 1e7), st.sampled_from([0.0, 2.0**32, 2.0**64, 1e308]))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 149), READINGS, READINGS), max_size=4), st.booleans(), st.booleans())
def test_no_reading_whatever_gives_a_negative_or_infinite_energy(
    faults: list[tuple[int, float | None, float | None]], counted: bool, powered: bool
) -> None:
    recording = STEADY.recording()
    recording = Recording(
        tuple(
            replace(s, energy_j=s.energy_j if counted else None, power_w=s.power_w if powered else None)
            for s in recording.samples
        )
    )
    for at, joules, watts in faults:
        recording = changed(recording, at, energy_j=joules, power_w=watts)
    found = energy(recording, STEADY.progress())
    if found.voided:
        assert found.j_per_op is None
    else:
        assert found.j_per_op is not None
        assert 0 < found.j_per_op < math.inf


@settings(max_examples=60, deadline=None)
@given(CURVES, st.floats(0.2, 0.8), st.floats(-2e6, 2e6), st.booleans())
def test_a_jump_of_the_counter_is_never_taken_for_energy(
    curve: Curve, where: float, jump_j: float, powered: bool
) -> None:
    assume(abs(jump_j) > curve.mean_w * curve.seconds)
    start = int(where * len(curve.recording().samples))
    recording = offset(curve.recording(), start, jump_j)
    if not powered:
        recording = Recording(tuple(replace(sample, power_w=None) for sample in recording.samples))
    assert energy(recording, curve.progress()).voided


def test_an_energy_is_voided_or_has_an_interval() -> None:
    figures = {"j_per_op": 1.0, "low": 0.9, "high": 1.1, "source": EnergySource.COUNTER, "power_w": 10.0}
    assert Energy(**figures).j_per_op == 1.0  # type: ignore[arg-type]
    wrong = (
        {"voided": "why"},
        {"low": 1.05},
        {"high": math.inf},
        {"j_per_op": None},
        {"source": EnergySource.UNMETERED},
    )
    for change in wrong:
        with pytest.raises(ValueError, match="energ"):
            Energy(**{**figures, **change})  # type: ignore[arg-type]


def test_an_energy_travels() -> None:
    found = energy(STEADY.recording(), STEADY.progress())
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=Energy) == found
