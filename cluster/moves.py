"""Moves tasks between nodes when a cycle is over: the aggregator advises, nodes decide, the driver carries.

    source.release ──► parcel ──► target.accept ──► source.settle(arrived)
                                        └─refused─► source.settle(not arrived): it works on there

A call that fails leaves the task where the source keeps it, idle; before the next advice every such task is looked for
on all nodes, and settled once all have answered. So whoever dies, a task runs on one node or, for a cycle, on none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Literal

from ray.actor import ActorHandle

from actors.ray_aggregator import RayAggregator
from actors.remote import RayNode
from actors.tasks import Tasks
from cluster.calls import get
from cluster.run_log import MoveLog
from quasim.energy.migration import HeatReport, Move
from quasim.errors import QuasimError


class Moves:
    """The moves after one cycle.

    Args:
        nodes: those that are not busy, by name.
        fleet: how many nodes there are, busy ones too.
    """

    def __init__(
        self,
        nodes: Mapping[str, ActorHandle[RayNode]],
        fleet: int,
        aggregator: ActorHandle[RayAggregator],
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._nodes, self._fleet, self._aggregator = nodes, fleet, aggregator
        self._say, self._clock = say, clock

    def between_cycles(self, mode: Literal["off", "advise", "move"]) -> tuple[MoveLog, ...]:
        """Settle what an earlier move left open, then follow the aggregator's advice until there is none.

        Each node takes part in one move at most, so that there are no more than half as many as nodes.
        """
        if mode == "off":
            return ()
        self.reconcile()
        logs: list[MoveLog] = []
        for _ in range(len(self._nodes) // 2):
            move: Move | None = get(self._aggregator.advise.remote(self._reports(logs)), "the aggregator")
            if move is None:
                break
            logs.append(self.make(move) if mode == "move" else MoveLog(move, False, "migration is set to advise"))
            self._say(_text(logs[-1]))
        return tuple(logs)

    def _reports(self, logs: list[MoveLog]) -> list[HeatReport]:
        """Of nodes that were not asked to move something this time: who refused is not asked again at once."""
        asked = {name for log in logs for name in (log.move.source, log.move.target)}
        found = self._each({name: node.heat.remote() for name, node in self._nodes.items() if name not in asked})
        return [report for report in found.values() if isinstance(report, HeatReport)]

    def make(self, move: Move) -> MoveLog:
        """Carry a task from its source to its target, if both agree."""
        source, target = self._nodes[move.source], self._nodes[move.target]
        begin_s = self._clock()
        try:
            released = get(source.release.remote(move), move.source)
            if released.why:
                return MoveLog(move, False, f"{move.source} keeps it: {released.why}")
            refused = get(target.accept.remote(released.parcel, move), move.target)
            get(source.settle.remote(move.task, not refused), move.source)
        except QuasimError as error:
            # The task waits at its source until all nodes can be asked where it is.
            return MoveLog(move, False, str(error))
        if refused:
            return MoveLog(move, False, f"{move.target} does not take it: {refused}")
        took_s = self._clock() - begin_s
        get(self._aggregator.moved.remote(took_s), "the aggregator")
        return MoveLog(move, True, "", took_s)

    def reconcile(self) -> None:
        """Settle tasks that set out and of which it is not known whether they arrived."""
        found = self._each({name: node.tasks.remote() for name, node in self._nodes.items()})
        known = {name: tasks for name, tasks in found.items() if isinstance(tasks, Tasks)}
        held = {task for tasks in known.values() for task in tasks.held}
        for name, tasks in known.items():
            for task in tasks.leaving:
                if task in held or len(known) == self._fleet:
                    self._each({name: self._nodes[name].settle.remote(task, task in held)})
                    self._say(f"{task} {'has arrived' if task in held else 'stays on ' + name}: an earlier move")

    def _each(self, calls: Mapping[str, object]) -> dict[str, object]:
        """The answers that came, by node."""
        answers: dict[str, object] = {}
        for name, call in calls.items():
            try:
                answers[name] = get(call, name)
            except QuasimError as error:
                self._say(str(error))
        return answers


def _text(log: MoveLog) -> str:
    move = log.move
    way = f"{move.task} from {move.source} to {move.target}"
    gain = f"expected to save {move.gain_s:.3g} s of work in a minute"
    return f"moved {way} in {log.took_s:.3g} s, {gain}" if log.made else f"not moved: {way}, {gain}; {log.why}"
