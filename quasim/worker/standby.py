"""A worker with others behind it: when it is lost, one that has started already takes its place.

Starting a GPU worker takes seconds (PyTorch's import and a context); a variant that poisons its context costs one.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress

from quasim.errors import QuasimError
from quasim.worker.process import Limits, Worker, WorkerStartError
from quasim.worker.protocol import Ready, Reply, Request

TRIES = 3
"""Workers in a row that may die while they start: one may be the host's or the device's mood, three are a fault."""


class StandbyWorker:
    """Speaks like a ``Worker``. Not shared between threads.

    Args:
        spares: how many wait behind the one that works.
    """

    def __init__(self, limits: Limits, threads: int, desk: str, spares: int = 1) -> None:
        self.limits = limits
        self._ring = deque(Worker(limits, threads, desk) for _ in range(spares + 1))

    @property
    def pid(self) -> int | None:
        """Process id of the one that works; None while none runs."""
        return self._ring[0].pid

    @property
    def complete(self) -> bool:
        """Whether one works and the others are on their way: nothing is left to start."""
        return self._ring[0].ready is not None and all(worker.pid is not None for worker in self._ring)

    @property
    def starts(self) -> int:
        """How many processes have been started so far."""
        return sum(worker.starts for worker in self._ring)

    def start(self) -> Ready:
        """Make sure that one works and the others are on their way.

        Raises:
            WorkerStartError: ``TRIES`` of them in a row died while they started.
            MissingToolError: this machine lacks what their desk needs.
        """
        ready = self._working().start()
        self.launch()
        return ready

    def launch(self) -> None:
        """Send lost ones on their way again, without waiting for them."""
        for worker in self._ring:
            worker.launch()

    def settle(self) -> None:
        """Wait until none is starting any more, for that takes cores and a moment of the device.

        One that cannot start is tried again, and told of, when it is needed.
        """
        for worker in self._ring:
            with suppress(QuasimError):
                worker.start()

    def call(self, request: Request, timeout_s: float) -> Reply:
        """Ask, and wait for the answer.

        Raises:
            WorkerLostError: it died, hung, or spoke nonsense; the next request goes to another.
            WorkerStartError, MissingToolError: as ``start``.
        """
        return self._working().call(request, timeout_s)

    def close(self) -> None:
        """End all processes. Idempotent."""
        for worker in self._ring:
            worker.close()

    def _working(self) -> Worker:
        """One that has started; whoever died while it started is replaced by the next of the ring."""
        for tries in range(1, TRIES + 1):
            worker = self._front()
            try:
                worker.start()
                break
            except WorkerStartError as error:
                if tries == TRIES:
                    raise WorkerStartError(f"{TRIES} workers in a row: {error.what}", error.do) from error
        return worker

    def _front(self) -> Worker:
        """The one that works: the next of the ring when that was lost, which then starts anew behind the others."""
        if self._ring[0].pid is None and self._ring[0].starts:
            self._ring.rotate(-1)
        return self._ring[0]
