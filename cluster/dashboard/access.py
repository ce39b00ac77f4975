"""Who may look: one token opens sessions, wrong ones wait ever longer. Pure: clock and entropy are passed in."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")

FREE_TRIES = 3
"""A slip of the hand costs nothing."""

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 300.0
"""Doubled from the first to the longest with every wrong token; a right one forgets them."""

FORGET_S = 3600.0
"""So long without a try after its wait, a peer is as good as new."""

SESSION_S = 12 * 3600.0
"""A working day; the cookie ends with it."""

MOST_SESSIONS = 1024
MOST_PEERS = 4096
"""Bounds of memory; the oldest goes first."""


@dataclass(frozen=True, slots=True)
class Granted:
    """A session began; ``session`` is its secret."""

    session: str


@dataclass(frozen=True, slots=True)
class Refused:
    """No session; ``wait_s``: how long the next try has to wait."""

    wait_s: float


class Limit:
    """How long each peer has to wait for its next try.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures: dict[str, tuple[int, float]] = {}

    def wait_s(self, peer: str) -> float:
        """Seconds until a try counts; 0: now."""
        _, until = self._failures.get(peer, (0, 0.0))
        return max(0.0, until - self._clock())

    def failed(self, peer: str) -> None:
        """Count a wrong token."""
        now = self._clock()
        before, until = self._failures.pop(peer, (0, now))
        count = 1 if now - until > FORGET_S else before + 1
        over = count - FREE_TRIES
        wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(over, 32)) if over >= 0 else 0.0
        self._failures[peer] = count, now + wait_s
        _keep(self._failures, MOST_PEERS)

    def succeeded(self, peer: str) -> None:
        """Forget what was wrong."""
        self._failures.pop(peer, None)


class Access:
    """Sessions that the token opened. Secrets are kept as digests alone.

    Args:
        clock: seconds, monotonic.
        secret: gives a new session's secret.
    """

    def __init__(
        self, token: str, clock: Callable[[], float], secret: Callable[[], str] = secrets.token_urlsafe
    ) -> None:
        self._token = _digest(token)
        self._clock, self._secret = clock, secret
        self._limit = Limit(clock)
        self._sessions: dict[bytes, float] = {}

    def login(self, peer: str, token: str) -> Granted | Refused:
        """A session for who has the token; while a peer has to wait, not even the right one is looked at."""
        wait_s = self._limit.wait_s(peer)
        if wait_s:
            return Refused(wait_s)
        # Digests are of one length, so that the time tells nothing of the token's.
        if not hmac.compare_digest(_digest(token), self._token):
            self._limit.failed(peer)
            return Refused(self._limit.wait_s(peer))
        self._limit.succeeded(peer)
        session = self._secret()
        self._sessions[_digest(session)] = self._clock() + SESSION_S
        _keep(self._sessions, MOST_SESSIONS)
        return Granted(session)

    def admits(self, session: str) -> bool:
        """Whether it is the secret of a session that has not ended."""
        end = self._sessions.get(_digest(session))
        return end is not None and self._clock() < end

    def logout(self, session: str) -> None:
        """End a session."""
        self._sessions.pop(_digest(session), None)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _keep(entries: dict[K, V], most: int) -> None:
    """Drop the oldest entry above ``most``."""
    if len(entries) > most:
        del entries[next(iter(entries))]
