"""What a worker does: prepare problems, check each entry once, and time the right ones in interleaved windows."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence

import msgspec

from quasim.errors import QuasimError
from quasim.machine import this_machine
from quasim.trial import Problem, Status
from quasim.worker.competitors import Competitor, competitor
from quasim.worker.prepared import Bench
from quasim.worker.protocol import Entry, Failed, Outcome, Plan, Prepare, Prepared, Ran, Reply, Request, Run

CACHES_TO_FILL = 2
"""The sets of a problem together exceed the last-level cache this many times."""

BENCH_SHARE = 0.4
"""Of the worker's memory, for prepared problems; the rest is for what variants and references need."""

SETTLE_S = 0.03
"""Between windows of different entries: idle OpenMP and BLAS threads spin for 10 to 30 ms after their last work,
and would take a core from whoever comes next."""

RACE_SAMPLES = 3


class Desk:
    """Serves requests. Holds the prepared problems; those asked for longest ago go when memory runs short."""

    def __init__(self, memory_bytes: int) -> None:
        self._budget_bytes = int(memory_bytes * BENCH_SHARE)
        self._set_bytes = CACHES_TO_FILL * this_machine().llc_bytes
        self._benches: dict[tuple[Problem, int], Bench] = {}

    def serve(self, request: Request) -> Reply:
        """The answer to a request; a failure of ours is an answer, too."""
        try:
            return self._prepare(request) if isinstance(request, Prepare) else self._run(request)
        except Exception as error:
            return Failed(_line(error))

    def _prepare(self, request: Prepare) -> Prepared:
        key = (request.problem, request.seed)
        bench = self._benches.pop(key, None)
        if bench is None:
            bench = Bench(request.problem, request.seed, self._set_bytes)
            self._make_room(bench.bytes)
        self._benches[key] = bench
        return Prepared(sets=len(bench.arena.sets), set_bytes=bench.arena.set_bytes)

    def _make_room(self, needed: int) -> None:
        while self._benches and needed + sum(b.bytes for b in self._benches.values()) > self._budget_bytes:
            del self._benches[next(iter(self._benches))]

    def _run(self, request: Run) -> Ran:
        bench = self._benches[request.problem, request.seed]
        contestants = [Contestant(entry, bench) for entry in request.entries]
        rng = random.Random(request.order_seed)
        for _ in range(request.plan.rounds):
            for contestant in rng.sample(contestants, len(contestants)):
                if contestant.running:
                    time.sleep(SETTLE_S if len(contestants) > 1 else 0.0)
                    contestant.run_window(request.plan, request.best_ns)
        return Ran(tuple(c.outcome for c in contestants))


class Contestant:
    """One entry of a run: checked when built, then timed window by window as long as nothing fails."""

    def __init__(self, entry: Entry, bench: Bench) -> None:
        start = time.perf_counter_ns()
        try:
            self._competitor: Competitor = competitor(entry, bench)
            outcome = self._competitor.check()
        except Exception as error:
            outcome = Outcome(status=Status.LAUNCH_ERROR, detail=_line(error))
        self.outcome = msgspec.structs.replace(outcome, check_ns=time.perf_counter_ns() - start)

    @property
    def running(self) -> bool:
        """Whether nothing has failed so far."""
        return self.outcome.status is Status.OK

    def run_window(self, plan: Plan, best_ns: float | None) -> None:
        """Take one window of samples."""
        start = time.perf_counter_ns()
        try:
            window = _window(self._competitor, plan, best_ns)
        except Exception as error:
            self.outcome = Outcome(
                status=Status.LAUNCH_ERROR, check_ns=self.outcome.check_ns, detail=f"while timed: {_line(error)}"
            )
            return
        self.outcome = msgspec.structs.replace(
            self.outcome,
            windows=(*self.outcome.windows, window),
            measure_ns=(self.outcome.measure_ns or 0) + time.perf_counter_ns() - start,
        )


def _window(competitor: Competitor, plan: Plan, best_ns: float | None) -> tuple[int, ...]:
    warm_up = _timed(competitor)
    if warm_up >= plan.window_ns:
        return (warm_up,)  # as long as a whole window: what warming up changes is nothing beside that
    samples: list[int] = []
    total = 0
    hopeless_ns = math.inf if best_ns is None else best_ns * plan.race_ratio
    while not _enough(samples, total, plan, hopeless_ns):
        samples.append(_timed(competitor))
        total += samples[-1]
    return tuple(samples)


def _timed(competitor: Competitor) -> int:
    launch = competitor.next_launch()
    start = time.perf_counter_ns()
    launch()
    return max(1, time.perf_counter_ns() - start)


def _enough(samples: Sequence[int], total_ns: int, plan: Plan, hopeless_ns: float) -> bool:
    count = len(samples)
    if not count:
        return False
    if count >= plan.max_samples or total_ns >= plan.cap_ns:
        return True
    if total_ns >= plan.window_ns and count >= plan.min_samples:
        return True
    return count == RACE_SAMPLES and min(samples) > hopeless_ns


def _line(error: Exception) -> str:
    text = f"{type(error).__name__}: {error}" if not isinstance(error, QuasimError) else str(error)
    return " ".join(text.split())
