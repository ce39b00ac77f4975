"""Recorded devices from the command line and from a fleet's configuration."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import pytest

from cluster.config import load_config
from quasim.errors import DataError, ExitCode
from quasim.targets.replay import ReplayTarget, write_t4
from quasim.targets.spec import ReplaySpec
from quasim.trial import EnergySource, Problem, Trial
from tests.cluster.test_cli import Command, command
from tests.conftest import ROOT
from tests.quasim.targets.recordings import write
from tests.quasim.targets.test_replay_t4 import PROBLEM, SPACE, others_file, own_trials

__all__ = ["command"]  # a fixture


@pytest.fixture
def recorded(recorded_space: Path, tmp_path: Path) -> Path:
    """Our recording of a matmul as a T4 file, with joules: a watt for its time."""
    device = ReplayTarget("c", [(0, recorded_space)])
    space = device.space(device.problem)
    trials = device.evaluate(device.problem, [space.genome_at(cell) for cell in range(space.size)])
    path = tmp_path / "matmul.t4.json.gz"
    write_t4(path, device.device.name, device.problem, [metered(trial) for trial in trials], space)
    return path


def metered(trial: Trial) -> Trial:
    if trial.timing is None:
        return trial
    return msgspec.structs.replace(trial, energy_j=trial.time_ns / 1e9, energy_source=EnergySource.MODEL)


def test_tune_replays_a_t4_file_with_its_joules(command: Command, recorded: Path, recorded_space: Path) -> None:
    found = command.json("tune", "matmul", "--target", str(recorded), "--budget", "80")
    plain = command.json("tune", "matmul", "--target", str(recorded_space), "--budget", "80")
    best, other = found["best"], plain["best"]
    assert isinstance(best, dict)
    assert isinstance(other, dict)
    assert (best["genome"], best["timing"]) == (other["genome"], other["timing"])
    assert (best["energy_j"], best["energy_source"]) == (best["timing"]["median_ns"] / 1e9, "model")
    assert (other["energy_j"], other["energy_source"]) == (None, "unmetered")
    assert "(model)" in command("tune", "matmul", "--target", str(recorded), "--budget", "5")[1]


def test_tune_replays_a_t4_file_of_others(command: Command, tmp_path: Path) -> None:
    path = write(tmp_path / "convolution.t4.json", others_file())
    found = command.json("tune", "convolution", "--target", str(path), "--budget", "9")
    assert found["evaluations"] == 4
    assert found["by_status"] == {"ok": 2, "compile_error": 1, "launch_error": 1}


def test_a_bad_t4_file_is_bad_data_and_its_value_is_named(command: Command, recorded: Path, tmp_path: Path) -> None:
    content = others_file()
    content["schema_version"] = "9"
    said = command.fails(ExitCode.BAD_DATA, "tune", "matmul", "--target", str(write(tmp_path / "bad.t4.json", content)))
    assert "bad.t4.json" in said
    assert "'9'" in said


def test_a_fleet_may_replay_several_problems(recorded: Path, tmp_path: Path) -> None:
    device = ReplayTarget("c", [(0, recorded)]).device.name
    write_t4(tmp_path / "own.t4.json", device, PROBLEM, own_trials(), SPACE)
    text = "target: {kind: replay, recordings: [{path: own.t4.json}, {path: matmul.t4.json.gz}]}"
    (tmp_path / "fleet.yaml").write_text(text)
    config = load_config(tmp_path / "fleet.yaml", {}, {})
    assert config.tuned_problems() == (PROBLEM, Problem.of("matmul", m=192, n=192, k=192))
    target = config.target.open()
    assert isinstance(target, ReplayTarget)
    assert target.device.name == device


def test_without_recordings_the_fleet_of_h100s_names_the_command_that_makes_them(
    command: Command, tmp_path: Path
) -> None:
    (tmp_path / "configs").mkdir()
    path = Path(shutil.copy(ROOT / "configs" / "gpu-replay.yaml", tmp_path / "configs"))
    config = load_config(path, {}, {})
    assert isinstance(config.target, ReplaySpec)
    with pytest.raises(DataError, match=r"softmax.*is not there: .*python -m benchmarks\.record_spaces"):
        config.tuned_problems()
    said = command.fails(ExitCode.BAD_DATA, "run", str(path), "--out", str(tmp_path / "run"))
    assert "python -m benchmarks.record_spaces" in said
    assert not (tmp_path / "run").exists()


def test_the_fleet_of_h100s_names_every_space_that_is_recorded() -> None:
    from benchmarks.record_spaces import file_name, problems

    config = load_config(ROOT / "configs" / "gpu-replay.yaml", {}, {})
    assert isinstance(config.target, ReplaySpec)
    named = {Path(recording.path) for recording in config.target.recordings}
    folder = ROOT / "quasim" / "targets" / "replay" / "spaces"
    assert named == {folder / file_name("h100", problem) for problem in problems()}


def test_tune_resumes_on_a_t4_file(command: Command, recorded: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    command("tune", "matmul", "--target", str(recorded), "--budget", "8", "--out", str(out))
    assert json.loads(out.read_text())["trials"][0]["energy_source"] == "model"
    again = command.json("tune", "matmul", "--target", str(recorded), "--budget", "16", "--resume", str(out))
    assert again["evaluations"] == 16
