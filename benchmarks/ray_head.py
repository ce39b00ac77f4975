"""A ``ray start --head`` of our own with token authentication, for benchmarks and tests of commands."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from quasim.errors import QuasimError

BIN = Path(sys.executable).parent


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def own_ports() -> dict[str, int]:
    """By default every Ray of a machine wants the same ports for these, and another may be running."""
    names = (
        "dashboard-agent-listen-port",
        "dashboard-agent-grpc-port",
        "metrics-export-port",
        "runtime-env-agent-port",
    )
    return {name: free_port() for name in names}


@dataclass(frozen=True)
class Head:
    """A running head.

    Attributes:
        address: of the cluster, for nodes and drivers.
        dashboard: for jobs.
        environment: of who may use it.
    """

    address: str
    dashboard: str
    environment: dict[str, str]


def token_environment(folder: Path) -> dict[str, str]:
    """This environment with a fresh token, and with a site of its own."""
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


@contextmanager
def running_head(folder: Path, more: Mapping[str, str] = {}) -> Iterator[Head]:
    """A head that ends with the block, by its own process alone.

    Args:
        folder: with a short name: Ray's sockets lie in it, and their paths are limited to 107 bytes.
        more: variables of its environment, and so of the jobs that it runs.

    Raises:
        QuasimError: it does not start.
    """
    environment = {**token_environment(folder), **more}
    port, dashboard = free_port(), free_port()
    command = [
        *("ray", "start", "--head", "--block", "--disable-usage-stats", "--num-cpus=2"),
        *(f"--port={port}", f"--dashboard-port={dashboard}", f"--temp-dir={folder / 'ray'}"),
        *(f"--{name}={number}" for name, number in own_ports().items()),
    ]
    said = folder / "head.log"
    with said.open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while "now block forever" not in said.read_text():
            if process.poll() is not None or time.monotonic() > deadline:
                raise QuasimError(f"the head did not start within 60 s: {said.read_text()}")
            time.sleep(0.2)
        yield Head(f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard}", environment)
    finally:
        process.terminate()
        process.wait(45)
