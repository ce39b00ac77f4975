from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from actors.live import Event
from actors.live_file import EventLog
from actors.node_events import CycleRecord
from cluster import events
from cluster.run_log import FleetCycle, MoveLog, RoundLog, RoundOutcome, TopicVerdicts
from quasim.energy.loop import Regulated
from quasim.energy.migration import Move
from quasim.errors import DataError

ROUND = RoundLog(
    cycle=2,
    number=4,
    asked=3,
    members=4,
    participants=2,
    abandoned="",
    dropouts=(("receipts", ("node-1",)),),
    to_nodes_bytes=1,
    from_nodes_bytes=1,
    node_bytes=1,
    node_cpu_s=None,
    server_cpu_s=0.0,
    wall_s=1.5,
    canaries=(TopicVerdicts("matmul", "m1", 0, 2, False),),
    privacy=None,
)


def kinds(happened: list[events.Happened]) -> list[str]:
    return [one.kind for one in happened]


def test_a_round_that_came_to_a_policy_is_closed_and_releases_it() -> None:
    closed, released = events.of_round(ROUND, 7)
    assert (closed.kind, closed.text) == ("round-closed", "2 of 3 nodes in the sum, 1 dropped out, 1.5 s")
    assert (released.kind, released.text) == ("policy-released", "policy 7")


def test_an_abandoned_round_says_why_and_releases_nothing() -> None:
    (gone,) = events.of_round(replace(ROUND, abandoned="below its floor"), 6)
    assert (gone.kind, gone.text) == ("round-abandoned", "below its floor")


def test_what_canaries_hold_back_is_named() -> None:
    held = replace(ROUND, canaries=(TopicVerdicts("matmul", "m1", 2, 0, True),))
    assert kinds(events.of_round(held, 7)) == ["policy-held", "round-closed", "policy-released"]
    assert "matmul m1" in events.of_round(held, 7)[0].text
    assert kinds(events.of_round(replace(held, abandoned="held back"), 6)) == ["policy-held", "round-abandoned"]


def test_a_cycle_tells_of_caps_that_changed_and_of_tasks_that_moved() -> None:
    quiet = CycleRecord("node-0", 2, 1, ())
    capped = replace(quiet, node="node-1", regulated=Regulated(last_cap_w=300.0, advices=2))
    move = Move("node-0/0", "node-0", "node-1", 200.0, 0.5, 9.0, 1.0)
    moves = (MoveLog(move, True, "", 0.1), MoveLog(move, False, "it keeps it"))
    outcome = RoundOutcome(1, "plain", 2, "", ())
    told = events.of_cycle(FleetCycle(2, (quiet, capped), outcome, moves))
    assert kinds(told) == ["regulator", "task-moved", "cycle-done"]
    assert (told[0].node, told[0].text) == ("node-1", "wants 300 W (advise; 2 changes, 0 set)")
    assert (told[1].node, told[1].text) == ("node-1", "node-0/0 from node-0 to node-1")


def test_what_was_written_is_read_again_from_any_place_on(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    assert list(events.read_events(path)) == []
    log = EventLog(path, lambda: 5.0)
    events.write(log, events.of_round(ROUND, 7), round=4, cycle=2)
    log.close()
    (first, behind), (second, end) = events.read_events(path)
    assert first == Event(5.0, "round-closed", "", 4, 2, "2 of 3 nodes in the sum, 1 dropped out, 1.5 s")
    assert list(events.read_events(path, behind)) == [(second, end)]
    assert end == path.stat().st_size


def test_a_line_that_is_being_written_is_left_for_later(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path, lambda: 5.0)
    log.note("run-started", "one")
    log.close()
    with path.open("ab") as file:
        file.write(b'{"at":5.0,"ki')
    assert [event.text for event, _ in events.read_events(path)] == ["one"]
    path.write_bytes(b"{}\n")
    with pytest.raises(DataError, match="events"):
        list(events.read_events(path))
