"""The sampling thread, under a clock of the test's own."""

from __future__ import annotations

import threading

import pynvml
import pytest

from quasim.meters import NoMeter, NvmlMeter, Sampler
from tests.quasim.meters.fake_nvml import UUIDS, Clock, FakeNvml, Gpu
from tests.quasim.meters.simulated import MS


def test_samples_come_every_period() -> None:
    clock = Clock()
    waits = iter([False] * 9 + [True])

    def wait(seconds: float) -> bool:
        clock.wait(seconds)
        return next(waits)

    with Sampler(NoMeter("test", "none", clock), 20 * MS, clock, wait) as sampler:
        pass
    stamps = [sample.ts_ns for sample in sampler.recording.samples]
    assert stamps == [stamps[0] + i * 20 * MS for i in range(10)]


def test_a_slow_read_delays_the_next_and_none_is_made_up_for() -> None:
    clock = Clock(step_ns=30 * MS)
    asked: list[float] = []

    def wait(seconds: float) -> bool:
        asked.append(seconds)
        return len(asked) == 4

    with Sampler(NoMeter("test", "none", clock), 20 * MS, clock, wait) as sampler:
        pass
    assert asked == [0.0] * 4
    assert len(sampler.recording.samples) == 4


def test_errors_are_recorded_and_sampling_goes_on() -> None:
    clock = Clock()
    gpu = Gpu(UUIDS[0])
    meter = NvmlMeter("0", FakeNvml(clock, gpu), {}, clock)
    taken = 0

    def wait(seconds: float) -> bool:
        nonlocal taken
        clock.wait(seconds)
        taken += 1
        gpu.codes["fields"] = pynvml.NVML_ERROR_TIMEOUT if taken == 2 else 0
        return taken == 5

    with Sampler(meter, 20 * MS, clock, wait) as sampler:
        pass
    assert len(sampler.recording.samples) == 4
    [fault] = sampler.recording.faults
    assert "timed out" in fault.what
    assert fault.ts_ns == sampler.recording.samples[1].ts_ns + 20 * MS


def test_it_stops_with_the_work_and_leaves_no_thread() -> None:
    before = threading.active_count()
    with pytest.raises(RuntimeError, match="work"), Sampler(NoMeter("test", "none"), 1_000 * MS):
        raise RuntimeError("work failed")
    assert threading.active_count() == before


def test_a_period_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="period"):
        Sampler(NoMeter("test", "none"), 0)
