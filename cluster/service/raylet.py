"""A raylet of this machine as a child process: ``ray start --address … --block``."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from cluster.logs import FILE_BYTES, FILES_KEPT
from cluster.service.config import LABEL, NodeServiceConfig
from quasim.errors import TrustError

JOINED = "Ray runtime started."
"""What ``ray start`` prints once the cluster knows the node."""


def command(address: str, name: str, config: NodeServiceConfig) -> list[str]:
    """The command line that joins the cluster at ``address`` as the node ``name``."""
    labels = {LABEL: name, **config.labels}
    return [
        # The interpreter that runs the service, whatever PATH a service manager gives it.
        *(sys.executable, "-m", "ray.scripts.scripts", "start", f"--address={address}", "--block"),
        *("--log-style=record", "--log-color=false"),
        "--labels=" + ",".join(f"{key}={value}" for key, value in labels.items()),
        *(f"--{flag}={value}" for flag, value in config.ray.items()),
    ]


def environment(environ: Mapping[str, str], config: NodeServiceConfig) -> dict[str, str]:
    """What the raylet and all that it starts inherit: token authentication on, usage reports off.

    Raises:
        TrustError: there is no token, with which alone Ray would let the node in.
    """
    require_token(environ)
    return {
        # Ray's own log files of this machine; by itself it would let each grow to half a gigabyte.
        "RAY_ROTATION_MAX_BYTES": str(FILE_BYTES),
        "RAY_ROTATION_BACKUP_COUNT": str(FILES_KEPT),
        **environ,
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
        # After SIGTERM Ray marks the node as draining, and ends it once it is idle or this time is over.
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": f"{config.drain_s:g}",
        "PYTHONUNBUFFERED": "1",
    }


def require_token(environ: Mapping[str, str]) -> None:
    """Look where Ray looks for its token, in its order.

    Raises:
        TrustError: there is none.
    """
    if environ.get("RAY_AUTH_TOKEN"):
        return
    named = environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named) if named else Path(environ.get("HOME") or "~").expanduser() / ".ray" / "auth_token"
    try:
        found = bool(path.read_text().strip())
    except OSError:
        found = False
    if not found:
        raise TrustError(
            f"no token of the Ray cluster in {path}",
            "copy ~/.ray/auth_token of the head there (mode 0600), or name its file in RAY_AUTH_TOKEN_PATH",
        )


class Raylet:
    """A running ``ray start``; a thread reads what it prints.

    Args:
        heard: gets each line; runs in that thread.
        joined: called once the cluster knows the node, there too.
        ended: gets the exit status when the process has ended, there too.
    """

    def __init__(
        self,
        arguments: list[str],
        environ: Mapping[str, str],
        heard: Callable[[str], None],
        joined: Callable[[], None],
        ended: Callable[[int], None],
    ) -> None:
        self._process = subprocess.Popen(
            arguments,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            # Ctrl-C is the service's: Ray would take it as an order to end at once.
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, args=(heard, joined, ended), name="raylet", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Of ``ray start``; the raylet and its workers are its children and end with it."""
        return self._process.pid

    def drain(self) -> None:
        """Have Ray mark the node as draining and end it once it is idle."""
        self._process.terminate()

    def kill(self) -> None:
        """End it at once; the kernel ends Ray's other processes with it."""
        self._process.kill()

    def close(self) -> None:
        """Wait for the thread that reads; the process has ended."""
        self._reader.join()

    def _read(self, heard: Callable[[str], None], joined: Callable[[], None], ended: Callable[[int], None]) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                heard(line.rstrip())
                if JOINED in line:
                    joined()
        ended(self._process.wait())
