"""Meters by name and by device."""

from __future__ import annotations

import subprocess
import sys

import pytest

from quasim.errors import ExitCode, UnknownNameError
from quasim.meters import DriverMissingError, Meter, MeterError, NoMeter, open_meter
from quasim.trial import EnergySource
from tests.quasim.meters.conformance import MeterConformance
from tests.quasim.meters.fake_nvml import UUIDS, Clock, FakeNvml, Gpu

HIDDEN = {"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": ""}


class TestNone(MeterConformance):
    @pytest.fixture
    def meter(self) -> Meter:
        return open_meter("0", "none")


def test_auto_takes_nvml_where_there_is_an_nvidia_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(Clock()))
    meter = open_meter("1", environ={})
    assert (meter.name, meter.source) == ("nvml", EnergySource.COUNTER)
    assert UUIDS[1] in meter.device


def test_auto_says_what_it_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "amdsmi", None)
    meter = open_meter("0", environ=HIDDEN)
    assert isinstance(meter, NoMeter)
    assert meter.why.startswith("nvml: GPU 0 is not among the 0 that CUDA_VISIBLE_DEVICES='' shows; amdsmi: ")


def test_auto_passes_over_a_gpu_that_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    library = FakeNvml(Clock(), Gpu(UUIDS[0], codes={83: 4, 186: 4}))
    monkeypatch.setitem(sys.modules, "pynvml", library)
    monkeypatch.setitem(sys.modules, "amdsmi", None)
    meter = open_meter("0", environ={})
    assert isinstance(meter, NoMeter)
    assert "no permission" in meter.why
    assert library.users == 0


def test_a_named_meter_is_had_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(DriverMissingError, match="nvidia-ml-py") as caught:
        open_meter("0", "nvml", HIDDEN)
    assert caught.value.exit_code is ExitCode.MISSING_TOOL
    with pytest.raises(MeterError):
        open_meter("0", "amdsmi", HIDDEN)
    with pytest.raises(UnknownNameError, match="wattmeter"):
        open_meter("0", "wattmeter")


def test_importing_meters_imports_no_vendor_library() -> None:
    code = "import sys, quasim.meters; print({'pynvml', 'amdsmi', 'torch', 'ray'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
