"""An SSH server of our own on this machine, whose logins find a home folder of their own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.ray_head import free_port

SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")

MISSING = [
    name
    for name, found in {"sshd": SSHD, "rsync": shutil.which("rsync"), "ssh": shutil.which("ssh")}.items()
    if not found
]

MARK = "QUASIM_SSH_HOST"
"""Environment variable that tells the processes which a login left behind."""


@dataclass(frozen=True)
class SshHost:
    """A machine to log in to.

    Attributes:
        home: of who logs in.
        auth: section of a file for `ray up`.
    """

    home: Path
    auth: dict[str, str]


@contextmanager
def ssh_host(folder: Path) -> Iterator[SshHost]:
    """A server on 127.0.0.1 while the block runs; whatever its logins started ends with it."""
    home, port = folder / "host", free_port()
    home.mkdir()
    for key in ("host-key", "user-key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], check=True)
    # OpenSSH wants it, whatever its settings are; it is empty, and in memory.
    with suppress(PermissionError):
        Path("/run/sshd").mkdir(exist_ok=True)
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder / 'host-key'}\nAuthorizedKeysFile {folder / 'user-key.pub'}\n"
        "PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
        f"SetEnv HOME={home} {MARK}={folder}\n"
    )
    with (folder / "sshd.log").open("w") as log:
        server = subprocess.Popen([str(SSHD), "-D", "-e", "-f", str(folder / "sshd_config")], stderr=log)
    try:
        # `ray up` knows no port but 22.
        through = f"bash -c 'exec 3<>/dev/tcp/%h/{port}; cat <&3 & cat >&3; kill $!'"
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        auth = {"ssh_user": user, "ssh_private_key": str(folder / "user-key"), "ssh_proxy_command": through}
        yield SshHost(home, auth)
    finally:
        server.terminate()
        server.wait(30)
        _end_all(f"{MARK}={folder}".encode())


def _end_all(mark: bytes) -> None:
    """End what carries the mark: with a request first, then by force."""
    for number, patience in ((signal.SIGTERM, 50), (signal.SIGKILL, 50)):
        for process in _marked(mark):
            with suppress(ProcessLookupError):
                os.kill(process, number)
        for _ in range(patience):
            if not _marked(mark):
                return
            time.sleep(0.1)


def _marked(mark: bytes) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        # A process may end while we look, and those of other users are closed to us.
        with suppress(OSError):
            if entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found
