from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from quasim.errors import ExitCode
from quasim.targets.replay import ReplayTarget
from tests.cluster.test_cli import Command, command

__all__ = ["command"]


@pytest.fixture
def config(recorded_space: Path, tmp_path: Path) -> Path:
    path = tmp_path / "background.yaml"
    path.write_text(
        f"target: {{kind: replay, recordings: [{{path: {recorded_space}}}]}}\n"
        f"folder: {tmp_path / 'state'}\ncache: {tmp_path / 'tuned'}\nstrategy: random\ngenomes: 64\n"
    )
    return path


def test_idle_tuning_runs_until_there_is_nothing_to_do_and_tune_answers_from_its_cache(
    command: Command, config: Path, recorded_space: Path, tmp_path: Path
) -> None:
    report = command.json("node", "background", str(config), "--until-rest")
    assert report["rest"] == "every search space was searched whole"
    turns = report["turns"]
    assert isinstance(turns, list)
    assert turns[-1]["evaluations"] == 240
    assert all(turn["joules"] is None and "no meter" in turn["unmetered"] for turn in turns)
    tuned = command.json(
        "tune", "matmul", "--target", str(recorded_space), "--budget", "200", "--cache", str(tmp_path / "tuned")
    )
    assert (tuned["evaluations"], tuned["cached"]["evaluations"]) == (0, 240)  # type: ignore[index]
    assert tuned["best"]["timing"]["median_ns"] == turns[-1]["after_ns"]  # type: ignore[index]


def test_a_second_start_goes_on_and_says_what_it_did(command: Command, config: Path) -> None:
    assert "every search space was searched whole" in command("node", "background", str(config), "--until-rest")[2]
    code, out, err = command("node", "background", str(config), "--until-rest")
    assert code == 0
    assert "240 of 240" in out
    assert "unmetered: the replay target has no meter" in out
    assert "genomes in" not in err


def test_it_ends_when_its_time_is_up(command: Command, config: Path) -> None:
    report = command.json("node", "background", str(config), "--minutes", "0")
    assert (report["turns"], report["rest"]) == ([], "")


def test_it_rests_no_longer_than_its_time(command: Command, config: Path) -> None:
    command("node", "background", str(config), "--until-rest")
    code, _, err = command("node", "background", str(config), "--minutes", "0.005")
    assert code == 0
    assert "rests until" in err


def test_ctrl_c_ends_it_and_the_next_start_goes_on(
    command: Command, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate = ReplayTarget.evaluate
    calls = iter(range(100))

    def interrupted(*arguments: object) -> object:
        if next(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return evaluate(*arguments)  # type: ignore[arg-type]

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(ReplayTarget, "evaluate", interrupted)
            code, out, _ = command("node", "background", str(config))
    finally:
        signal.signal(signal.SIGINT, before)
    assert (code, out) == (ExitCode.INTERRUPTED, "")
    state = json.loads((config.parent / "state" / "state.json").read_text())
    assert [search["progress"]["paid"] for search in state["searches"]] == [2]
    report = command.json("node", "background", str(config), "--until-rest")
    assert report["node"]["problems"][0]["paid"] == 240  # type: ignore[index]


def test_a_config_that_does_not_hold_is_refused(command: Command, config: Path) -> None:
    config.write_text("target: {kind: c}\n")
    assert "problems" in command.fails(ExitCode.CONFIG, "node", "background", str(config))
