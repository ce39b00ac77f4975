"""What happened in a run, computed from the generations that its nodes kept. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import median

import msgspec

from actors.node_events import CycleRecord
from quasim.trial import Genome, Problem
from storage.schemas import Stage

CLOSE = 1.05
"""A node has arrived when it measured a genome that is within 5 % of the fleet's winner."""


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
    """Evaluations until a node had a genome within 5 % of the fleet's winner.

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


def arrivals(records: Sequence[CycleRecord], winners: Mapping[Problem, Genome], joined_at: int) -> list[Arrival]:
    """When each node first measured a genome as good as the fleet's winner of each problem.

    How good a genome is, is the median of all that the fleet measured of it since the device last changed: one window
    on a shared machine is off by more than the 5 % that are asked for.

    Args:
        records: of all nodes.
        winners: of the final playoffs.
        joined_at: nodes whose first cycle is this or later count as late.
    """
    found = []
    first_cycles: dict[str, int] = {}
    for record in records:
        first_cycles[record.node] = min(record.cycle, first_cycles.get(record.node, record.cycle))
    for problem, winner in sorted(winners.items()):
        times_ns = _times_by_genome(records, problem)
        limit_ns = CLOSE * times_ns.get(winner, math.inf)
        for node in sorted(first_cycles):
            searched = _searched(records, node, problem)
            close = (i for i, genome in enumerate(searched, 1) if times_ns.get(genome, math.inf) <= limit_ns)
            late = first_cycles[node] >= joined_at > 0
            found.append(Arrival(node, str(problem), late, next(close, None), len(searched)))
    return found


def _searched(records: Sequence[CycleRecord], node: str, problem: Problem) -> list[Genome]:
    """Genomes that a node searched, in order."""
    own = sorted((record for record in records if record.node == node), key=lambda record: record.cycle)
    parts = (part for record in own for part in record.problems if part.problem == problem)
    return [trial.genome for part in parts for trial in part.searched]


def _times_by_genome(records: Sequence[CycleRecord], problem: Problem) -> dict[Genome, float]:
    """Median time in ns of each genome over all nodes, since a node last found its device changed."""
    parts = [(record.cycle, part) for record in records for part in record.problems if part.problem == problem]
    since = max((cycle for cycle, part in parts if part.drifted), default=0)
    times: dict[Genome, list[float]] = {}
    for cycle, part in parts:
        if cycle >= since:
            for trial in (*part.rechecked, *part.searched):
                times.setdefault(trial.genome, []).append(trial.time_ns)
    return {genome: median(found) for genome, found in times.items()}


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
