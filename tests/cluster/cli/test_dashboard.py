from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from cluster.config import FleetConfig
from cluster.run_folder import RunFolder
from quasim.errors import ExitCode
from quasim.targets.spec import Recording, ReplaySpec
from tests.cluster.test_cli import Command, command
from tests.conftest import ROOT

__all__ = ["command"]  # a fixture


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that nobody has worked on yet."""
    config = FleetConfig(target=ReplaySpec((Recording("nowhere.json.gz"),)))
    return RunFolder.create(tmp_path / "run", config).path


@contextmanager
def dashboard(*arguments: str) -> Iterator[tuple[str, str, int]]:
    """Address, token and process of a dashboard, which Ctrl-C ends well."""
    process = subprocess.Popen(
        [sys.executable, "-m", "quasim", "dashboard", "--port", "0", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        url, _, told = process.stdout.readline().partition("  ")
        path = told.strip().removeprefix("(log in with the token in ").removesuffix(")")
        yield url, Path(path).read_text().strip(), process.pid
    finally:
        process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=30)
    assert said == ""
    assert "Traceback" not in errors
    assert process.returncode == ExitCode.INTERRUPTED


def test_it_prints_where_it_is_keeps_the_token_in_its_file_and_does_without_ray(run: Path) -> None:
    with dashboard(str(run)) as (url, token, process):
        with httpx.Client(base_url=url, trust_env=False) as client:
            assert client.get("/api/run").status_code == 401
            assert client.post("/login", json={"token": token}).status_code == 200
            found = client.get("/api/run").json()
        assert (found["name"], found["state"], found["named"]) == ("run", "waiting", False)
        assert token not in url
        assert "_raylet" not in Path(f"/proc/{process}/maps").read_text()


def test_what_cannot_be_shown_or_would_be_exposed_is_refused(command: Command, run: Path, tmp_path: Path) -> None:
    assert "give one of the two" in command.fails(ExitCode.CONFIG, "dashboard")
    assert "give one of the two" in command.fails(ExitCode.CONFIG, "dashboard", str(run), "--runs", str(tmp_path))
    assert "holds no run" in command.fails(ExitCode.STORAGE, "dashboard", str(tmp_path))
    assert "--insecure-plain" in command.fails(ExitCode.CONFIG, "dashboard", str(run), "--host", "0.0.0.0")
    assert "both" in command.fails(ExitCode.CONFIG, "dashboard", str(run), "--tls-cert", "cert.pem")
    assert "no token file" in command.fails(ExitCode.CONFIG, "dashboard", str(run), "--token-file", "missing")
    assert "no site key" in command.fails(ExitCode.CONFIG, "dashboard", str(run), "--site-key", "missing")
    loose = tmp_path / "token"
    loose.write_text("a token that others can read\n")
    loose.chmod(0o644)
    assert "chmod 600" in command.fails(ExitCode.UNTRUSTED, "dashboard", str(run), "--token-file", str(loose))
