"""When a raylet is started, drained, killed and given up, as a pure state machine.

::

    waiting ──due──► joining ──joined──► ready
       ▲                └──────ended───────┤ ended: wait by the back-off
       └───────────────────────────────────┘
    asked to end:  waiting ─► over (0)
                   joining, ready ─► draining ──ended──► over (0)
                                        └─ limit, or asked again ─► killing ──ended──► over (1)
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum

from cluster.service.backoff import Backoff
from quasim.errors import ExitCode


class State(str, Enum):
    """Where the raylet stands."""

    WAITING = "waiting"
    JOINING = "joining"
    READY = "ready"
    DRAINING = "draining"
    KILLING = "killing"
    OVER = "over"


@dataclass(frozen=True, slots=True)
class Joined:
    """The raylet is a node of the cluster."""

    at_s: float


@dataclass(frozen=True, slots=True)
class Ended:
    """The raylet's process ended.

    Attributes:
        code: its exit status; negative: the signal that ended it.
    """

    at_s: float
    code: int


@dataclass(frozen=True, slots=True)
class Asked:
    """The service was asked to end, by a signal."""

    at_s: float


@dataclass(frozen=True, slots=True)
class Ticked:
    """Nothing but time passed."""

    at_s: float


Event = Joined | Ended | Asked | Ticked
"""Each with its moment ``at_s`` in seconds of one monotonic clock."""


@dataclass(frozen=True, slots=True)
class Start:
    """Start a raylet."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Let the raylet finish what runs on it and leave."""


@dataclass(frozen=True, slots=True)
class Kill:
    """End the raylet at once."""


@dataclass(frozen=True, slots=True)
class Leave:
    """End the service with this exit code."""

    code: ExitCode


Instruction = Start | Drain | Kill | Leave


class Supervisor:
    """Decides; whoever runs it owns the process and the clock.

    Attributes:
        state: see ``State``.
        starts: raylets started so far.
        failures: of them in a row that ended by themselves before they had been ready for long.
        last_code: exit status of the last raylet that ended by itself; None: none has.
        due_s: when the next one starts, in the events' clock; of ``waiting`` alone.
    """

    def __init__(self, backoff: Backoff, drain_s: float, rng: random.Random, now_s: float) -> None:
        self._backoff, self._drain_s, self._rng = backoff, drain_s, rng
        self._ready_s = self._drain_until_s = 0.0
        self.state = State.WAITING
        self.starts = self.failures = 0
        self.last_code: int | None = None
        self.due_s = now_s

    def handle(self, event: Event) -> list[Instruction]:
        """What to do now. An event that a state does not expect changes nothing: signals and ends cross."""
        if isinstance(event, Asked):
            return self._asked(event.at_s)
        if isinstance(event, Ended):
            return self._ended(event)
        if isinstance(event, Joined):
            return self._joined(event.at_s)
        return self._ticked(event.at_s)

    def _ticked(self, now_s: float) -> list[Instruction]:
        if self.state is State.WAITING and now_s >= self.due_s:
            self.state = State.JOINING
            self.starts += 1
            return [Start()]
        if self.state is State.DRAINING and now_s >= self._drain_until_s:
            return self._kill()
        return []

    def _joined(self, now_s: float) -> list[Instruction]:
        if self.state is State.JOINING:
            self.state, self._ready_s = State.READY, now_s
        return []

    def _ended(self, event: Ended) -> list[Instruction]:
        if self.state in (State.DRAINING, State.KILLING):
            return self._leave(ExitCode.OK if self.state is State.DRAINING else ExitCode.FAILED)
        healthy = self.state is State.READY and event.at_s - self._ready_s >= self._backoff.healthy_s
        self.failures = 1 if healthy else self.failures + 1
        self.last_code = event.code
        self.due_s = event.at_s + self._backoff.wait_s(self.failures, self._rng)
        self.state = State.WAITING
        return []

    def _asked(self, now_s: float) -> list[Instruction]:
        if self.state is State.WAITING:
            return self._leave(ExitCode.OK)
        if self.state is State.DRAINING:
            return self._kill()
        if self.state in (State.JOINING, State.READY):
            self.state, self._drain_until_s = State.DRAINING, now_s + self._drain_s
            return [Drain()]
        return []

    def _kill(self) -> list[Instruction]:
        self.state = State.KILLING
        return [Kill()]

    def _leave(self, code: ExitCode) -> list[Instruction]:
        self.state = State.OVER
        return [Leave(code)]
