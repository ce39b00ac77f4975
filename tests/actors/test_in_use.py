from __future__ import annotations

import time
from pathlib import Path

import pynvml
import pytest

from actors.in_use import WINDOW_S, cpu_share, gpu_share, in_use
from quasim.errors import ConfigError, DataError
from quasim.machine import this_machine
from quasim.meters import MeterError, NotSupportedError
from quasim.targets.c.device import CTarget
from quasim.targets.replay import ReplayTarget
from tests.quasim.meters.fake_nvml import UUIDS, Clock, FakeNvml, Gpu

BEFORE = "cpu  100 0 50 800 50 0 0 0 7 7\ncpu0 1 2 3\n"


class Busy(FakeNvml):
    """A machine whose GPUs say how busy they are."""

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Gpu:  # noqa: N802
        (found,) = [gpu for gpu in self.gpus if gpu.uuid == uuid]
        return found

    def nvmlDeviceGetUtilizationRates(self, gpu: Gpu) -> pynvml.c_nvmlUtilization_t:  # noqa: N802
        self._check(gpu.codes.get("nvmlDeviceGetUtilizationRates", 0))
        rates = pynvml.c_nvmlUtilization_t()
        rates.gpu, rates.memory = 62, 9
        return rates


def test_the_cpus_share_is_of_what_passed_during_the_pause_and_waiting_is_not_use(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text(BEFORE)
    waited: list[float] = []

    def pause(seconds: float) -> None:
        waited.append(seconds)
        stat.write_text("cpu  120 0 60 850 70 0 0 0 9 9\n")

    assert cpu_share(pause, stat) == pytest.approx(30 / 100)
    assert waited == [WINDOW_S]
    assert cpu_share(lambda _: None, stat) == 0


@pytest.mark.parametrize("text", ["", "intr 1 2 3 4 5 6 7 8\n", "cpu 1 2 3\n", "cpu a b c d e f g h\n"])
def test_a_system_that_does_not_tell_is_bad_data(tmp_path: Path, text: str) -> None:
    (tmp_path / "stat").write_text(text)
    with pytest.raises(DataError):
        cpu_share(lambda _: None, tmp_path / "stat")


def test_this_machines_share_is_one() -> None:
    assert 0 <= cpu_share(lambda _: time.sleep(0.05)) <= 1


def test_a_gpus_share_is_the_drivers_and_the_library_is_left_as_it_was() -> None:
    library = Busy(Clock())
    assert gpu_share(UUIDS[1], lambda _: None, library) == 0.62
    library.gpus[0].codes["nvmlDeviceGetUtilizationRates"] = pynvml.NVML_ERROR_NOT_SUPPORTED
    with pytest.raises(NotSupportedError):
        gpu_share(UUIDS[0], lambda _: None, library)
    assert library.users == 0


def test_a_device_counts_as_idle_up_to_the_share_that_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.in_use.cpu_share", lambda _: 0.3)
    with CTarget() as target:
        assert in_use(target, 0.3, time.sleep) == ""
        assert in_use(target, 0.2, time.sleep) == f"30% of {this_machine().name} is in use"


def test_a_recording_is_nobodys_device(recorded_space: Path) -> None:
    assert in_use(ReplayTarget("replay", [(0, recorded_space)]), 0.0, time.sleep) == ""


def test_a_device_that_does_not_tell_says_what_to_configure(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(_: object) -> float:
        raise MeterError("no utilization", "")

    monkeypatch.setattr("actors.in_use.cpu_share", silent)
    with CTarget() as target, pytest.raises(ConfigError, match="set busy: null"):
        in_use(target, 0.2, time.sleep)
