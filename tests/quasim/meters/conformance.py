"""What every meter must do. A meter's test inherits ``MeterConformance`` and gives an open one."""

from __future__ import annotations

import pytest

from quasim.meters import Meter, meters
from quasim.trial import EnergySource


class MeterConformance:
    @pytest.fixture
    def meter(self) -> Meter:
        raise NotImplementedError

    def test_it_goes_by_a_registered_name(self, meter: Meter) -> None:
        assert meter.name in meters()
        assert meter.device

    def test_samples_come_in_order_of_time(self, meter: Meter) -> None:
        stamps = [meter.sample().ts_ns for _ in range(5)]
        assert stamps == sorted(stamps)

    def test_the_cost_of_a_read_is_told(self, meter: Meter) -> None:
        assert meter.sample().read_ns >= 0

    def test_the_source_follows_from_what_can_be_read(self, meter: Meter) -> None:
        sample = meter.sample()
        counted, powered = sample.energy_j is not None, sample.power_w is not None
        expected = EnergySource.COUNTER if counted else EnergySource.INTEGRATED if powered else EnergySource.UNMETERED
        assert meter.source is expected is meter.capabilities.source

    def test_what_cannot_be_read_is_absent_and_has_a_reason(self, meter: Meter) -> None:
        sample, can = meter.sample(), meter.capabilities
        readings = {
            "energy": sample.energy_j,
            "power": sample.power_w,
            "average_power": sample.average_power_w,
            "temperature": sample.temperature_c,
            "clock": sample.clock_mhz,
            "power_limits": meter.power_limits.enforced_w,
        }
        assert {name: value is None for name, value in readings.items()} == {
            name: bool(getattr(can, name)) for name in readings
        }

    def test_energy_never_falls(self, meter: Meter) -> None:
        joules = [s.energy_j for s in (meter.sample() for _ in range(20)) if s.energy_j is not None]
        assert joules == sorted(joules)
