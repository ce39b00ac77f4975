"""Reads a meter in a thread of its own while work runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

from quasim.meters._base import Fault, Meter, Recording, Sample
from quasim.meters.errors import MeterError

PERIOD_NS = 20_000_000
"""Five reads a tick of 100 ms: a read costs 2–4 ms on an H100, and each end of a window is known to one period."""


class Sampler:
    """Samples from ``__enter__`` to ``__exit__``; what it took is had by ``recording`` at any time.

    A read that fails is recorded as a fault and the next is tried: a lost GPU shows as faults to the end.

    Args:
        meter: read by this sampler alone until it has stopped; not closed by it.
        period_ns: time between the starts of two reads; a read that takes longer delays the next, none is made up for.
        clock: monotonic ns, the one that progress is marked by.
        wait: sleeps for seconds and tells whether to stop; default: the event that ``__exit__`` sets.
    """

    def __init__(
        self,
        meter: Meter,
        period_ns: int = PERIOD_NS,
        clock: Callable[[], int] = time.monotonic_ns,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        if period_ns < 1:
            raise ValueError(f"a sampling period of {period_ns} ns")
        self._meter = meter
        self._period_ns = period_ns
        self._clock = clock
        self._stop = threading.Event()
        self._wait = wait or self._stop.wait
        self._samples: list[Sample] = []
        self._faults: list[Fault] = []
        self._thread = threading.Thread(target=self._run, name=f"sampler of {meter.name}", daemon=True)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def recording(self) -> Recording:
        """Everything taken so far."""
        return Recording(tuple(self._samples), tuple(self._faults))

    def _run(self) -> None:
        due_ns = self._clock()
        while True:
            try:
                self._samples.append(self._meter.sample())
            except MeterError as error:
                self._faults.append(Fault(self._clock(), str(error)))
            due_ns = max(due_ns + self._period_ns, self._clock())
            if self._wait(max(0, due_ns - self._clock()) / 1e9):
                return
