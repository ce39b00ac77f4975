"""Hands: the simulated device's file, and NVML's setters behind permissions that are asked for, never tried."""

from __future__ import annotations

from pathlib import Path

import pynvml
import pytest

from quasim.energy.actuators import Actuator, Permissions, Setting, SimulatedActuator
from quasim.energy.nvml_actuator import NvmlActuator, administrator
from quasim.energy.nvml_caps import nvml_caps
from quasim.errors import DataError
from quasim.meters import MeterError, PermissionDeniedError
from tests.quasim.energy.actuator_conformance import ActuatorConformance
from tests.quasim.energy.settable_nvml import SettableNvml
from tests.quasim.meters.fake_nvml import UUIDS


def opened(library: SettableNvml, *, root: bool = True) -> NvmlActuator:
    return NvmlActuator(UUIDS[0], library, {}, lambda: root)


class TestSimulatedActuator(ActuatorConformance):
    @pytest.fixture
    def actuator(self, tmp_path: Path) -> Actuator:
        return SimulatedActuator(tmp_path / "gpu.json")


class TestNvmlActuator(ActuatorConformance):
    @pytest.fixture
    def actuator(self) -> Actuator:
        return opened(SettableNvml())


def test_a_plant_in_the_same_process_hears_of_each_setting(tmp_path: Path) -> None:
    heard: list[Setting] = []
    SimulatedActuator(tmp_path / "gpu.json", moved=heard.append).apply(Setting(450.0))
    assert heard == [Setting(450.0)]


def test_settings_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "gpu.json").write_text('{"power_cap_w": -3}')
    with pytest.raises(DataError):
        SimulatedActuator(tmp_path / "gpu.json").setting()


@pytest.mark.parametrize("setting", [Setting(400.0), Setting(None, 990.0)])
def test_a_cap_that_may_not_be_set_is_not_tried(tmp_path: Path, setting: Setting) -> None:
    actuator = SimulatedActuator(tmp_path / "gpu.json", Permissions("no", "no"))
    with pytest.raises(PermissionDeniedError, match="may not be capped: no"):
        actuator.apply(setting)
    assert actuator.writes == 0


def test_without_an_administrator_nothing_is_written() -> None:
    library = SettableNvml()
    actuator = opened(library, root=False)
    assert "administrator" in actuator.permissions.power
    assert "administrators" in actuator.permissions.clock
    for setting in (Setting(400.0), Setting(None, 990.0)):
        with pytest.raises(PermissionDeniedError):
            actuator.apply(setting)
    actuator.apply(Setting())
    assert library.written == []


def test_clocks_that_are_unrestricted_may_be_set_by_anyone() -> None:
    library = SettableNvml()
    library.restricted = 0
    actuator = opened(library, root=False)
    assert not actuator.permissions.clock
    actuator.apply(Setting(None, 1000.0))
    assert library.written == [("nvmlDeviceSetApplicationsClocks", 2619, 990)]
    assert actuator.setting() == Setting(None, 990.0)


def test_what_holds_already_is_not_written_again() -> None:
    library = SettableNvml()
    actuator = opened(library)
    actuator.apply(actuator.setting())
    actuator.apply(Setting(400.0, 990.0))
    actuator.apply(Setting(400.0, 990.0))
    assert len(library.written) == actuator.writes == 2


def test_none_goes_back_to_the_defaults() -> None:
    library = SettableNvml()
    actuator = opened(library)
    actuator.apply(Setting(400.0, 990.0))
    actuator.apply(Setting())
    assert actuator.setting() == Setting(700.0, 1980.0)


@pytest.mark.parametrize(
    "function",
    ["nvmlDeviceGetPowerManagementLimitConstraints", "nvmlDeviceGetPowerManagementLimit"],
)
def test_a_board_that_tells_no_limit_cannot_be_capped(function: str) -> None:
    library = SettableNvml()
    library.gpus[0].codes[function] = pynvml.NVML_ERROR_NOT_SUPPORTED
    assert "not supported" in opened(library).permissions.power


def test_a_gpu_that_is_lost_refuses_with_its_reason() -> None:
    library = SettableNvml()
    actuator = opened(library)
    library.gpus[0].codes["nvmlDeviceSetPowerManagementLimit"] = pynvml.NVML_ERROR_GPU_IS_LOST
    with pytest.raises(MeterError, match="lost"):
        actuator.apply(Setting(400.0))


def test_limits_come_from_the_device_and_slowdown_from_its_margin() -> None:
    library = SettableNvml()
    caps = nvml_caps(UUIDS[0], library, {})
    assert (caps.power_min_w, caps.power_max_w, caps.power_default_w) == (200.0, 700.0, 700.0)
    assert (caps.clock_min_mhz, caps.clock_max_mhz) == (345.0, 1980.0)
    # 47 °C now, 40 K of margin, and it slows down 2 K beyond: at -2.
    assert caps.slowdown_c == 89.0
    assert library.written == []
    assert library.users == 0


def test_without_a_margin_the_threshold_is_taken_and_without_both_it_is_unknown() -> None:
    library = SettableNvml()
    codes = library.gpus[0].codes
    codes["nvmlDeviceGetMarginTemperature"] = pynvml.NVML_ERROR_NOT_SUPPORTED
    assert nvml_caps(UUIDS[0], library, {}).slowdown_c == 87.0
    codes["nvmlDeviceGetTemperatureThreshold"] = pynvml.NVML_ERROR_NOT_SUPPORTED
    assert nvml_caps(UUIDS[0], library, {}).slowdown_c is None


def test_an_administrator_is_told_by_the_capability_and_not_by_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nCapEff:\t00000000a80425fb\n")
    assert not administrator(status)
    status.write_text("Name:\tpython\nCapEff:\t000001ffffffffff\n")
    assert administrator(status)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert not administrator(status)
