"""The agent of one node: executes what the pure ``NodeLoop`` decides. Wrapped as a Ray actor at the edge.

A restarted agent runs its constructor again, so whatever must survive lies in its folder:

    state.json            last finished cycle and its record, strategies, what is known, position of the outbox
    spool/                telemetry that the aggregator has not acknowledged
    roster, rounds.json   see ``NodeRounds``
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from actors.drive import drive
from actors.energy import NodeMeter
from actors.node_events import CycleRecord
from actors.node_loop import NodeLoop, Plan, saved_tasks
from actors.node_rounds import Accord, Answer, Entropy, NodeRounds
from actors.node_spec import NodeSnapshot, NodeSpec, fingerprint
from actors.node_tasks import NodeTasks, Released, Residence, Shares
from actors.outbox import Link, Outbox, Position
from actors.pulse import Vitals
from actors.regulation import NoRegulation, Regulation
from actors.tasks import Tasks
from aggregation.canary_node import report
from aggregation.catalogue import Catalogue
from aggregation.distill import local_update
from aggregation.participant import TRIALS, kind_of
from aggregation.signing import PolicyRefusedError, verify
from quasim.codec import from_json, to_json
from quasim.energy.aimed import aimed
from quasim.energy.migration import HeatReport, Move
from quasim.energy.objective import LATENCY
from quasim.errors import DataError, TrustError
from quasim.meters import NoMeter
from quasim.search import strategy
from quasim.space import Floats
from quasim.standing import Contestable, Standing, standing
from quasim.targets import Target
from quasim.targets.profile import Profilable, Profile
from quasim.trial import Genome, Problem, Trial
from storage.batches import Evaluation
from storage.files import make_folder, write_atomic
from storage.keys import load_or_create_key
from storage.ownership import HANDOVER_S, Ownership
from storage.pseudonyms import IdDictionary

LOG = logging.getLogger(__name__)


class _State(msgspec.Struct, frozen=True):
    position: Position
    counts: dict[str, int]
    record: CycleRecord
    loop: str
    residence: Residence = Residence()


class NodeAgent:
    """One node of the fleet; a single caller at a time.

    Args:
        meter: of the target's device; None: unmetered.
        regulation: of the same device; None: nobody regulates.
        entropy: gives so many unpredictable bytes, for the keys of its rounds.
        clock: unix seconds.
    """

    def __init__(
        self,
        spec: NodeSpec,
        target: Target,
        link: Link,
        meter: NodeMeter | None = None,
        regulation: Regulation | None = None,
        entropy: Entropy = os.urandom,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._spec = spec
        self._target = target
        self._link = link
        self._clock = clock
        self._meter = meter or NodeMeter(NoMeter(target.name, f"the {target.name} target has no meter"))
        self._regulation = regulation or NoRegulation("nobody regulates")
        self._folder = make_folder(spec.folder)
        key = load_or_create_key(spec.site_key)
        if fingerprint(key) != spec.site_fingerprint:
            raise TrustError(
                f"{spec.site_key} on this machine is not the site key of this fleet", "copy the driver's site.key here"
            )
        self._spaces = {(target.name, problem): target.space(problem) for problem in spec.problems}
        self._counts: dict[str, int] = {}
        self._record: CycleRecord | None = None
        # Before anything is read: a predecessor that is being killed may still be committing.
        self._owned = Ownership(spec.folder, HANDOVER_S)
        try:
            position = self._restore()
            ids = IdDictionary(spec.dictionary, key)
            self._rounds = NodeRounds(spec.name, spec.federation, spec.folder, spec.rounds, entropy)
            self._outbox = Outbox(
                spec.folder / "spool", spec.name, target.device.family, ids, position, spec.lowest_incarnation
            )
            self._rows = self._outbox.count()
            self._last_batch_at: float | None = None
        except BaseException:
            self._owned.close()
            raise

    def _restore(self) -> Position:
        """A loop that stands where the last commit left it."""
        spec = self._spec
        path = self._folder / "state.json"
        saved = from_json(path.read_bytes(), _State, str(path)) if path.exists() else None
        own = tuple((f"{spec.name}/{number}", problem) for number, problem in enumerate(spec.problems))
        tasks = own if saved is None else saved_tasks(saved.loop.encode())
        plans = [self._plan(task, problem) for task, problem in tasks]
        self._loop = NodeLoop(
            spec.name,
            self._target.name,
            plans,
            spec.evaluations,
            spec.recheck,
            cycle=spec.first_cycle - 1,
            cohort=self.cohort(),
        )
        residence = Residence() if saved is None else saved.residence
        self._tasks = NodeTasks(self._loop, self._plan, residence, self._meter.clock)
        if saved is None:
            return Position()
        self._loop.restore(saved.loop.encode())
        # A device that changes with the cycles must stand where the node left it.
        self._target.start_cycle(self._loop.cycle)
        self._counts, self._record = dict(saved.counts), saved.record
        return saved.position

    def _plan(self, task: str, problem: Problem) -> Plan:
        """A task that knows nothing yet.

        Raises:
            DataError: the node does not tune this problem.
        """
        spec = self._spec
        if problem not in spec.problems:
            raise DataError(f"{task} is of {problem}, which {spec.name} does not tune", "name it in the run's config")
        number = spec.problems.index(problem)
        objective = spec.objectives[number] if spec.objectives else LATENCY
        space = self._spaces[self._target.name, problem]
        return Plan(
            problem, space, aimed(strategy(spec.strategy, space, spec.seed + number), objective), task, objective
        )

    def catalogue(self) -> bytes:
        """The topics that this node can speak of."""
        return Catalogue.of(self._spaces).to_bytes()

    def cohort(self) -> str:
        """Family of the node's device: whom its measurements speak for most."""
        return self._target.device.family

    def run_cycle(self, cycle: int, policy: bytes | None) -> CycleRecord:
        """Adopt the policy, measure one generation, make it durable, and send it.

        A cycle that was already finished, as when the call is repeated after a crash, answers with its record.
        """
        if self._record is not None and cycle == self._record.cycle:
            return self._record
        if policy is not None:
            self.adopt(policy)
        try:
            tally, shares = self._meter.tally(), Shares(self._meter.clock)

            def measured(problem: Problem, trials: Sequence[Trial]) -> None:
                self._regulation.worked(trials)
                tally.lap(problem)
                shares.lap(problem)

            record = drive(self._loop, self._target, cycle, measured)
        except Exception:
            # Half a cycle counts for nothing; the next one starts from the last commit.
            self._restore()
            raise
        record = msgspec.structs.replace(record, spent=tally.spent(), regulated=self._regulation.regulated())
        self._tasks.worked(shares, record.spent, self._meter.idle_power_w)
        self._commit(record)
        self.flush()
        return record

    def heat(self) -> HeatReport | None:
        """How hot its device is and what it works on; None where nothing tells."""
        return self._tasks.report(self._regulation.heat())

    def tasks(self) -> Tasks:
        """What it works on, and what it has given away."""
        return self._tasks.tasks

    def release(self, move: Move) -> Released:
        """Give the task of a move away, or say why not; durable before it is said, and safe to repeat."""
        released = self._tasks.release(move, self._regulation.heat())
        self._save_step()
        return released

    def accept(self, parcel: bytes, move: Move) -> str:
        """Take a task over, or say why not; durable before it is said, and safe to repeat."""
        if self._record is None:
            return "it has not worked yet"
        try:
            why = self._tasks.accept(parcel, move, self._regulation.heat())
        except DataError as error:
            return str(error)
        self._save_step()
        return why

    def settle(self, task: str, arrived: bool) -> None:
        """What became of a task that was given away; durable, and safe to repeat."""
        self._tasks.settle(task, arrived=arrived)
        self._save_step()

    def adopt(self, envelope: bytes) -> int:
        """Verify a signed policy and steer by it; the version that the node then holds.

        What must not be trusted is refused and logged, and the node keeps the policy it has.
        """
        try:
            self._loop.adopt(
                verify(
                    envelope,
                    trusted_key=self._spec.trusted_key,
                    federation=self._spec.federation,
                    newer_than=self._loop.policy_version,
                )
            )
        except PolicyRefusedError as error:
            LOG.warning("%s keeps policy %d: %s", self._spec.name, self._loop.policy_version, error)
        self._rounds.forget()
        return self._loop.policy_version

    def enrolment(self) -> bytes:
        """The node's signed request to take part in rounds."""
        return self._rounds.enrolment(self.cohort())

    def accept_roster(self, envelope: bytes) -> None:
        """See ``NodeRounds.accept``."""
        self._rounds.accept(envelope)

    def answer(self, message: bytes, accord: Accord) -> Answer:
        """The node's side of a round, and of the trial of a new policy after it.

        A message that must not be answered is refused with silence and a log line.
        """
        try:
            if kind_of(message) == TRIALS:
                playoff = partial(self._target.playoff, metered=False)
                return Answer((report(message, self._spaces, playoff, self.cohort()),), 0.0)
            policy = self._loop.policy_digest
            return self._rounds.answer(message, accord.agreement, policy, lambda: self._vector(accord.catalogue))
        except DataError as error:
            LOG.warning("%s does not answer: %s", self._spec.name, error)
            return Answer((), 0.0)

    def _vector(self, catalogue: Catalogue) -> Floats:
        return local_update(catalogue, self._spaces, self._loop.all_known(), self.cohort())

    def top(self, problem: Problem, count: int) -> list[Trial]:
        """The fastest trials that this node knows of a problem."""
        return self._loop.best(problem, count)

    def default(self, problem: Problem) -> Genome | None:
        """What the kernel runs with where nobody tuned it; None where the space names nothing."""
        return self._spaces[self._target.name, problem].default

    def playoff(self, problem: Problem, genomes: Sequence[Genome]) -> list[Trial]:
        """Measure genomes in interleaved windows on this node's device."""
        return self._target.playoff(problem, genomes)

    def standing(self, problem: Problem, genome: Genome) -> Standing | None:
        """A genome against its rivals on this node's device; None on a replayed one."""
        return standing(self._target, problem, genome) if isinstance(self._target, Contestable) else None

    def profile(self, problem: Problem, genome: Genome) -> Profile | None:
        """Hardware counters of one launch of a genome; None where the target has no profiler."""
        return self._target.profile(problem, genome) if isinstance(self._target, Profilable) else None

    def flush(self) -> int:
        """Send telemetry that waits; how many batches are left because the aggregator could not be reached."""
        left = self._outbox.flush(self._link)
        before, self._rows = self._rows, self._outbox.count()
        if self._rows.acknowledged > before.acknowledged:
            self._last_batch_at = self._clock()
        return left

    def vitals(self) -> Vitals:
        """How it is, from any thread: nothing here waits for the work or touches the device."""
        cycle, problem = self._loop.working_on
        rows = self._rows
        return Vitals(
            device=self._target.device.name,
            cycle=cycle,
            problem="" if problem is None else str(problem),
            gauges=self._regulation.gauges(),
            rows_sent=rows.sent,
            rows_acknowledged=rows.acknowledged,
            last_batch_at=self._last_batch_at,
        )

    def snapshot(self) -> NodeSnapshot:
        """Where the node stands."""
        return NodeSnapshot(
            name=self._spec.name,
            device=self._target.device,
            cycle=self._loop.cycle,
            policy_version=self._loop.policy_version,
            sent=self._outbox.position.sent,
            waiting_rows=self._outbox.waiting_rows,
            refused=self._outbox.refused_rows,
            since=self._outbox.position.since,
        )

    def close(self) -> None:
        """End the node's workers and give its folder back."""
        self._regulation.close()
        self._target.close()
        self._meter.close()
        self._owned.close()

    def _commit(self, record: CycleRecord) -> None:
        """The batch, then the state that makes it count."""
        self._outbox.prepare(self._evaluations(record))
        self._rows = self._outbox.count()
        self._record = record
        self._rounds.forget()
        self._save()

    def _save_step(self) -> None:
        """Make a step of a move durable; where that fails it was none, so that nobody is told of it."""
        try:
            self._save()
        except Exception:
            self._restore()
            raise

    def _save(self) -> None:
        if self._record is not None:
            loop = self._loop.state().decode()
            state = _State(self._outbox.position, self._counts, self._record, loop, self._tasks.residence)
            write_atomic(self._folder / "state.json", to_json(state))

    def _evaluations(self, record: CycleRecord) -> list[Evaluation]:
        evaluations = []
        for stage, trial in record.stages():
            number = self._counts.get(str(trial.problem), 0)
            self._counts[str(trial.problem)] = number + 1
            evaluations.append(Evaluation(trial, record.cycle, number, stage))
        return evaluations
