"""The desk of the CPU: launches are timed one by one with the host's clock, on sets that exceed the caches."""

from __future__ import annotations

from quasim.machine import this_machine
from quasim.trial import Problem
from quasim.worker.calm import await_calm
from quasim.worker.competitors import HostCompetitor, competitor
from quasim.worker.desk import DeskBase
from quasim.worker.prepared import Bench
from quasim.worker.protocol import Entry

CACHES_TO_FILL = 2
"""The sets of a problem together exceed the last-level cache this many times."""

BENCH_SHARE = 0.4
"""Of the worker's memory, for prepared problems; the rest is for what variants and references need."""

SETTLE_S = 0.05
"""At most this long is waited, between windows of different entries, for threads of the one before: idle ones of OpenMP
spin for up to 35 ms after their last work, and would take a core from whoever comes next."""


class Desk(DeskBase[Bench]):
    """Serves requests on the CPU with at most ``memory_bytes`` of memory."""

    def __init__(self, memory_bytes: int) -> None:
        super().__init__(int(memory_bytes * BENCH_SHARE))
        self._set_bytes = CACHES_TO_FILL * this_machine().llc_bytes

    def open_bench(self, problem: Problem, seed: int) -> Bench:
        """Inputs, reference, and enough sets."""
        return Bench(problem, seed, self._set_bytes)

    def competitor(self, entry: Entry, bench: Bench) -> HostCompetitor:
        """Whom an entry names.

        Raises:
            OSError, QuasimError: its library cannot be loaded.
        """
        return competitor(entry, bench)

    def settle(self) -> None:
        """Let idle threads fall asleep."""
        await_calm(SETTLE_S)
