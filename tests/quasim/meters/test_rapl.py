"""The CPU meter on a folder that looks like powercap."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasim.meters import (
    CounterResetError,
    DriverMissingError,
    Meter,
    MeterError,
    NotSupportedError,
    PermissionDeniedError,
    RaplMeter,
)
from quasim.meters.rapl import Package
from tests.quasim.meters.conformance import MeterConformance
from tests.quasim.meters.fake_nvml import Clock

RANGE_UJ = 262_143_328_850


def zone(root: Path, name: str, label: str, energy_uj: int, range_uj: int = RANGE_UJ) -> Path:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text(f"{label}\n")
    (folder / "max_energy_range_uj").write_text(f"{range_uj}\n")
    (folder / "energy_uj").write_text(f"{energy_uj}\n")
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    zone(tmp_path, "intel-rapl:0", "package-0", 1_000_000)
    zone(tmp_path, "intel-rapl:0:0", "dram", 5_000_000)
    zone(tmp_path, "intel-rapl:1", "package-1", RANGE_UJ - 1_000_000)
    zone(tmp_path, "intel-rapl:2", "psys", 7_000_000)
    return tmp_path


class TestConformance(MeterConformance):
    @pytest.fixture
    def meter(self, root: Path) -> Meter:
        return RaplMeter(root, Clock(step_ns=1_000_000))


def test_packages_are_added_and_parts_are_not(root: Path) -> None:
    clock = Clock()
    meter = RaplMeter(root, clock)
    clock.wait(1)
    zone(root, "intel-rapl:0", "package-0", 31_000_000)
    zone(root, "intel-rapl:0:0", "dram", 9_000_000)
    zone(root, "intel-rapl:2", "psys", 99_000_000)
    assert meter.sample().energy_j == 30
    assert meter.device == "2 CPU packages"


def test_each_package_wraps_by_itself(root: Path) -> None:
    clock = Clock()
    meter = RaplMeter(root, clock)
    clock.wait(1)
    zone(root, "intel-rapl:0", "package-0", 11_000_000)
    zone(root, "intel-rapl:1", "package-1", 4_000_000)
    assert meter.sample().energy_j == 10 + 5


def test_a_reset_is_not_taken_for_a_wrap(root: Path) -> None:
    clock = Clock()
    zone(root, "intel-rapl:0", "package-0", RANGE_UJ // 2)
    meter = RaplMeter(root, clock)
    clock.wait(1)
    zone(root, "intel-rapl:0", "package-0", 0)
    zone(root, "intel-rapl:1", "package-1", 1_000_000)
    with pytest.raises(CounterResetError, match="jumped"):
        meter.sample()
    clock.wait(1)
    zone(root, "intel-rapl:0", "package-0", 3_000_000)
    assert meter.sample().energy_j == 2 + 3


def test_a_pause_in_which_it_may_have_wrapped_is_told(root: Path) -> None:
    clock = Clock()
    meter = RaplMeter(root, clock)
    clock.wait(3600)
    with pytest.raises(CounterResetError, match="not read for 3600 s"):
        meter.sample()


@given(st.lists(st.integers(0, 500_000_000), max_size=40), st.integers(0, RANGE_UJ))
def test_unwrapping_loses_and_invents_nothing(steps_uj: list[int], start_uj: int) -> None:
    package = Package(Path("energy_uj"), RANGE_UJ, start_uj, 0)
    for i, step in enumerate(steps_uj):
        package.advance((package.last_uj + step) % RANGE_UJ, (i + 1) * 1_000_000_000)
    assert package.total_uj == sum(steps_uj)


def test_machines_without_rapl_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(DriverMissingError):
        RaplMeter(tmp_path / "powercap")
    with pytest.raises(NotSupportedError):
        RaplMeter(tmp_path)


def test_a_counter_that_is_no_number_is_an_error(root: Path) -> None:
    meter = RaplMeter(root, Clock())
    (root / "intel-rapl:1" / "energy_uj").write_text("")
    with pytest.raises(MeterError, match="cannot be read"):
        meter.sample()


def test_only_root_may_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readable = Path.read_text

    def denied(path: Path, *arguments: str) -> str:
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied")
        return readable(path, *arguments)

    # Tests may run as root, whom file modes do not stop.
    monkeypatch.setattr(Path, "read_text", denied)
    with pytest.raises(PermissionDeniedError, match="root"):
        RaplMeter(root)
