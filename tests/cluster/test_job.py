"""A cluster job against a real ``ray start --head`` with token authentication; the project is not installed there."""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder with a short name: Ray's sockets lie in it, and their paths are limited to 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="q", ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.fixture(scope="module")
def environment(folder: Path) -> dict[str, str]:
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    kept = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_TOKEN"}
    return {
        **kept,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "QUASIM_HOME": str(folder / "site"),
    }


@pytest.fixture(scope="module")
def head(folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """The dashboard address of a head of our own; ended by its own process alone."""
    port, dashboard = free_port(), free_port()
    command = [
        *("ray", "start", "--head", "--block", "--disable-usage-stats", "--num-cpus=2"),
        *(f"--port={port}", f"--dashboard-port={dashboard}", f"--temp-dir={folder / 'ray'}"),
        # By default every Ray of a machine wants the same ports for these, and another may be running.
        *(f"--{name}-port={free_port()}" for name in ("dashboard-agent-listen", "dashboard-agent-grpc")),
        *(f"--{name}-port={free_port()}" for name in ("metrics-export", "runtime-env-agent")),
    ]
    said = folder / "head.log"
    with said.open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while "now block forever" not in said.read_text():
            assert process.poll() is None, said.read_text()
            assert time.monotonic() < deadline, "the head did not start"
            time.sleep(0.2)
        yield f"http://127.0.0.1:{dashboard}"
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.ray
def test_a_submitted_job_runs_a_fleet_and_prints_its_report(
    tmp_path: Path, head: str, environment: dict[str, str], recorded_space: Path
) -> None:
    (tmp_path / "fleet.yaml").write_text(
        f"target: {{kind: replay, recordings: [{{path: {recorded_space}}}]}}\nagents: 2\ncycles: 2\nevaluations: 5\n"
    )
    command = ["ray", "job", "submit", "--working-dir", str(ROOT), "--"]
    for _ in range(10):
        job = subprocess.run(
            [*command, "python", "-m", "cluster.job", str(tmp_path / "fleet.yaml")],
            env={**environment, "RAY_ADDRESS": head},
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        # A head says that it is up before the agent that takes jobs is.
        if "No available agent" not in job.stderr:
            break
        time.sleep(1)
    assert job.returncode == 0, job.stdout + job.stderr
    [line] = re.findall(r"^\{.*\}$", job.stdout, re.MULTILINE)
    fleet = json.loads(line)["fleet"]
    assert fleet["cycles"] == fleet["policy_versions"] == 2
    assert fleet["rows"]["sent"] == fleet["rows"]["acknowledged"] == fleet["rows"]["stored"] > 0


@pytest.mark.ray
def test_who_has_no_token_cannot_submit(head: str, environment: dict[str, str], tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("0" * 64)
    job = subprocess.run(
        ["ray", "job", "submit", "--", "true"],
        env={**environment, "RAY_ADDRESS": head, "RAY_AUTH_TOKEN_PATH": str(wrong)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert job.returncode != 0
