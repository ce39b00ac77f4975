"""The process that puts a device's caps back when their holder says so, falls silent, or is gone."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from quasim.codec import from_json, to_json
from quasim.energy.actuators import Actuator, Setting
from quasim.energy.lease import HOLDING, RELEASE, RESTORED, CapLeaseError, Charge
from quasim.errors import QuasimError

WAIT_S = 20.0
"""For the watchdog before: it puts back within seconds of its holder's last word, unless the device hangs."""

AGAIN_S = 0.5
"""Between tries to put back, and before the second time that makes sure of the first: a holder that hung may wake up
and make a write that it had begun."""

TRIES = 240
"""A device that refuses for two minutes will not take it; the file stays for the next watchdog."""


def main() -> int:
    """Run as ``python -m quasim.energy.watchdog``, with a ``Charge`` as the first line on stdin."""
    # No child of the holder: process managers end children together with their parents.
    if os.fork():
        os._exit(0)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    try:
        charge = from_json(first_line(), Charge, "charge")
        with locked(charge.lock):
            watch(charge, charge.hands.open())
    except (QuasimError, OSError) as error:
        say(f"{error}\n".encode())
        return 1
    return 0


def watch(charge: Charge, actuator: Actuator) -> None:
    """Keep what holds, wait for the holder's end, put back.

    Raises:
        CapLeaseError: what an earlier watchdog left cannot be put back; its file stays, and nobody may set anything.
    """
    left = charge.outstanding()
    if left is not None and not restore(actuator, left):
        raise CapLeaseError(f"{actuator.device} does not take back what {charge.kept} holds", "set it by hand")
    before = actuator.setting()
    keep(charge.kept, before)
    say(HOLDING)
    await_end(charge.silence_s)
    if restore(actuator, before):
        charge.kept.unlink()
        say(RESTORED)
    actuator.close()


def first_line() -> bytes:
    """Of stdin, unbuffered: what follows it is waited for elsewhere."""
    line = b""
    while (byte := os.read(sys.stdin.fileno(), 1)) not in (b"", b"\n"):
        line += byte
    return line


def await_end(silence_s: float) -> None:
    """Return when the holder releases, is gone, or has said nothing for so long. It can say nothing afterwards."""
    stdin = sys.stdin.fileno()
    while True:
        ready, _, _ = select.select([stdin], [], [], silence_s)
        said = os.read(stdin, 4096) if ready else b""
        if not said or RELEASE in said:
            os.close(stdin)
            return


def restore(actuator: Actuator, before: Setting) -> bool:
    """Put back, twice; whether the device took it."""
    done = 0
    for _ in range(TRIES):
        try:
            actuator.apply(before)
            done += 1
        except QuasimError as error:
            sys.stderr.write(f"caps of {actuator.device} are not yet put back: {error}\n")
        if done == 2:
            return True
        time.sleep(AGAIN_S)
    return False


def keep(path: Path, setting: Setting) -> None:
    """Write so that a crash leaves the file whole or absent. Nobody else may read it, nor put a link in its place."""
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    with open(part, "xb", opener=_private) as file:
        file.write(to_json(setting))
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Be the device's one watchdog; the kernel gives the lock back, however a process ends.

    Raises:
        BlockingIOError: another still is, after ``WAIT_S``.
    """
    with open(path, "w", opener=_private) as file:
        for _ in range(int(WAIT_S / AGAIN_S)):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(AGAIN_S)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def say(line: bytes) -> None:
    """To the holder, if it is still there."""
    try:
        os.write(sys.stdout.fileno(), line)
    except OSError:
        return


if __name__ == "__main__":
    sys.exit(main())
