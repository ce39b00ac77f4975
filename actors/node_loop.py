"""What a node does in a cycle, as a pure state machine: no Ray, clock, socket or disk.

CycleStarted ──► recheck elites of problem 1 ──► (device changed? forget) ──► search ──► problem 2 … ──► Finish
                                                                               └─► meter contenders, where joules count
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from actors.node_events import CycleRecord, CycleStarted, Event, Finish, Instruction, Measure, Meter, ProblemCycle
from actors.tasks import TaskState
from quasim.codec import from_json, to_json
from quasim.energy.aimed import carried
from quasim.energy.objective import LATENCY, Objective, ranked
from quasim.energy.racing import Reading, next_reading
from quasim.errors import DataError
from quasim.policy import Policy
from quasim.prior import VETERAN, outgrown, prior_for
from quasim.search import Strategy, drift
from quasim.space import SearchSpace
from quasim.trial import Genome, Problem, Status, Trial

ASK = 8
"""Genomes asked for at a time: enough to compile side by side, few enough to learn from one few before the next."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One problem that the node tunes.

    Attributes:
        strategy: aimed at ``objective``.
        task: name of this work, of no other in the fleet; two tasks of one problem may meet on a node.
    """

    problem: Problem
    space: SearchSpace
    strategy: Strategy
    task: str = ""
    objective: Objective = LATENCY


class _Saved(msgspec.Struct, frozen=True):
    cycle: int
    policy_version: int
    policy_digest: str
    tasks: tuple[TaskState, ...]


def saved_tasks(state: bytes) -> tuple[tuple[str, Problem], ...]:
    """Name and problem of each task in a loop's state: the plans that a loop must have to restore it.

    Raises:
        DataError: not a state of such a node.
    """
    return tuple((task.task, task.problem) for task in from_json(state, _Saved, "node state").tasks)


@dataclass(slots=True)
class NodeLoop:
    """The core of a node agent.

    Attributes:
        cycle: the last finished cycle; −1 before the first.
        policy_version: of the last adopted policy; 0 for none.
        policy_digest: of the last adopted policy; empty for none.
        cohort: device family, whose own topics the node reads beside those of all.
    """

    node: str
    target: str
    plans: list[Plan]
    evaluations: int
    recheck: int
    cycle: int = -1
    policy_version: int = 0
    policy_digest: str = ""
    cohort: str = ""
    _known: list[dict[Genome, Trial]] = field(init=False)
    _searched: list[int] = field(init=False)
    _readings: list[dict[Genome, int]] = field(init=False)
    _running: int | None = field(default=None, init=False)
    _at: int = field(default=0, init=False)
    _rechecked: tuple[Trial, ...] | None = field(default=None, init=False)
    _drifted: bool = field(default=False, init=False)
    _found: tuple[Trial, ...] = field(default=(), init=False)
    _reading: Reading | None = field(default=None, init=False)
    _metered: tuple[Trial, ...] = field(default=(), init=False)
    _patient: bool = field(default=True, init=False)
    _done: list[ProblemCycle] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._known = [{} for _ in self.plans]
        self._searched = [0] * len(self.plans)
        self._readings = [{} for _ in self.plans]

    def known(self, problem: Problem) -> list[Trial]:
        """What each task of a problem knows, of each the latest trial of each genome."""
        pairs = zip(self.plans, self._known, strict=True)
        return [trial for plan, known in pairs if plan.problem == problem for trial in known.values()]

    def all_known(self) -> list[Trial]:
        """What is known of every problem."""
        return [trial for known in self._known for trial in known.values()]

    def adopt(self, policy: Policy) -> None:
        """Steer by a verified policy: try its candidates (one a cycle, once there are trials of one's own), and lean on
        its scores while the node has searched little itself.

        The scores lag behind a device that changes, and nodes that kept leaning on them ended in one basin
        (docs/decisions/0005-candidates-for-veterans.md).
        """
        for plan, known, searched in zip(self.plans, self._known, self._searched, strict=True):
            prior = prior_for(policy, self.target, plan.problem, plan.space, self.cohort)
            if prior is None:
                continue
            untried = tuple(g for g in prior.candidates if g not in known)
            heard = prior if searched < VETERAN else outgrown(prior)
            plan.strategy.adopt(msgspec.structs.replace(heard, candidates=untried if not known else untried[:1]))
        self.policy_version, self.policy_digest = policy.version, policy.digest

    def handle(self, event: Event) -> list[Instruction]:
        """Take one step.

        Raises:
            DataError: an event that does not fit the state, such as trials that nobody asked for.
        """
        if isinstance(event, CycleStarted):
            if self._running is not None or event.cycle <= self.cycle:
                raise DataError(f"cycle {event.cycle} cannot start after {self.cycle}", "start a later one")
            self._running, self._at, self._done = event.cycle, 0, []
            return self._begin_problem()
        if self._running is None:
            raise DataError("trials arrived while no cycle runs", "start a cycle first")
        if self._rechecked is None:
            return self._after_recheck(event.trials)
        if self._reading is not None:
            return self._after_reading(event.trials)
        return self._after_search(event.trials)

    def _begin_problem(self) -> list[Instruction]:
        if self._at == len(self.plans):
            return [Finish(self._finish())]
        self._rechecked, self._drifted, self._found, self._metered, self._patient = None, False, (), (), True
        plan = self.plans[self._at]
        elites = tuple(trial.genome for trial in plan.strategy.best(self.recheck)) if self.recheck else ()
        if elites:
            return [Measure(plan.problem, elites, playoff=True)]
        return self._after_recheck(())

    def _after_recheck(self, trials: tuple[Trial, ...]) -> list[Instruction]:
        plan, known = self.plans[self._at], self._known[self._at]
        self._rechecked = trials
        pairs = [(known[t.genome], t) for t in trials if t.genome in known]
        self._drifted = drift.changed([old for old, _ in pairs], [new for _, new in pairs])
        if self._drifted:
            known.clear()
            self._readings[self._at].clear()
            plan.strategy.forget()
        self._learn(trials)
        return self._search()

    def _search(self) -> list[Instruction]:
        """Ask for the next few genomes, or end the problem's turn when the cycle's budget or the space is used up."""
        plan = self.plans[self._at]
        count = min(ASK, self.evaluations - len(self._found))
        genomes = tuple(plan.strategy.ask(count)) if count else ()
        if genomes:
            return [Measure(plan.problem, genomes, playoff=False)]
        # A space that is searched through may still hold variants that nobody metered.
        return self._race() if self._patient and count else self._end_problem()

    def _after_search(self, trials: tuple[Trial, ...]) -> list[Instruction]:
        self._learn(trials)
        self._searched[self._at] += len(trials)
        self._found += trials
        self._patient = True
        return self._race()

    def _race(self) -> list[Instruction]:
        """Meter those who may be the cheapest, as far as joules count, and go on searching."""
        plan, known = self.plans[self._at], self._known[self._at]
        self._reading, patient, self._patient = None, self._patient, False
        if plan.objective.weight:
            readings = self._readings[self._at]
            self._reading = next_reading(list(known.values()), plan.objective, readings, patient=patient)
        return [Meter(plan.problem, self._reading)] if self._reading else self._search()

    def _after_reading(self, trials: tuple[Trial, ...]) -> list[Instruction]:
        assert self._reading is not None
        readings, known = self._readings[self._at], self._known[self._at]
        readings.update({genome: readings.get(genome, 0) + 1 for genome in self._reading.genomes})
        self._metered += trials
        if not any(trial.energy_j is not None for trial in trials):
            self._reading = None
            return self._search()  # the device does not tell, at least not now
        # Times stay those of the search, so that all of them compare.
        self._learn([carried(trial, known[trial.genome]) for trial in trials])
        return self._race()

    def _end_problem(self) -> list[Instruction]:
        plan = self.plans[self._at]
        best = next(iter(plan.strategy.best(1)), None)
        self._done.append(
            ProblemCycle(
                problem=plan.problem,
                rechecked=self._rechecked or (),
                searched=self._found,
                drifted=self._drifted,
                best=best.genome if best else None,
                best_ns=best.time_ns if best else None,
                entropy=float(np.round(plan.strategy.entropy(), 12)),
                metered=self._metered,
            )
        )
        self._at += 1
        return self._begin_problem()

    def _learn(self, trials: Sequence[Trial]) -> None:
        if trials:
            plan, known = self.plans[self._at], self._known[self._at]
            plan.strategy.tell(trials)
            whole = [carried(known.get(t.genome), t) for t in trials] if plan.objective.weight else trials
            known.update({trial.genome: trial for trial in whole})

    def _finish(self) -> CycleRecord:
        assert self._running is not None
        self.cycle, self._running = self._running, None
        return CycleRecord(self.node, self.cycle, self.policy_version, tuple(self._done))

    def best(self, problem: Problem, count: int) -> list[Trial]:
        """The best trials known of a problem, by its objective; the better of two that know the same genome."""
        objective = next((plan.objective for plan in self.plans if plan.problem == problem), LATENCY)
        good = ranked([trial for trial in self.known(problem) if trial.status is Status.OK], objective)
        return list({trial.genome: trial for trial in reversed(good)}.values())[::-1][:count]

    def release(self, task: str) -> TaskState:
        """Give a task away: the node works on it no more.

        Raises:
            DataError: the node does not have it, or a cycle runs.
        """
        at = self._index(task)
        state = self._task_state(at)
        for each in (self.plans, self._known, self._searched, self._readings):
            del each[at]
        return state

    def accept(self, state: TaskState, plan: Plan, *, same_device: bool) -> None:
        """Take a task over. On another device its trials are hints alone: its elites are asked again first.

        Raises:
            DataError: the node has it already, a cycle runs, or the plan's space or strategy is not the task's.
        """
        if self._running is not None or state.task in self.tasks:
            raise DataError(f"task {state.task} cannot come now", "hand it over once, between two cycles")
        plan.strategy.restore(state.strategy.encode())
        if not same_device:
            plan.strategy.forget()
        self.plans.append(plan)
        self._known.append({trial.genome: trial for trial in state.known} if same_device else {})
        self._searched.append(state.searched)
        self._readings.append({})

    @property
    def working_on(self) -> tuple[int, Problem | None]:
        """The cycle that runs and its problem; the last finished one and None where none does."""
        running, at, plans = self._running, self._at, self.plans
        if running is None:
            return self.cycle, None
        return running, plans[at].problem if at < len(plans) else None

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of what the node works on."""
        return tuple(plan.task for plan in self.plans)

    def _index(self, task: str) -> int:
        if self._running is not None or task not in self.tasks:
            raise DataError(f"task {task} cannot leave {self.node} now", f"it has {', '.join(self.tasks)}")
        return self.tasks.index(task)

    def _task_state(self, at: int) -> TaskState:
        plan, known = self.plans[at], tuple(self._known[at].values())
        return TaskState(plan.task, plan.problem, plan.strategy.state().decode(), known, self._searched[at])

    def state(self) -> bytes:
        """Everything that a restarted node needs to go on from the last finished cycle, as JSON."""
        tasks = tuple(map(self._task_state, range(len(self.plans))))
        return to_json(_Saved(self.cycle, self.policy_version, self.policy_digest, tasks))

    def restore(self, state: bytes) -> None:
        """Continue from ``state``.

        Raises:
            DataError: not a state of such a node, or not of these plans, see ``saved_tasks``.
        """
        saved = from_json(state, _Saved, "node state")
        wanted = [(plan.task, plan.problem) for plan in self.plans]
        if [(task.task, task.problem) for task in saved.tasks] != wanted:
            raise DataError(
                f"node state has {len(saved.tasks)} problems, the config {len(self.plans)}, or others",
                "resume with the run's own config",
            )
        for plan, task in zip(self.plans, saved.tasks, strict=True):
            plan.strategy.restore(task.strategy.encode())
        self._known = [{trial.genome: trial for trial in task.known} for task in saved.tasks]
        self._searched = [task.searched for task in saved.tasks]
        self.cycle = saved.cycle
        self.policy_version, self.policy_digest = saved.policy_version, saved.policy_digest
