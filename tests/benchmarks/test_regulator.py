"""The benchmark of regulation: its parts tell good control from bad, and a quick run meets its bars."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from msgspec.structs import replace

from benchmarks.regulator import LOADS, SCAN_SECONDS, best_constant, constant, measure, replayed, simulate, wrong_plants
from quasim.energy import Observation
from quasim.energy.plant import Physics
from quasim.energy.trace import Turn, write_turns


def test_every_bar_of_a_quick_run_is_met() -> None:
    rows, bars = measure(argparse.Namespace(law="predictive", quick=True, telemetry=None))
    assert {bar.name: bar.value for bar in bars if not bar.ok} == {}
    assert rows


def test_there_are_81_different_plants() -> None:
    assert len(set(wrong_plants())) == 81


def test_the_best_constant_cap_ends_at_the_temperature_asked_for() -> None:
    cap_w, work_s = best_constant(Physics(), 300, 70.0)
    mean_c, done_s = constant(Physics(), 300, cap_w)
    assert mean_c == pytest.approx(70.0, abs=0.1)
    assert done_s == work_s


def test_a_device_that_cannot_be_kept_cool_is_seen_to_miss_its_set_point() -> None:
    hot = simulate(replace(Physics(), ambient_c=62.0), 200)
    assert hot.overshoot_k > 2.5
    assert hot.settled_s == 200


@pytest.mark.parametrize("load", LOADS)
def test_disturbances_reach_the_plant(load: str) -> None:
    run, plain = (simulate(Physics(), SCAN_SECONDS, LOADS[name]) for name in (load, "step"))
    assert (run.temperature_c == plain.temperature_c) == (load == "step")


def test_recorded_telemetry_is_advised_on(tmp_path: Path) -> None:
    run = simulate(Physics(), 60)
    turns = [
        Turn(Observation(n * 1_000_000_000, 400.123 + n, temperature_c, 1500.0, False), action)
        for n, (temperature_c, action) in enumerate(zip(run.temperature_c, run.actions, strict=True))
    ]
    write_turns(tmp_path / "telemetry.jsonl", turns)
    row = replayed(tmp_path / "telemetry.jsonl", "predictive")
    assert (row["samples"], row["safe"]) == (60, 0)
    assert row["mean W"] == pytest.approx(429.623)
