"""`quasim meter`, with a GPU that is not there and without one."""

from __future__ import annotations

import sys
import time

import pytest

from quasim.errors import ExitCode
from tests.cluster.test_cli import Command
from tests.cluster.test_cli import command as command
from tests.quasim.meters.fake_nvml import UUIDS, FakeNvml, Gpu


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    gpu = Gpu(UUIDS[0], millijoules=lambda now_ns: now_ns // 10_000_000 * 5_000, codes={185: 3})
    library = FakeNvml(time.monotonic_ns, gpu)
    monkeypatch.setitem(sys.modules, "pynvml", library)
    return library


def test_it_shows_what_is_read_and_what_is_not(command: Command, library: FakeNvml) -> None:
    shown = command.json("meter", "--seconds", "0.3")
    assert (shown["meter"], shown["source"], shown["faults"]) == ("nvml", "counter", [])
    assert shown["unreadable"] == {"average_power": "average power: not supported by this GPU"}
    assert shown["power_limits_w"] == {"enforced": 700.0, "lowest": 200.0, "highest": 700.0}
    now = shown["now"]
    assert isinstance(now, dict)
    assert (now["power_w"], now["average_power_w"], now["temperature_c"]) == (500.0, None, 47)
    assert shown["tick_ms"]
    assert shown["read_ms"]
    assert library.users == 0
    assert library.setters == []


def test_people_get_a_table(command: Command, library: FakeNvml) -> None:
    code, out, _ = command("meter", "--seconds", "0.1", "--device", UUIDS[0][:10])
    assert code == 0
    assert "NVIDIA H100 80GB HBM3" in out
    assert "tick_ms" in out


def test_an_unmetered_device_says_why(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("pynvml", "amdsmi"):
        monkeypatch.setitem(sys.modules, library, None)
    shown = command.json("meter")
    assert (shown["meter"], shown["source"]) == ("none", "unmetered")
    assert str(shown["why"]).startswith("nvml: the package nvidia-ml-py is not installed; amdsmi: ")


def test_a_meter_that_was_named_must_be_had(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert "nvidia-ml-py" in command.fails(ExitCode.MISSING_TOOL, "meter", "--meter", "nvml")
    assert "wattmeter" in command.fails(ExitCode.CONFIG, "meter", "--meter", "wattmeter")
