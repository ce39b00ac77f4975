"""What every worker does, whatever it measures on: prepare problems, check each entry once, and time the right ones in
interleaved windows. A desk of its own for each kind of device says how."""

from __future__ import annotations

import random
import time
from abc import ABC, abstractmethod
from typing import Generic, Protocol, TypeVar

import msgspec

from quasim.errors import QuasimError
from quasim.meters.energy import Energy
from quasim.targets.gpu.image import Image
from quasim.trial import Problem, Status
from quasim.worker.protocol import (
    Entry,
    Failed,
    Outcome,
    Plan,
    Prepare,
    Prepared,
    Ran,
    Ready,
    Reply,
    Request,
    Run,
)


class PreparedProblem(Protocol):
    """A prepared problem."""

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        ...

    @property
    def set_count(self) -> int:
        """How many sets of arrays it rotates through."""
        ...

    @property
    def set_bytes(self) -> int:
        """Bytes of the arrays of one set."""
        ...


class Competitor(Protocol):
    """Something to check once and to time often."""

    def check(self) -> Outcome:
        """Run once and judge the answer."""
        ...

    def window(self, plan: Plan, best_ns: float | None) -> tuple[int, ...]:
        """One window of samples in ns, warmed up."""
        ...

    def energy(self, window_ns: int) -> Energy:
        """Energy of one launch, from launches that go on for so long."""
        ...


SKIPPED = Outcome(status=Status.LAUNCH_ERROR, detail="not run: an entry before it left the worker unfit")

B = TypeVar("B", bound=PreparedProblem)


class DeskBase(ABC, Generic[B]):
    """Serves requests. Holds the prepared problems; those asked for longest ago go when memory runs short.

    Attributes:
        spent: what an entry did has left this process unfit to measure anything more.
    """

    greeting = Ready()
    spent = False

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._benches: dict[tuple[Problem, int], B] = {}

    @abstractmethod
    def open_bench(self, problem: Problem, seed: int) -> B:
        """Make a problem ready."""

    def follow(self, bench: B, standard: Image) -> None:
        """Take what a kernel computes for the reference of a bench.

        Raises:
            QuasimError: it cannot run here, or does not write its outputs.
        """
        raise QuasimError(f"this worker cannot run {standard.kernel}", "ask a GPU worker")

    @abstractmethod
    def competitor(self, entry: Entry, bench: B) -> Competitor:
        """Whom an entry names."""

    @abstractmethod
    def settle(self) -> None:
        """Wait between windows of different entries, for as long as the one before disturbs the next."""

    def judge(self, error: Exception) -> tuple[Status, str]:
        """What an exception of an entry means, in one line; sets ``spent`` where that is so."""
        return Status.LAUNCH_ERROR, line(error)

    def serve(self, request: Request) -> Reply:
        """The answer to a request; a failure of ours is an answer, too.

        Raises:
            Exception: what left the process unfit outside any entry; it has nothing more to say.
        """
        try:
            return self._prepare(request) if isinstance(request, Prepare) else self._run(request)
        except Exception as error:
            self.judge(error)
            if self.spent:
                raise
            return Failed(line(error))

    def _prepare(self, request: Prepare) -> Prepared:
        key = (request.problem, request.seed)
        bench = self._benches.pop(key, None)
        if bench is None:
            bench = self._opened(request.problem, request.seed)
            if request.standard is not None:
                self.follow(bench, request.standard)
            self._make_room(bench.bytes)
        self._benches[key] = bench
        return Prepared(sets=bench.set_count, set_bytes=bench.set_bytes)

    def _opened(self, problem: Problem, seed: int) -> B:
        """A new bench; where it fails beside others, which may be for want of memory, it is tried without them."""
        try:
            return self.open_bench(problem, seed)
        except Exception:
            if not self._benches:
                raise
        self._benches.clear()
        return self.open_bench(problem, seed)

    def _make_room(self, needed: int) -> None:
        while self._benches and needed + sum(b.bytes for b in self._benches.values()) > self._budget_bytes:
            del self._benches[next(iter(self._benches))]

    def _run(self, request: Run) -> Ran:
        bench = self._benches[request.problem, request.seed]
        contestants = [Contestant(self, entry, bench) for entry in request.entries]
        rng = random.Random(request.order_seed)
        for _ in range(request.plan.rounds):
            for contestant in rng.sample(contestants, len(contestants)):
                if contestant.running:
                    if len(contestants) > 1:
                        self.settle()
                    contestant.run_window(request.plan, request.best_ns)
        for contestant in contestants:
            if contestant.running and request.plan.energy_window_ns:
                contestant.meter(request.plan.energy_window_ns)
        return Ran(tuple(c.outcome for c in contestants), self.spent)


class Contestant(Generic[B]):
    """One entry of a run: checked when built, then timed window by window as long as nothing fails."""

    def __init__(self, desk: DeskBase[B], entry: Entry, bench: B) -> None:
        self._desk = desk
        start = time.perf_counter_ns()
        outcome = self._check(entry, bench) if not desk.spent else SKIPPED
        self.outcome = msgspec.structs.replace(outcome, check_ns=time.perf_counter_ns() - start)

    def _check(self, entry: Entry, bench: B) -> Outcome:
        try:
            self._competitor = self._desk.competitor(entry, bench)
            return self._competitor.check()
        except Exception as error:
            status, detail = self._desk.judge(error)
            return Outcome(status=status, detail=detail)

    @property
    def running(self) -> bool:
        """Whether nothing has failed so far."""
        return self.outcome.status is Status.OK and not self._desk.spent

    def run_window(self, plan: Plan, best_ns: float | None) -> None:
        """Take one window of samples."""
        start = time.perf_counter_ns()
        try:
            window = self._competitor.window(plan, best_ns)
        except Exception as error:
            self._fail("while timed", error)
            return
        self.outcome = msgspec.structs.replace(
            self.outcome,
            windows=(*self.outcome.windows, window),
            measure_ns=(self.outcome.measure_ns or 0) + time.perf_counter_ns() - start,
        )

    def meter(self, window_ns: int) -> None:
        """Read the energy of many launches."""
        try:
            self.outcome = msgspec.structs.replace(self.outcome, energy=self._competitor.energy(window_ns))
        except Exception as error:
            self._fail("while metered", error)

    def _fail(self, when: str, error: Exception) -> None:
        status, detail = self._desk.judge(error)
        self.outcome = Outcome(status=status, check_ns=self.outcome.check_ns, detail=f"{when}: {detail}")


def line(error: Exception) -> str:
    """An exception in one line, with its type where it is not ours."""
    text = f"{type(error).__name__}: {error}" if not isinstance(error, QuasimError) else str(error)
    return " ".join(text.split())
