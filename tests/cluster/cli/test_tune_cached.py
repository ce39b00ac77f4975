from __future__ import annotations

from pathlib import Path

import pytest

from quasim.errors import ExitCode
from tests.cluster.test_cli import Command, command

__all__ = ["command"]


@pytest.fixture
def tune(recorded_space: Path, tmp_path: Path) -> tuple[str, ...]:
    return "tune", "matmul", "--target", str(recorded_space), "--cache", str(tmp_path / "tuned")


def effort(document: dict[str, object]) -> dict[str, object]:
    """Of a document whose answer came from the cache."""
    assert document["evaluations"] == 0
    cached = document["cached"]
    assert isinstance(cached, dict)
    return cached


def test_what_was_tuned_is_answered_from_the_cache_and_says_when(command: Command, tune: tuple[str, ...]) -> None:
    first = command.json(*tune, "--budget", "16")
    again = command.json(*tune, "--budget", "12")
    assert first["cached"] is None
    assert (again["best"], again["evaluations"], again["trials"]) == (first["best"], 0, [])
    assert effort(again)["evaluations"] == 16
    said = command(*tune, "--budget", "12")[1]
    assert "cached" in said
    assert f"tuned on {str(effort(again)['tuned_at'])[:10]}" in said


def test_a_larger_budget_tunes_again_and_a_smaller_one_replaces_nothing(
    command: Command, tune: tuple[str, ...], tmp_path: Path
) -> None:
    command(*tune, "--budget", "16")
    assert command.json(*tune, "--budget", "24")["evaluations"] == 24
    assert command.json(*tune, "--budget", "8", "--out", str(tmp_path / "report.json"))["evaluations"] == 8
    assert effort(command.json(*tune, "--budget", "24"))["evaluations"] == 24


def test_fresh_tunes_and_replaces(command: Command, tune: tuple[str, ...]) -> None:
    command(*tune, "--budget", "16")
    assert command.json(*tune, "--budget", "8", "--fresh")["evaluations"] == 8
    assert effort(command.json(*tune, "--budget", "8"))["evaluations"] == 8


def test_a_space_that_was_searched_whole_is_not_searched_again(command: Command, tune: tuple[str, ...]) -> None:
    assert command.json(*tune, "--budget", "500")["evaluations"] == 240
    assert effort(command.json(*tune, "--budget", "500"))["evaluations"] == 240


def test_a_device_that_changed_is_tuned_again_and_what_changed_is_said(
    command: Command, tune: tuple[str, ...], slower_space: Path
) -> None:
    command(*tune, "--budget", "8")
    changed = [str(slower_space) if part.endswith(".json.gz") else part for part in tune]
    code, out, err = command(*changed, "--budget", "8", "--json")
    assert code == 0
    assert '"cached":null' in out
    assert "not in the cache: recording-0 of matmul" in err.replace("\n", " ")


def test_a_recording_is_not_kept_unless_a_cache_is_named(
    command: Command, recorded_space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUASIM_CACHE_DIR", str(tmp_path / "cache"))
    for _ in range(2):
        assert command.json("tune", "matmul", "--target", str(recorded_space), "--budget", "8")["evaluations"] == 8
    assert not (tmp_path / "cache").exists()


def test_a_cache_that_others_may_write_is_refused(command: Command, tune: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "tuned").mkdir(mode=0o755)
    assert "chmod 700" in command.fails(ExitCode.UNTRUSTED, *tune)
