"""What happened in a run, computed from the generations that its nodes kept. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from actors.node_loop import CycleRecord
from quasim.trial import Problem
from storage.schemas import Stage

CLOSE = 1.05
"""A node has arrived when it measured a time that cannot be told from one within 5 % of the fleet's best: when its
95 % interval reaches down to there. One window of a shared machine is off by more than that often enough."""


class Selection(msgspec.Struct, frozen=True):
    """How selection stood after one cycle, over all nodes.

    Attributes:
        best_ns: fastest known time per problem (as text); absent while nothing worked.
        entropy: mean entropy of what the nodes' strategies sample from: 1 uniform, 0 decided.
        policy_versions: version that each node worked with.
    """

    cycle: int
    best_ns: dict[str, float]
    entropy: float
    policy_versions: dict[str, int]


class Arrival(msgspec.Struct, frozen=True):
    """Evaluations until a node came within 5 % of the fleet's best.

    Attributes:
        evaluations: new genomes measured up to and including the first close one; None: it never came close.
        of: new genomes that the node measured in all.
    """

    node: str
    problem: str
    late: bool
    evaluations: int | None
    of: int


def selection_by_cycle(records: Sequence[CycleRecord]) -> list[Selection]:
    """Best so far and mean entropy, cycle by cycle."""
    by_cycle: dict[int, list[CycleRecord]] = {}
    for record in records:
        by_cycle.setdefault(record.cycle, []).append(record)
    return [_selection(cycle, by_cycle[cycle]) for cycle in sorted(by_cycle)]


def _selection(cycle: int, records: Sequence[CycleRecord]) -> Selection:
    best: dict[str, float] = {}
    for part in (part for record in records for part in record.problems):
        if part.best_ns is not None:
            best[str(part.problem)] = min(part.best_ns, best.get(str(part.problem), math.inf))
    entropies = [part.entropy for record in records for part in record.problems]
    return Selection(
        cycle=cycle,
        best_ns=dict(sorted(best.items())),
        entropy=sum(entropies) / len(entropies),
        policy_versions={record.node: record.policy_version for record in sorted(records, key=lambda r: r.node)},
    )


def status_counts(records: Iterable[CycleRecord], problem: Problem) -> dict[str, int]:
    """Searched trials of a problem by status."""
    counts = Counter(
        trial.status.value
        for record in records
        for part in record.problems
        if part.problem == problem
        for trial in part.searched
    )
    return dict(sorted(counts.items()))


def arrivals(records: Sequence[CycleRecord], best_ns: dict[Problem, float], joined_at: int) -> list[Arrival]:
    """When each node came close to the fleet's best of each problem.

    Args:
        records: of all nodes.
        best_ns: the fleet's best time of each problem.
        joined_at: nodes whose first cycle is this or later count as late.
    """
    found = []
    for node in sorted({record.node for record in records}):
        own = sorted((r for r in records if r.node == node), key=lambda r: r.cycle)
        for problem, best in sorted(best_ns.items()):
            lows = [
                trial.timing.low_ns if trial.timing else math.inf
                for record in own
                for part in record.problems
                if part.problem == problem
                for trial in part.searched
            ]
            close = next((i for i, low_ns in enumerate(lows, 1) if low_ns <= CLOSE * best), None)
            late = own[0].cycle >= joined_at > 0
            found.append(Arrival(node, str(problem), late, close, len(lows)))
    return found


def evaluations(records: Iterable[CycleRecord], problem: Problem) -> int:
    """Measurements made for a problem, repeated ones included."""
    return sum(
        1
        for record in records
        for part in record.problems
        if part.problem == problem
        for _ in (*part.rechecked, *part.searched)
    )


def trials_by_stage(records: Iterable[CycleRecord]) -> dict[str, int]:
    """How many trials were searched and how many measured again."""
    counts = Counter(stage for record in records for stage, _ in record.stages())
    return {stage.value: counts[stage] for stage in Stage}
