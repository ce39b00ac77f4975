"""The plant's meter and the replay of recorded telemetry."""

from __future__ import annotations

import numpy as np
import pytest

from quasim.energy.plant import Physics, SimulatedGpu
from quasim.energy.plant_meter import RecordedMeter, SimulatedMeter
from quasim.meters import BusyError, ClockEvent, Meter, Sample
from quasim.trial import EnergySource
from tests.quasim.meters.conformance import MeterConformance
from tests.quasim.meters.fake_nvml import Clock

SECOND = 1_000_000_000
TRACE = tuple(Sample(n * SECOND, 0, power_w=300.0 + n, temperature_c=50.0 + n) for n in range(40))


class ModelConformance(MeterConformance):
    """As of every meter, but that its figures are a model's and no registry opens it."""

    def test_it_goes_by_a_registered_name(self, meter: Meter) -> None:
        assert meter.name in ("simulated", "recorded")
        assert meter.device

    def test_the_source_follows_from_what_can_be_read(self, meter: Meter) -> None:
        assert meter.source is EnergySource.MODEL


class TestSimulated(ModelConformance):
    @pytest.fixture
    def meter(self) -> Meter:
        gpu = SimulatedGpu(Physics(), start_ns=SECOND)
        gpu.load(1.0)
        return SimulatedMeter(gpu, Clock(step_ns=SECOND), np.random.default_rng(1))


class TestRecorded(ModelConformance):
    @pytest.fixture
    def meter(self) -> Meter:
        return RecordedMeter(TRACE, Clock(step_ns=SECOND), "a GPU of yesterday")


def test_power_readings_never_repeat_so_that_only_frozen_telemetry_does() -> None:
    gpu = SimulatedGpu(Physics())
    meter = SimulatedMeter(gpu, lambda: SECOND, np.random.default_rng(1))
    readings = [meter.sample().power_w for _ in range(50)]
    assert len(set(readings)) > 45


def test_a_device_that_slows_itself_down_says_so() -> None:
    gpu = SimulatedGpu(Physics(ambient_c=45.0))
    gpu.load(1.0)
    meter = SimulatedMeter(gpu, lambda: 120 * SECOND, np.random.default_rng(1))
    assert gpu.physics.slowdown_c - 4 < (meter.sample().temperature_c or 0)
    assert meter.sample().clock_events <= {ClockEvent.SW_THERMAL}
    assert gpu.throttled_s > 0


def test_a_recording_is_replayed_at_its_own_pace_and_ends() -> None:
    clock = Clock()
    meter = RecordedMeter(TRACE, clock, "a GPU of yesterday")
    assert meter.sample() == TRACE[0]
    clock.now_ns += 3 * SECOND + SECOND // 2
    assert meter.sample() == TRACE[3]
    clock.now_ns += 60 * SECOND
    with pytest.raises(BusyError, match="has ended"):
        meter.sample()


def test_a_recording_out_of_order_is_refused() -> None:
    with pytest.raises(ValueError, match="in order of time"):
        RecordedMeter(TRACE[::-1], Clock(), "x")
