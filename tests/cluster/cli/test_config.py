from __future__ import annotations

from pathlib import Path

import pytest

from quasim.errors import ExitCode
from tests.cluster.test_cli import Command, command

__all__ = ["command"]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "fleet.yaml"
    path.write_text('target: {kind: c}\nproblems: [{kernel: matmul, shape: "k=6,m=4,n=5"}]\ncycles: 3\nseed: 7\n')
    return path


def test_settings_are_shown_with_their_origin_when_asked(
    command: Command, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUASIM_CYCLES", "4")
    code, plain, _ = command("config", "show", str(config), "--seed", "9")
    assert code == 0
    assert "QUASIM_CYCLES" not in plain
    code, out, _ = command("config", "show", str(config), "--seed", "9", "--origin")
    assert code == 0
    lines = {line.split("│")[1].strip(): line for line in out.splitlines() if line.startswith("│")}
    assert [word.strip() for word in lines["cycles"].split("│")[2:5]] == ["4", "variable", "QUASIM_CYCLES"]
    assert [word.strip() for word in lines["seed"].split("│")[2:5]] == ["9", "flag", "--seed"]
    assert [word.strip() for word in lines["aggregation.groups"].split("│")[2:4]] == ["true", "default"]
    assert "null" in lines["target.threads"]


def test_json_holds_every_origin(command: Command, config: Path) -> None:
    document = command.json("config", "show", str(config))
    assert document["file"] == str(config)
    shown = document["settings"]
    assert isinstance(shown, list)
    assert {"name": "cycles", "value": 3, "origin": "file", "source": str(config)} in shown


def test_a_config_that_no_run_would_take_is_refused(command: Command, config: Path) -> None:
    assert "cycles=0" in command.fails(ExitCode.CONFIG, "config", "show", str(config), "--cycles", "0")
