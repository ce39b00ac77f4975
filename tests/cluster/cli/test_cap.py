"""`quasim cap`: steers a few measurements and proposes caps; it has no hand to set them with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cluster.cli import app
from quasim.codec import to_json
from quasim.energy import Caps, ClockRun, PowerModel
from quasim.errors import DataError
from quasim.trial import EnergySource

CAPS = Caps(200.0, 700.0, 700.0, 345.0, 1980.0)
CLOCKS = tuple(float(clock) for clock in range(345, 1981, 15))
TRUE = PowerModel(120.0, 0.16, 1290.0, 0.0004, top_w=700.0, fixed_s=0.0, megacycles=2.0, error=0.0)
"""Made up, with an H100's clocks and limits."""


def asked(path: Path, runs: list[ClockRun], *options: str) -> dict[str, object]:
    path.write_bytes(to_json({"caps": CAPS, "clocks_mhz": CLOCKS, "runs": runs}))
    result = CliRunner().invoke(app, ["cap", str(path), "--json", *options], catch_exceptions=False)
    told: dict[str, object] = json.loads(result.stdout)
    return told


def figure(told: dict[str, object], name: str) -> float:
    value = told[name]
    assert isinstance(value, float)
    return value


def test_a_few_runs_that_it_asks_for_lead_to_caps_that_are_the_models(tmp_path: Path) -> None:
    runs: list[ClockRun] = []
    while "measure_next_mhz" in (told := asked(tmp_path / "runs.json", runs, "--slowest", "9")):
        clock = figure(told, "measure_next_mhz")
        runs.append(ClockRun(clock, TRUE.power_w(clock), TRUE.seconds(clock)))
    assert len(runs) < 12, len(runs)
    assert told["source"] == EnergySource.MODEL.value
    best = min(CLOCKS, key=TRUE.joules)
    assert figure(told, "clock_cap_mhz") == pytest.approx(best, rel=0.05)
    assert CAPS.power_min_w <= figure(told, "power_cap_w") <= CAPS.power_max_w
    assert figure(asked(tmp_path / "runs.json", runs, "--slowest", "0.1"), "slows") == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize("text", ["{}", "not JSON", '{"caps": {}, "clocks_mhz": []}'])
def test_a_file_that_holds_no_runs_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "runs.json").write_text(text)
    with pytest.raises(DataError, match=r"runs\.json"):
        CliRunner().invoke(app, ["cap", str(tmp_path / "runs.json")], catch_exceptions=False)


def test_a_power_that_falls_with_the_clock_gives_no_caps(tmp_path: Path) -> None:
    runs = [ClockRun(clock, 600.0 - 0.1 * clock, 1.0 / clock) for clock in CLOCKS]
    with pytest.raises(DataError, match="does not rise"):
        asked(tmp_path / "runs.json", runs)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        CliRunner().invoke(app, ["cap", str(tmp_path / "none.json")], catch_exceptions=False)
