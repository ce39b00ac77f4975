"""The AMD meter against a stand-in that gives what amdsmi 7.0 documents. No AMD GPU has ever run it."""

from __future__ import annotations

from types import ModuleType

import pytest

from quasim.meters import AmdsmiMeter, ClockEvent, Meter, MeterError, NoDeviceError, NotSupportedError, UnknownCodeError
from quasim.trial import EnergySource
from tests.quasim.meters.conformance import MeterConformance
from tests.quasim.meters.fake_nvml import Clock


class AmdSmiLibraryException(Exception):  # noqa: N818  amdsmi's own name
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code

    def get_error_code(self) -> int:
        return self.code

    def get_error_info(self) -> str:
        return f"AMDSMI_STATUS {self.code}"


class FakeSmi(ModuleType):
    AmdSmiLibraryException = AmdSmiLibraryException

    def __init__(self) -> None:
        super().__init__("amdsmi")
        self.users = 0
        self.codes: dict[str, int] = {}
        self.accumulator = 1_000_000
        self.metrics: dict[str, object] = {
            "current_socket_power": 550,
            "average_socket_power": "N/A",
            "temperature_hotspot": 61,
            "current_gfxclk": 2100,
            "prochot_residency_acc": 7,
            "ppt_residency_acc": 0,
            "socket_thm_residency_acc": 0,
            "vr_thm_residency_acc": "N/A",
        }

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *arguments: self._answer(name, *arguments)

    def _answer(self, name: str, *arguments: object) -> object:
        if code := self.codes.get(name):
            raise AmdSmiLibraryException(code)
        self.users += {"amdsmi_init": 1, "amdsmi_shut_down": -1}.get(name, 0)
        return {
            "amdsmi_init": None,
            "amdsmi_shut_down": None,
            "amdsmi_get_processor_handles": ["card0", "card1"],
            "amdsmi_get_gpu_device_uuid": f"uuid-of-{arguments[0] if arguments else ''}",
            "amdsmi_get_gpu_asic_info": {"market_name": "MI300X"},
            "amdsmi_get_energy_count": {"energy_accumulator": self.accumulator, "counter_resolution": 15.3},
            "amdsmi_get_gpu_metrics_info": self.metrics,
        }[name]


class TestConformance(MeterConformance):
    @pytest.fixture
    def meter(self) -> Meter:
        return AmdsmiMeter("0", FakeSmi(), {}, Clock())


def test_the_counter_is_in_its_own_unit() -> None:
    meter = AmdsmiMeter("1", FakeSmi(), {}, Clock())
    assert meter.sample().energy_j == pytest.approx(15.3)
    assert (meter.source, meter.device) == (EnergySource.COUNTER, "MI300X uuid-of-card1")


def test_limiters_that_acted_between_two_reads_are_events() -> None:
    library = FakeSmi()
    meter = AmdsmiMeter("0", library, {}, Clock())
    assert meter.sample().clock_events == frozenset()
    library.metrics |= {"ppt_residency_acc": 3, "socket_thm_residency_acc": 1}
    assert meter.sample().clock_events == {ClockEvent.SW_POWER_CAP, ClockEvent.HW_THERMAL}
    assert meter.sample().clock_events == frozenset()


def test_visible_devices_are_heeded() -> None:
    assert AmdsmiMeter("0", FakeSmi(), {"HIP_VISIBLE_DEVICES": "1"}, Clock()).device.endswith("card1")
    assert AmdsmiMeter("uuid-of-card1", FakeSmi(), {}, Clock()).device.endswith("card1")
    with pytest.raises(NoDeviceError):
        AmdsmiMeter("2", FakeSmi(), {}, Clock())


def test_without_a_counter_power_is_integrated() -> None:
    library = FakeSmi()
    library.codes = {"amdsmi_get_energy_count": 2}
    meter = AmdsmiMeter("0", library, {}, Clock())
    assert meter.source is EnergySource.INTEGRATED
    assert meter.sample().energy_j is None


@pytest.mark.parametrize(("code", "kind"), [(2, NotSupportedError), (31, NoDeviceError), (99, UnknownCodeError)])
def test_codes_are_typed(code: int, kind: type[MeterError]) -> None:
    library = FakeSmi()
    library.codes = {"amdsmi_get_processor_handles": code}
    with pytest.raises(kind) as caught:
        AmdsmiMeter("0", library, {}, Clock())
    assert caught.value.code == code
    assert library.users == 0
