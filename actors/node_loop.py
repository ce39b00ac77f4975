"""What a node does in a cycle, as a pure state machine: no Ray, clock, socket or disk.

CycleStarted ──► recheck elites of problem 1 ──► (device changed? forget) ──► search ──► problem 2 … ──► Finish
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from actors.energy import Spent
from quasim.codec import from_json, to_json
from quasim.errors import DataError
from quasim.policy import Policy, prior_for
from quasim.search import Prior, Strategy, drift
from quasim.space import SearchSpace
from quasim.trial import Genome, Problem, Status, Trial
from storage.schemas import Stage

VETERAN = 20
"""Genomes of a problem that a node has searched when it no longer leans on the fleet's scores: one generation."""


ASK = 8
"""Genomes asked for at a time: enough to compile side by side, few enough to learn from one few before the next."""


@dataclass(frozen=True, slots=True)
class CycleStarted:
    """The fleet's cycle (from 0) begins."""

    cycle: int


@dataclass(frozen=True, slots=True)
class Measured:
    """The trials that a ``Measure`` asked for, in its order."""

    trials: tuple[Trial, ...]


Event = CycleStarted | Measured


@dataclass(frozen=True, slots=True)
class Measure:
    """Measure these genomes and come back with ``Measured``.

    Attributes:
        playoff: in interleaved windows, so that they can be compared fairly.
    """

    problem: Problem
    genomes: tuple[Genome, ...]
    playoff: bool


class ProblemCycle(msgspec.Struct, frozen=True):
    """What a node did for one problem in one cycle.

    Attributes:
        drifted: the re-measured elites said that the device had changed.
        best_ns: the fastest known time after the cycle; None while nothing worked.
        entropy: of what the strategy samples from, 1 uniform to 0 decided.
    """

    problem: Problem
    rechecked: tuple[Trial, ...]
    searched: tuple[Trial, ...]
    drifted: bool
    best: Genome | None
    best_ns: float | None
    entropy: float


class CycleRecord(msgspec.Struct, frozen=True):
    """One node's cycle; the generation as it is kept in the folder of the run.

    Attributes:
        spent: what the node's device drew meanwhile.
    """

    node: str
    cycle: int
    policy_version: int
    problems: tuple[ProblemCycle, ...]
    spent: Spent = Spent()

    def stages(self) -> list[tuple[Stage, Trial]]:
        """Every trial of the cycle with its stage, in the order measured."""
        return [
            (stage, trial)
            for part in self.problems
            for stage, trials in ((Stage.PLAYOFF, part.rechecked), (Stage.SEARCH, part.searched))
            for trial in trials
        ]


@dataclass(frozen=True, slots=True)
class Finish:
    """The cycle is done: make it durable and ship it."""

    record: CycleRecord


Instruction = Measure | Finish


@dataclass(frozen=True, slots=True)
class Plan:
    """One problem that the node tunes."""

    problem: Problem
    space: SearchSpace
    strategy: Strategy


class _Saved(msgspec.Struct, frozen=True):
    cycle: int
    policy_version: int
    policy_digest: str
    strategies: tuple[str, ...]
    known: tuple[tuple[Trial, ...], ...]
    searched: tuple[int, ...]


@dataclass(slots=True)
class NodeLoop:
    """The core of a node agent.

    Attributes:
        cycle: the last finished cycle; −1 before the first.
        policy_version: of the last adopted policy; 0 for none.
        policy_digest: of the last adopted policy; empty for none.
    """

    node: str
    target: str
    plans: Sequence[Plan]
    evaluations: int
    recheck: int
    cycle: int = -1
    policy_version: int = 0
    policy_digest: str = ""
    _known: list[dict[Genome, Trial]] = field(init=False)
    _searched: list[int] = field(init=False)
    _running: int | None = field(default=None, init=False)
    _at: int = field(default=0, init=False)
    _rechecked: tuple[Trial, ...] | None = field(default=None, init=False)
    _drifted: bool = field(default=False, init=False)
    _found: tuple[Trial, ...] = field(default=(), init=False)
    _done: list[ProblemCycle] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._known = [{} for _ in self.plans]
        self._searched = [0] * len(self.plans)

    def known(self, problem: Problem) -> list[Trial]:
        """What is known of a problem, the latest trial of each genome."""
        return list(self._known[[plan.problem for plan in self.plans].index(problem)].values())

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
            prior = prior_for(policy, self.target, plan.problem, plan.space)
            if prior is None:
                continue
            untried = tuple(g for g in prior.candidates if g not in known)
            weight = prior.weight if searched < VETERAN else np.zeros_like(prior.weight)
            plan.strategy.adopt(Prior(prior.mean, weight, untried if not known else untried[:1]))
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
        return self._after_search(event.trials)

    def _begin_problem(self) -> list[Instruction]:
        self._rechecked, self._drifted, self._found = None, False, ()
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
            plan.strategy.forget()
        self._learn(trials)
        return self._search()

    def _search(self) -> list[Instruction]:
        """Ask for the next few genomes, or end the problem's turn when the cycle's budget or the space is used up."""
        plan = self.plans[self._at]
        count = min(ASK, self.evaluations - len(self._found))
        genomes = tuple(plan.strategy.ask(count)) if count else ()
        return [Measure(plan.problem, genomes, playoff=False)] if genomes else self._end_problem()

    def _after_search(self, trials: tuple[Trial, ...]) -> list[Instruction]:
        self._learn(trials)
        self._searched[self._at] += len(trials)
        self._found += trials
        return self._search()

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
            )
        )
        self._at += 1
        if self._at < len(self.plans):
            return self._begin_problem()
        return [Finish(self._finish())]

    def _learn(self, trials: Sequence[Trial]) -> None:
        if trials:
            self.plans[self._at].strategy.tell(trials)
            self._known[self._at].update({trial.genome: trial for trial in trials})

    def _finish(self) -> CycleRecord:
        assert self._running is not None
        self.cycle, self._running = self._running, None
        return CycleRecord(self.node, self.cycle, self.policy_version, tuple(self._done))

    def best(self, problem: Problem, count: int) -> list[Trial]:
        """The fastest trials known of a problem."""
        good = [trial for trial in self.known(problem) if trial.status is Status.OK]
        return sorted(good, key=lambda trial: (trial.time_ns, str(trial.genome)))[:count]

    def state(self) -> bytes:
        """Everything that a restarted node needs to go on from the last finished cycle, as JSON."""
        return to_json(
            _Saved(
                self.cycle,
                self.policy_version,
                self.policy_digest,
                tuple(plan.strategy.state().decode() for plan in self.plans),
                tuple(tuple(known.values()) for known in self._known),
                tuple(self._searched),
            )
        )

    def restore(self, state: bytes) -> None:
        """Continue from ``state``.

        Raises:
            DataError: not a state of such a node.
        """
        saved = from_json(state, _Saved, "node state")
        if len(saved.strategies) != len(self.plans):
            raise DataError(
                f"node state has {len(saved.strategies)} problems, the config {len(self.plans)}",
                "resume with the run's own config",
            )
        for plan, strategy in zip(self.plans, saved.strategies, strict=True):
            plan.strategy.restore(strategy.encode())
        self._known = [{trial.genome: trial for trial in known} for known in saved.known]
        self._searched = list(saved.searched)
        self.cycle = saved.cycle
        self.policy_version, self.policy_digest = saved.policy_version, saved.policy_digest
