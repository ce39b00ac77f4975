"""The node service at work: carries out what the supervisor decides, and shows how it stands on a health endpoint."""

from __future__ import annotations

import queue
import random
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from cluster.service.config import NodeServiceConfig
from cluster.service.health import LOOPBACK, Health, health_endpoint
from cluster.service.raylet import Raylet, command, environment
from cluster.service.supervisor import (
    Asked,
    Drain,
    Ended,
    Event,
    Instruction,
    Joined,
    Kill,
    Leave,
    Start,
    State,
    Supervisor,
    Ticked,
)
from quasim.errors import ExitCode

TICK_S = 0.25
"""Time limits and waits are kept to about this."""

DEAF_S = 10.0
"""A service that handled nothing for so long is not live: it ticks forty times in it."""

LAST_WORDS = 20
"""Lines of a raylet's output that the health document shows: a traceback's end fits."""


class NodeService:
    """One machine's raylet, looked after until the service is asked to end.

    Args:
        address: of the head, such as ``10.0.0.1:6379``.
        name: of this machine in the fleet.
        environ: what the raylet inherits.
        say: gets what happens, line by line; called from the raylet's thread, too.

    Raises:
        TrustError: there is no token of the cluster.
    """

    def __init__(
        self, address: str, name: str, config: NodeServiceConfig, environ: dict[str, str], say: Callable[[str], None]
    ) -> None:
        self._address, self._name, self._say = address, name, say
        self._command, self._environ = command(address, name, config), environment(environ, config)
        self._port = config.health_port
        self._supervisor = Supervisor(config.restart, config.drain_s, random.Random(), time.monotonic())
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._words: deque[str] = deque(maxlen=LAST_WORDS)
        self._raylet: Raylet | None = None
        self._handled_s = time.monotonic()

    def run(self) -> ExitCode:
        """Look after the raylet until a signal asks for the end; call it in the main thread.

        Raises:
            ConfigError: the health port is taken.
        """
        with health_endpoint(self._port, self.health) as port, _signals(self._asked):
            self._say(f"node {self._name}: joins {self._address}; health at http://{LOOPBACK}:{port}/healthz")
            while True:
                for instruction in self._step():
                    if isinstance(instruction, Leave):
                        self._say(f"node {self._name}: left with exit code {instruction.code}")
                        return instruction.code
                    self._carry_out(instruction)

    def health(self) -> Health:
        """How it stands; called from the endpoint's threads."""
        now_s, supervisor, raylet = time.monotonic(), self._supervisor, self._raylet
        state = supervisor.state
        return Health(
            node=self._name,
            address=self._address,
            live=now_s - self._handled_s < DEAF_S,
            ready=state is State.READY,
            state=state.value,
            pid=raylet.pid if raylet else None,
            starts=supervisor.starts,
            failures=supervisor.failures,
            last_code=supervisor.last_code,
            last_words=tuple(self._words),
            next_start_s=max(0.0, supervisor.due_s - now_s) if state is State.WAITING else None,
        )

    def _step(self) -> list[Instruction]:
        try:
            event = self._events.get(timeout=TICK_S)
        except queue.Empty:
            event = Ticked(time.monotonic())
        self._handled_s = time.monotonic()
        if isinstance(event, Ended):
            self._reap()
        before = self._supervisor.state
        instructions = self._supervisor.handle(event)
        if self._supervisor.state is not before:
            self._say(f"node {self._name}: {self._described(event)}")
        return instructions

    def _described(self, event: Event) -> str:
        state = self._supervisor.state
        if isinstance(event, Ended) and state is State.WAITING:
            wait_s = self._supervisor.due_s - event.at_s
            return f"the raylet ended by itself (code {event.code}); the next start is in {wait_s:.1f} s"
        return f"{state.value} (start {self._supervisor.starts})"

    def _carry_out(self, instruction: Instruction) -> None:
        if isinstance(instruction, Start):
            self._words.clear()
            self._raylet = Raylet(self._command, self._environ, self._heard, self._joined, self._ended)
        elif self._raylet and isinstance(instruction, Drain):
            self._raylet.drain()
        elif self._raylet and isinstance(instruction, Kill):
            self._raylet.kill()

    def _reap(self) -> None:
        if self._raylet:
            self._raylet.close()
            self._raylet = None

    def _heard(self, line: str) -> None:
        if line:
            self._words.append(line)
            self._say(f"ray: {line}")

    def _joined(self) -> None:
        self._events.put(Joined(time.monotonic()))

    def _ended(self, code: int) -> None:
        self._events.put(Ended(time.monotonic(), code))

    def _asked(self) -> None:
        self._events.put(Asked(time.monotonic()))


@contextmanager
def _signals(asked: Callable[[], None]) -> Iterator[None]:
    """Call ``asked`` at SIGTERM, Ctrl-C and the end of the terminal, while the block runs."""

    def handle(number: int, frame: FrameType | None) -> None:
        asked()

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
