from __future__ import annotations

from actors.node_events import CycleRecord, ProblemCycle
from cluster.history import arrivals, evaluations, selection_by_cycle, status_counts
from quasim.trial import Genome, Problem, Status, Timing, Trial

PROBLEM = Problem.of("table", n=1)


def trial(tile: int, time_ns: float | None) -> Trial:
    timing = Timing(time_ns, time_ns, time_ns, 1) if time_ns else None
    status = Status.OK if timing else Status.CRASHED
    return Trial(problem=PROBLEM, target="t", genome=Genome({"tile": tile}), status=status, timing=timing)


def record(
    node: str, cycle: int, searched: list[Trial], rechecked: list[Trial] | None = None, drifted: bool = False
) -> CycleRecord:
    best = min((t.time_ns for t in searched if t.timing), default=None)
    part = ProblemCycle(PROBLEM, tuple(rechecked or ()), tuple(searched), drifted, None, best, 0.5)
    return CycleRecord(node, cycle, cycle, (part,))


def until(records: list[CycleRecord], winner: int, joined_at: int = 0) -> dict[str, int | None]:
    found = arrivals(records, {PROBLEM: Genome({"tile": winner})}, joined_at)
    return {arrival.node: arrival.evaluations for arrival in found}


def test_a_node_arrives_with_the_first_genome_close_to_the_winner() -> None:
    records = [
        record("a", 0, [trial(1, 200.0), trial(2, 104.0), trial(3, 100.0)]),
        record("b", 0, [trial(1, 201.0), trial(4, 150.0)]),
    ]
    assert until(records, winner=3) == {"a": 2, "b": None}


def test_one_lucky_or_unlucky_window_decides_nothing() -> None:
    lucky = [trial(1, 90.0)]
    others = [record(node, 0, [trial(1, 150.0), trial(3, 100.0)]) for node in ("b", "c")]
    assert until([record("a", 0, lucky), *others], winner=3) == {"a": None, "b": 2, "c": 2}


def test_times_from_before_the_device_changed_do_not_count() -> None:
    records = [
        record("a", 0, [trial(1, 10.0), trial(2, 20.0)]),
        record("a", 1, [trial(3, 100.0)], rechecked=[trial(1, 300.0), trial(2, 100.0)], drifted=True),
    ]
    assert until(records, winner=3) == {"a": 2}


def test_nodes_that_joined_late_are_marked() -> None:
    records = [record("a", 0, [trial(1, 1.0)]), record("b", 2, [trial(1, 1.0)])]
    found = arrivals(records, {PROBLEM: Genome({"tile": 1})}, joined_at=2)
    assert {arrival.node: arrival.late for arrival in found} == {"a": False, "b": True}


def test_counts_and_selection_are_over_all_nodes() -> None:
    records = [
        record("a", 0, [trial(1, 3.0), trial(2, None)], rechecked=[trial(5, 9.0)]),
        record("b", 0, [trial(1, 2.0)]),
    ]
    assert status_counts(records, PROBLEM) == {"crashed": 1, "ok": 2}
    assert evaluations(records, PROBLEM) == 4
    [selection] = selection_by_cycle(records)
    assert selection.best_ns == {"table[n=1]": 2.0}
    assert selection.policy_versions == {"a": 0, "b": 0}
