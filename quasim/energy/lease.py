"""The right to set a device's caps, which ends by itself: a watchdog puts back what was, however its holder ends.

    holder ── starts ──► watchdog: locks the device's caps, keeps what holds in a file, says "holding"
    holder ── a byte a period ──► watchdog        silence of 3 s, or the pipe's end (kill -9) ──► put back, end
    holder ── "release" ──► watchdog: put back, says "restored", end

The watchdog alone puts back. Should it and the holder both die at once, the file is found by the next watchdog of the
device, which puts that back first.
"""

from __future__ import annotations

import os
import select
import stat
import subprocess
import sys
from pathlib import Path

import msgspec

from quasim.codec import from_json, to_json
from quasim.energy.actuators import Setting
from quasim.energy.hands import Hands
from quasim.errors import QuasimError, TrustError
from quasim.worker.process import ROOT, without_secrets

SILENCE_S = 3.0
"""A holder that hangs is given up after this; with the time to put back it stays below the five seconds promised."""

START_S = 30.0
"""A watchdog starts Python, and may have to wait until an earlier one has put back."""

RELEASE = b"r"
ALIVE = b"."
HOLDING, RESTORED = b"holding\n", b"restored\n"


class CapLeaseError(QuasimError):
    """The right to set caps was not had, or was lost: nothing may be set any more."""


class Charge(msgspec.Struct, frozen=True):
    """What a watchdog is told.

    Attributes:
        folder: where locks and what has to be put back are kept.
        name: of the device, as part of file names.
        silence_s: how long the holder may say nothing.
    """

    hands: Hands
    folder: str
    name: str
    silence_s: float = SILENCE_S

    @property
    def lock(self) -> Path:
        """Held by the one watchdog of the device."""
        return Path(self.folder, f"{self.name}.caps-lock")

    @property
    def kept(self) -> Path:
        """What has to be put back; there only while caps may be set."""
        return Path(self.folder, f"{self.name}.caps")

    def outstanding(self) -> Setting | None:
        """What an earlier watchdog did not put back; None where none had to.

        Raises:
            TrustError: a link, or a file that others own or may write: it would be set with our rights.
            DataError: the file holds no setting.
        """
        try:
            facts = self.kept.lstat()
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o022:
            raise TrustError(f"{self.kept} is a link, or others own or may write it", "look at it, and remove it")
        return from_json(self.kept.read_bytes(), Setting, str(self.kept))


class CapLease:
    """Held by who sets caps. Renew before every write, and at least once in ``silence_s``.

    Args:
        charge: for the watchdog, which is started here, in a session of its own and with no parent: what ends its
            holder's processes all together does not end it.

    Raises:
        CapLeaseError: the watchdog did not come up, as when another holds the device; the message has its words.
    """

    def __init__(self, charge: Charge) -> None:
        self._charge = charge
        self._watchdog: subprocess.Popen[bytes] | None = subprocess.Popen(
            [sys.executable, "-m", "quasim.energy.watchdog"],
            bufsize=0,
            cwd=ROOT,
            env=without_secrets(os.environ),
            start_new_session=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            self._write(to_json(charge) + b"\n")
            answer = self._line(START_S)
        except BaseException:
            self._close()
            raise
        if answer != HOLDING:
            self._close()
            raise CapLeaseError(
                f"no watchdog holds {charge.name}: {answer.decode(errors='replace').strip() or 'it ended'}",
                "see whether another regulator holds the device",
            )

    @property
    def held(self) -> bool:
        """Whether caps may be set, as far as is known."""
        return self._watchdog is not None

    def renew(self) -> None:
        """Say that the holder lives.

        Raises:
            CapLeaseError: the watchdog is gone, and has put back what was, or could not.
        """
        self._write(ALIVE)

    def release(self) -> None:
        """Have everything put back, and wait for it. Idempotent.

        Raises:
            CapLeaseError: it was not put back in time, or the watchdog is gone; the next one will do it.
        """
        if self._watchdog is None:
            return
        try:
            self._write(RELEASE)
            answer = self._line(self._charge.silence_s + START_S)
        finally:
            self._close()
        if answer != RESTORED:
            raise CapLeaseError(f"{self._charge.name} was not put back", f"see {self._charge.kept}")

    def _write(self, data: bytes) -> None:
        if self._watchdog is None:
            raise CapLeaseError(f"the caps of {self._charge.name} are not held", "take the lease anew")
        assert self._watchdog.stdin is not None
        try:
            os.write(self._watchdog.stdin.fileno(), data)
        except OSError as error:
            self._close()
            raise CapLeaseError(
                f"the watchdog of {self._charge.name} is gone ({error})", "take the lease anew"
            ) from error

    def _line(self, timeout_s: float) -> bytes:
        """What the watchdog says next; empty where it says nothing in time, or has ended."""
        assert self._watchdog is not None
        assert self._watchdog.stdout is not None
        ready, _, _ = select.select([self._watchdog.stdout], [], [], timeout_s)
        return os.read(self._watchdog.stdout.fileno(), 4096) if ready else b""

    def _close(self) -> None:
        """Let the watchdog go: its pipe ends, and it puts back whatever it has not yet."""
        if self._watchdog is None:
            return
        for pipe in (self._watchdog.stdin, self._watchdog.stdout):
            assert pipe is not None
            pipe.close()
        # What was started has long ended: the watchdog is its child, see ``watchdog.main``.
        self._watchdog.wait()
        self._watchdog = None
