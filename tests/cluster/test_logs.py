"""Logs of commands, services and whole runs; and that none of them holds a secret."""

from __future__ import annotations

import json
import logging
import os
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.log_lines import LogLine
from cluster import logs
from quasim.codec import from_json
from quasim.errors import ExitCode
from tests.cluster.documents import validator
from tests.cluster.test_cli import Command, command

__all__ = ["command"]

LOG = logging.getLogger("quasim.of-the-logs-test")


@pytest.fixture(autouse=True)
def own_handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The root logger and the switch as they were, whatever a test installs."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", list(root.handlers))
    monkeypatch.setenv("QUASIM_LOG", "text")
    before, level = list(root.handlers), root.level
    yield
    root.setLevel(level)
    for handler in root.handlers:
        if handler not in before:
            handler.close()


def test_a_command_logs_json_lines_where_it_is_told_to(command: Command, tmp_path: Path) -> None:
    code, _, err = command("--log-json", "evolve", "init", "--out", str(tmp_path / "population.json"))
    assert code == 0
    (line,) = [json.loads(line) for line in err.splitlines()]
    validator("log-line").validate(line)
    assert line["text"] == f"population written to {tmp_path / 'population.json'}"


def test_an_error_is_a_json_line_there_too(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUASIM_LOG", "json")
    code, out, err = command("tune", "nothing", "--shape", "m=1")
    assert (code, out) == (ExitCode.CONFIG, "")
    (line,) = [from_json(line, LogLine) for line in err.splitlines()]
    assert line.level == "error"
    assert "nothing" in line.text


def test_a_form_that_there_is_not_is_a_config_error(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUASIM_LOG", "xml")
    assert "use one of json, text" in command.fails(ExitCode.CONFIG, "kernel", "list")


def test_a_services_file_rotates_and_keeps_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "FILE_BYTES", 4096)
    monkeypatch.setattr(logs, "FILES_KEPT", 2)
    logs.log_to(tmp_path / "logs" / "node.log", os.environ, node="node-0")
    for number in range(100):
        LOG.info("beat %d", number)
    files = sorted((tmp_path / "logs").iterdir())
    assert [file.name for file in files] == ["node.log", "node.log.1", "node.log.2"]
    assert all(file.stat().st_size <= 4096 for file in files)
    kept = [from_json(line, LogLine) for file in reversed(files) for line in file.read_text().splitlines()]
    assert [line.text for line in kept] == [f"beat {number}" for number in range(100 - len(kept), 100)]
    assert {line.node for line in kept} == {"node-0"}


def secrets(home: Path) -> dict[str, bytes]:
    """Keys and tokens of this site, by where they lie."""
    files = [file for file in home.rglob("*") if file.is_file() and (file.suffix in (".key", ".token"))]
    return {str(file): file.read_bytes() for file in files} | {"RAY_AUTH_TOKEN": os.environ["RAY_AUTH_TOKEN"].encode()}


def holds(logged: bytes, secret: bytes) -> bool:
    forms = (secret.strip(), secret.hex().encode(), secret.hex().upper().encode(), b64encode(secret).rstrip(b"="))
    return any(form in logged for form in forms)


@pytest.mark.ray
def test_a_run_logs_its_ids_and_no_secret(replayed_run: Path) -> None:
    import ray

    session = Path(ray._private.worker._global_node.get_logs_dir_path())  # type: ignore[attr-defined]
    # Where there are many, Ray puts those of processes that have ended into a folder of their own.
    of_actors = b"".join(file.read_bytes() for file in session.rglob("worker-*.err")).splitlines()
    said = [from_json(line, LogLine) for line in of_actors if b'"run":"replayed"' in line]
    assert {line.source for line in said if line.batch and not line.node} == {"storage.segments"}
    assert {line.round for line in said if line.source == "actors.aggregator"} == {0, 1}
    driver = replayed_run.with_suffix(".log").read_bytes()
    assert {from_json(line, LogLine).run for line in driver.splitlines()} == {"replayed"}

    others = [*session.rglob("*"), *(replayed_run / "live").iterdir()]
    everything = driver + b"".join(file.read_bytes() for file in others if file.is_file())
    known = secrets(Path(os.environ["QUASIM_HOME"]))
    assert {Path(name).name for name in known} >= {"site.key", "signing.key", "root.key", "RAY_AUTH_TOKEN"}
    assert [name for name, secret in known.items() if holds(everything, secret)] == []
