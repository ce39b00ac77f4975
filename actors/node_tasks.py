"""Whether a node gives a task away or takes one: pure, told the heat of its device and the time.

A task that leaves is kept, idle, until it is known that it has arrived: so a node, a driver or a message may be lost at
any moment, and the task is neither lost nor run twice.

    held ─release─► leaving ─settle(arrived)─► gone          (nowhere) ─accept─► held
      ▲                └──────settle(not arrived)───┐
      └─────────────────────────────────────────────┘
"""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec

from actors.energy import Spent
from actors.node_loop import NodeLoop, Plan
from actors.tasks import Leaving, Tasks, TaskState
from quasim.energy.heat import Heat
from quasim.energy.migration import HeatReport, Move, Task, why_not_from, why_not_task, why_not_to
from quasim.errors import DataError
from quasim.trial import Problem

PlanOf = Callable[[str, Problem], Plan]
"""A fresh plan for a task: name and problem in.

Raises:
    DataError: the node does not know the problem.
"""


class Residence(msgspec.Struct, frozen=True):
    """What must outlive a restart; times in ns of the node's clock.

    Attributes:
        leaving: see ``Leaving``.
        since_ns: when each task came that is not at home here.
        moved_ns: when the node last took part in a move; None: never.
        arrived_w: of the task that came then; 0 where one left.
    """

    leaving: tuple[TaskState, ...] = ()
    since_ns: dict[str, int] = {}
    moved_ns: int | None = None
    arrived_w: float = 0.0


class Released(msgspec.Struct, frozen=True):
    """A task on its way, or why the node keeps it."""

    parcel: bytes = b""
    why: str = ""


class Shares:
    """How long a node works on each problem in a cycle, from now on."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self.began_ns = self._last_ns = clock()
        self.busy_s: dict[Problem, float] = {}

    def lap(self, problem: Problem) -> None:
        """What passed since the last call went into this problem."""
        now_ns = self._clock()
        self.busy_s[problem] = self.busy_s.get(problem, 0.0) + (now_ns - self._last_ns) / 1e9
        self._last_ns = now_ns


class NodeTasks:
    """The tasks of one node.

    Args:
        clock: ns; what lies ahead of it, since the machine was started anew, counts as now.
    """

    def __init__(
        self,
        loop: NodeLoop,
        plan_of: PlanOf,
        residence: Residence,
        clock: Callable[[], int],
    ) -> None:
        self._loop, self._plan_of, self._clock = loop, plan_of, clock
        self._leaving = Leaving(residence.leaving)
        self._began_ns = now_ns = clock()
        self._since_ns = {task: min(since_ns, now_ns) for task, since_ns in residence.since_ns.items()}
        self._moved_ns = None if residence.moved_ns is None else min(residence.moved_ns, now_ns)
        self._arrived_w = residence.arrived_w
        self._busy_s: dict[Problem, float] = {}
        self._above_j: dict[Problem, float] = {}

    @property
    def residence(self) -> Residence:
        """To be kept through a restart."""
        return Residence(self._leaving.tasks, dict(self._since_ns), self._moved_ns, self._arrived_w)

    @property
    def tasks(self) -> Tasks:
        """Which it has."""
        return Tasks(self._loop.tasks, tuple(state.task for state in self._leaving.tasks))

    def worked(self, shares: Shares, spent: Spent, idle_power_w: float | None) -> None:
        """A cycle is over.

        Args:
            spent: what it drew; tasks whose power is not known do not move.
        """
        busy_s = shares.busy_s
        self._began_ns, self._busy_s = shares.began_ns, dict(busy_s)
        idle_w = idle_power_w if idle_power_w is not None and spent.joules is not None else math.nan
        above = {about: joules - idle_w * busy_s.get(about, 0.0) for about, joules in spent.by_problem}
        self._above_j = {about: max(0.0, joules) for about, joules in above.items() if math.isfinite(joules)}

    def report(self, heat: Heat | None) -> HeatReport | None:
        """What the node says of itself; None where its heat is not known."""
        if heat is None:
            return None
        rested_s = math.inf if self._moved_ns is None else self._age_s(self._moved_ns)
        return HeatReport(
            node=self._loop.node,
            age_s=heat.age_s,
            forecast=heat.forecast,
            hot_samples=heat.hot_samples,
            tasks=tuple(map(self._task, self._loop.plans)),
            throttling=heat.throttling,
            rested_s=rested_s,
            arrived_w=self._arrived_w,
        )

    def _task(self, plan: Plan) -> Task:
        """Tasks of one problem share its time and joules; one whose power is not known stays."""
        sharing = sum(other.problem == plan.problem for other in self._loop.plans)
        since_ns = self._since_ns.get(plan.task)
        above_j = self._above_j.get(plan.problem)
        period_s = max(self._age_s(self._began_ns), sum(self._busy_s.values()), 1e-9)
        return Task(
            name=plan.task,
            power_w=(above_j or 0.0) / sharing / period_s,
            busy=self._busy_s.get(plan.problem, 0.0) / sharing / period_s,
            here_s=math.inf if since_ns is None else self._age_s(since_ns),
            movable=above_j is not None,
        )

    def release(self, move: Move, heat: Heat | None) -> Released:
        """Give the task of a move away, if the node agrees that it should; asked again it answers alike."""
        if move.task in self._leaving:
            return Released(self._leaving.get(move.task).to_bytes())
        if why := self._why_kept(move, heat):
            return Released(why=why)
        state = self._loop.release(move.task)
        self._leaving.add(state)
        self._moved(0.0)
        return Released(state.to_bytes())

    def _why_kept(self, move: Move, heat: Heat | None) -> str:
        report = self.report(heat)
        if report is None:
            return "its heat is not known any more"
        tasks = {task.name: task for task in report.tasks}
        if move.task not in tasks:
            return "it does not have the task"
        return why_not_from(report) or why_not_task(tasks[move.task])

    def accept(self, parcel: bytes, move: Move, heat: Heat | None) -> str:
        """Take a task over, if the node wants it; "" or why not. Asked again it answers alike.

        It comes from another device, be it of the same model: boards differ, and a cooler one is never the same.

        Raises:
            DataError: the parcel is damaged, or of another space or strategy; nothing has changed then.
        """
        state = TaskState.from_bytes(parcel)
        name = state.task
        if name in self._loop.tasks:
            return ""
        if name != move.task or name in self._leaving:
            return f"{name} is not the task that was announced, or on its way from here"
        report = self.report(heat)
        if report is None:
            return "its heat is not known any more"
        if why := why_not_to(report, move.power_w, move.busy):
            return why
        self._loop.accept(state, self._plan_of(name, state.problem), same_device=False)
        self._since_ns[name] = self._clock()
        self._moved(move.power_w)
        return ""

    def settle(self, task: str, *, arrived: bool) -> None:
        """A task that was leaving has arrived, or comes back to work here; of any other nothing changes.

        Raises:
            DataError: it cannot come back, since the node's own state is damaged.
        """
        if task not in self._leaving:
            return
        if not arrived:
            state = self._leaving.get(task)
            if task in self._loop.tasks:
                raise DataError(f"task {task} is held and leaving", "the node's state is damaged: start it anew")
            self._loop.accept(state, self._plan_of(task, state.problem), same_device=True)
        else:
            self._since_ns.pop(task, None)
        self._leaving.drop(task)

    def _moved(self, arrived_w: float) -> None:
        self._moved_ns, self._arrived_w = self._clock(), arrived_w

    def _age_s(self, then_ns: int) -> float:
        return (self._clock() - then_ns) / 1e9
