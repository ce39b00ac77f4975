"""Runs entries on one device, alone on it, and charges what one of them does to the worker to no other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import msgspec

from quasim.errors import QuasimError
from quasim.lease import Lease
from quasim.targets.gpu.image import Image
from quasim.trial import Problem, Status
from quasim.worker.process import WorkerLostError
from quasim.worker.protocol import Entry, Failed, Outcome, Prepare, Prepared, Ran, Ready, Reply, Run
from quasim.worker.standby import StandbyWorker

METER_EXTRA_S = 8.0
"""Beyond the metered window of an entry: warming up, and the idle power that is read once."""

LOST = (Status.CRASHED, Status.TIMEOUT)


class Station:
    """A worker with others behind it, and the lease of its device. Called by one thread at a time.

    Args:
        lease: held alone while anything runs, and shared while workers start.

    Attributes:
        standards: kernels whose answers are the reference of problems that have no other.
    """

    def __init__(self, worker: StandbyWorker, lease: Lease) -> None:
        self._worker = worker
        self._lease = lease
        self.standards: dict[Problem, Image] = {}

    @property
    def pid(self) -> int | None:
        """Process that works; None while none runs."""
        return self._worker.pid

    @property
    def starts(self) -> int:
        """How many worker processes have been started so far."""
        return self._worker.starts

    def start(self) -> Ready:
        """Make sure that a worker runs.

        Raises:
            WorkerStartError, MissingToolError: it cannot be started.
        """
        with self._lease.shared():
            return self._worker.start()

    def prepare(self, problem: Problem, seed: int) -> None:
        """Make a problem ready before its first run, while its variants are compiled. What fails shows in that run."""
        with suppress(QuasimError), self._lease.exclusive():
            self._prepare(Prepare(problem, seed, self.standards.get(problem)))

    def run(self, run: Run, *, quiet: bool = False) -> list[Outcome]:
        """What became of each entry, in order.

        An entry that takes the worker with it has failed, and the others have their own run without it: all of them
        together where it is known which one it was, else each alone.

        Args:
            quiet: wait until no worker is starting, for comparisons that a few percent would upset.

        Raises:
            WorkerStartError, MissingToolError: no worker can be started.
        """
        if not run.entries:
            return []
        if not self._worker.complete:  # or each run would wait for the device twice
            self.start()
        if quiet:
            self._worker.settle()
        reply = self._ask(run)
        if isinstance(reply, Ran) and not reply.spent:
            return list(reply.outcomes)
        if isinstance(reply, Ran):
            return self._without_guilty(run, reply.outcomes, quiet)
        if isinstance(reply, WorkerLostError):
            return self._alone(run, reply, quiet)
        detail = reply.detail if isinstance(reply, Failed) else f"the worker answered {type(reply).__name__}"
        return [Outcome(status=Status.LAUNCH_ERROR, detail=detail)] * len(run.entries)

    def settle(self) -> None:
        """Wait until no worker is starting."""
        self._worker.settle()

    @contextmanager
    def leased(self) -> Iterator[None]:
        """Hold the device alone, for a process that is none of our workers."""
        with self._lease.exclusive():
            yield

    def close(self) -> None:
        """End the worker processes. Idempotent."""
        self._worker.close()

    def _ask(self, run: Run) -> Reply | WorkerLostError:
        limits = self._worker.limits
        per_entry_s = limits.run_s + (METER_EXTRA_S + run.plan.energy_window_ns / 1e9) * bool(run.plan.energy_window_ns)
        try:
            with self._lease.exclusive():
                reply = self._prepare(Prepare(run.problem, run.seed, self.standards.get(run.problem)))
                if isinstance(reply, Prepared):
                    reply = self._worker.call(run, per_entry_s * len(run.entries))
                return reply
        except WorkerLostError as error:
            return error

    def _prepare(self, request: Prepare) -> Reply:
        """No entry runs yet: a worker that is lost here died by itself, and the next one is asked, once."""
        with suppress(WorkerLostError):
            return self._worker.call(request, self._worker.limits.prepare_s)
        try:
            return self._worker.call(request, self._worker.limits.prepare_s)
        except WorkerLostError as error:
            return Failed(f"two workers were lost while they prepared {request.problem}: {error.what}")

    def _without_guilty(self, run: Run, outcomes: Sequence[Outcome], quiet: bool) -> list[Outcome]:
        innocent = [i for i, outcome in enumerate(outcomes) if outcome.status not in LOST]
        if len(innocent) == len(outcomes):
            return self._alone(
                run, WorkerLostError("the worker was left unfit by nobody it named", Status.CRASHED), quiet
            )
        again = iter(self.run(_only(run, [run.entries[i] for i in innocent]), quiet=quiet))
        return [next(again) if i in innocent else outcome for i, outcome in enumerate(outcomes)]

    def _alone(self, run: Run, lost: WorkerLostError, quiet: bool) -> list[Outcome]:
        if len(run.entries) == 1:
            return [Outcome(status=lost.status, detail=lost.what)]
        return [outcome for entry in run.entries for outcome in self.run(_only(run, [entry]), quiet=quiet)]


def _only(run: Run, entries: Sequence[Entry]) -> Run:
    return msgspec.structs.replace(run, entries=tuple(entries))
