from __future__ import annotations

import asyncio
import resource
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from msgspec.structs import replace

from actors import live_file
from actors.aggregator import Aggregator, Watched
from actors.board import Board, Mark
from actors.live import Event, FleetLive
from actors.live_file import EventLog, LiveFile, last_live
from actors.pulse import pulse_of
from quasim.codec import from_json
from quasim.errors import StorageError
from tests.actors.test_aggregator import spec


def shown(path: Path) -> FleetLive:
    return from_json(path.read_bytes(), FleetLive)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_file_is_there_at_once_and_follows_the_board(tmp_path: Path) -> None:
    board, path = Board(), tmp_path / "live" / "fleet.json"
    live = LiveFile(board, path, lambda: 7.0)
    try:
        assert shown(path) == FleetLive(7.0, (), "idle", -1, 0, 0)
        board.heard(pulse_of("node-0", "here", "idle", None, 7.0), 7.0)
        until(lambda: len(shown(path).nodes) == 1)
    finally:
        live.close()
    assert [entry.name for entry in path.parent.iterdir()] == ["fleet.json"]


def test_news_is_written_without_waiting_for_the_next_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_file, "PERIOD_S", 3600.0)
    board, path = Board(), tmp_path / "fleet.json"
    live = LiveFile(board, path, lambda: 7.0)
    try:
        for number in range(3):
            board.heard(pulse_of(f"node-{number}", "here", "starting", None, 7.0), 7.0)
            live.news()
            until(lambda there=number + 1: len(shown(path).nodes) == there)  # type: ignore[misc]
    finally:
        live.close()


def test_an_aggregator_shows_who_starts_and_who_is_lost_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_file, "PERIOD_S", 3600.0)
    path = tmp_path / "live" / "fleet.json"
    watched = replace(spec(tmp_path), watched=Watched(path, tmp_path / "live" / "events.jsonl"))
    aggregator = Aggregator(watched, now=lambda: 7.0)
    try:
        asyncio.run(aggregator.pulse(pulse_of("node-0", "here", "starting", None, 7.0)))
        until(lambda: [node.health for node in shown(path).nodes] == ["ok"])
        asyncio.run(aggregator.mark({"node-0": Mark("lost", 1)}))
        until(lambda: [node.health for node in shown(path).nodes] == ["lost"])
    finally:
        aggregator.close()


def test_closing_writes_what_came_last(tmp_path: Path) -> None:
    board, path = Board(), tmp_path / "fleet.json"
    live = LiveFile(board, path, lambda: 7.0)
    board.heard(pulse_of("node-0", "here", "idle", None, 7.0), 7.0)
    live.close()
    assert [node.pulse.node for node in shown(path).nodes] == ["node-0"]


def test_a_folder_that_goes_away_is_said_once_and_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "live" / "fleet.json"
    live = LiveFile(Board(), path, lambda: 7.0)
    path.unlink()
    path.parent.rmdir()
    until(lambda: "cannot be written" in caplog.text)
    path.parent.mkdir()
    until(path.exists)
    live.close()
    assert caplog.text.count("cannot be written") == 1


def test_events_of_two_writers_stand_in_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "live" / "events.jsonl"
    driver, aggregator = EventLog(path, lambda: 1.0), EventLog(path, lambda: 2.0)
    for number in range(50):
        driver.note("cycle-done", "8 nodes", cycle=number, round=number)
        aggregator.note("batch-refused", "schema: not ours", node="node-1")
    driver.close()
    aggregator.close()
    events = [from_json(line, Event) for line in path.read_bytes().splitlines()]
    assert events[:2] == [
        Event(1.0, "cycle-done", "", 0, 0, "8 nodes"),
        Event(2.0, "batch-refused", "node-1", -1, -1, "schema: not ours"),
    ]
    assert len(events) == 100


def test_events_of_several_threads_stand_in_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log, together = EventLog(path, lambda: 1.0), threading.Barrier(4)
    text = ("x" * 10, "x" * 100_000)  # while a large one is written, its end is not yet the file's

    def write(thread: int) -> None:
        together.wait(20)
        for number in range(40):
            log.note("cycle-done", text[(thread + number) % 2], node=f"node-{thread}", cycle=number)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    log.close()
    events = [from_json(line, Event) for line in path.read_bytes().splitlines()]
    assert Counter((event.node, event.cycle) for event in events) == Counter(
        (f"node-{thread}", number) for thread in range(4) for number in range(40)
    )


def test_a_log_goes_on_where_an_earlier_one_ended_and_a_closed_one_is_silent(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    for text in ("first", "second"):
        log = EventLog(path, lambda: 1.0)
        log.note("run-started", text)
        log.close()
        log.note("run-ended", "too late")
    assert [from_json(line, Event).text for line in path.read_bytes().splitlines()] == ["first", "second"]


def test_events_that_can_never_be_written_are_an_error_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").mkdir()
    with pytest.raises(StorageError, match=r"events\.jsonl"):
        EventLog(tmp_path / "events.jsonl")


def torn(path: Path) -> None:
    log = EventLog(path, lambda: 1.0)
    log.note("run-started", "first")
    log.close()
    with path.open("ab") as file:
        file.write(b'{"at":1.0,"kind":"cyc')


@pytest.mark.parametrize("opened", ["before", "after"])
def test_what_a_writer_that_failed_left_of_its_line_is_cut_off_by_the_next(tmp_path: Path, opened: str) -> None:
    path = tmp_path / "events.jsonl"
    logs = [EventLog(path, lambda: 2.0)] if opened == "before" else []
    torn(path)
    log = logs[0] if logs else EventLog(path, lambda: 2.0)
    log.note("cycle-done", "second")
    log.close()
    assert [from_json(line, Event).text for line in path.read_bytes().splitlines()] == ["first", "second"]


def test_a_disk_that_takes_half_an_event_tears_no_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path, lambda: 1.0)
    log.note("run-started", "first")
    size, before = path.stat().st_size, resource.getrlimit(resource.RLIMIT_FSIZE)
    # Python ignores SIGXFSZ, so that a write beyond the limit takes what fits and the next one fails.
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, before[1]))
    try:
        log.note("cycle-done", "lost")
        assert path.stat().st_size == size + 10
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    log.note("cycle-done", "second")
    log.close()
    assert "an event is not logged (lost)" in caplog.text
    assert [from_json(line, Event).text for line in path.read_bytes().splitlines()] == ["first", "second"]


def test_the_last_state_is_read_again_and_one_that_is_not_whole_is_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "fleet.json"
    assert last_live(path) is None
    live = LiveFile(Board(), path, lambda: 7.0)
    live.close()
    assert last_live(path) == FleetLive(7.0, (), "idle", -1, 0, 0)
    path.write_bytes(path.read_bytes()[:-5])
    assert last_live(path) is None
    assert "is not known" in caplog.text
