from __future__ import annotations

import pytest
from msgspec.structs import replace

from actors.board import LATE_S, LOST_S, Board, Mark
from actors.live import FleetLive, Health, NodePulse
from actors.pulse import pulse_of
from aggregation.fleet_state import FleetSnapshot, Phase


def beat(node: str = "node-0", at: float = 100.0) -> NodePulse:
    return pulse_of(node, "rack-1", "idle", None, at)


def health(board: Board, at: float) -> Health:
    (node,) = board.live(at).nodes
    return node.health


def test_an_empty_board_shows_a_fleet_without_nodes() -> None:
    assert Board().live(5.0) == FleetLive(5.0, (), "idle", -1, 0, 0)


def test_a_node_that_falls_silent_is_late_and_then_lost() -> None:
    board = Board()
    board.heard(beat(), 100.0)
    told = [health(board, 100.0 + silent) for silent in (0.0, LATE_S, LATE_S + 0.1, LOST_S, LOST_S + 0.1)]
    assert told == ["ok", "ok", "late", "late", "lost"]


@pytest.mark.parametrize("mark", ["lost", "left"])
def test_what_the_driver_knows_counts_more_than_a_last_pulse(mark: Health) -> None:
    board = Board()
    board.heard(beat(), 100.0)
    board.mark({"node-0": Mark(mark, 1)})
    board.heard(beat(), 100.1)
    assert health(board, 100.1) == mark


def test_a_node_that_is_back_speaks_for_itself_again() -> None:
    board = Board()
    board.heard(beat(), 100.0)
    board.mark({"node-0": Mark("lost", 1)})
    board.mark({"node-0": Mark("ok", 2)})
    assert health(board, 120.0) == "lost"
    board.heard(beat(), 120.0)
    assert health(board, 120.0) == "ok"


def test_a_word_of_the_driver_that_was_overtaken_counts_no_more() -> None:
    board = Board()
    board.heard(beat(), 100.0)
    board.mark({"node-0": Mark("ok", 2)})
    board.mark({"node-0": Mark("lost", 1)})
    assert health(board, 100.0) == "ok"


def test_a_draining_node_that_falls_silent_is_late_all_the_same() -> None:
    board = Board()
    board.heard(beat(), 100.0)
    board.mark({"node-0": Mark("draining", 1)})
    assert [health(board, at) for at in (100.0, 103.0)] == ["draining", "late"]


def test_nodes_are_shown_by_name_with_their_last_pulse_and_when_it_came() -> None:
    board = Board()
    board.heard(beat("node-1"), 100.0)
    board.heard(beat("node-0"), 100.0)
    newer = replace(beat("node-0"), state="measuring", at=101.0)
    board.heard(newer, 101.5)
    first, second = board.live(101.5).nodes
    assert (first.pulse, first.heard_at, second.pulse.node) == (newer, 101.5, "node-1")


def test_progress_is_shown() -> None:
    board = Board()
    board.learned(FleetSnapshot(Phase.TRYING, 3, 4, ("node-0",), 2))
    board.stored(70)
    assert board.live(1.0) == FleetLive(1.0, (), "trying", 4, 2, 70)


def test_only_what_a_mark_changes_is_news() -> None:
    board = Board()
    assert not board.mark({"node-0": Mark("ok", 1)})
    assert board.mark({"node-0": Mark("ok", 1), "node-1": Mark("lost", 2)})
    assert not board.mark({"node-0": Mark("ok", 1), "node-1": Mark("lost", 2)})
    assert not board.mark({"node-1": Mark("ok", 1)})
    assert board.mark({"node-1": Mark("ok", 3)})


def test_a_board_that_follows_another_keeps_the_silent_in_sight() -> None:
    before = Board()
    for name in ("node-0", "node-1"):
        before.heard(beat(name), 100.0)
    after = Board(before.live(100.5))
    after.mark({"node-0": Mark("left", 1)})
    after.heard(beat("node-1"), 103.0)
    assert [(node.pulse, node.health, node.heard_at) for node in after.live(103.0).nodes] == [
        (beat("node-0"), "left", 100.0),
        (beat("node-1"), "ok", 103.0),
    ]
