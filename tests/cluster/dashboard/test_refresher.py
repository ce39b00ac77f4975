from __future__ import annotations

import asyncio
import json
import shutil
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.live import FleetLive, Health, Kind
from actors.live_file import EventLog
from cluster.dashboard import refresher as timing
from cluster.dashboard.desk import NEEDS, Desk
from cluster.dashboard.hub import Viewer
from cluster.dashboard.names import Names
from cluster.dashboard.refresher import Refresher, Threads
from cluster.run_folder import RunFolder
from quasim.codec import from_json, to_json
from storage.files import write_atomic
from tests.cluster.dashboard.small_run import NOW, SmallRun


@pytest.fixture
def copy(small_run: SmallRun, tmp_path: Path) -> RunFolder:
    shutil.copytree(small_run.folder.path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def beat(folder: RunFolder, at: float, health: Health = "ok") -> None:
    live = from_json(folder.fleet_now.read_bytes(), FleetLive)
    nodes = tuple(msgspec.structs.replace(node, health=health) for node in live.nodes)
    write_atomic(folder.fleet_now, to_json(msgspec.structs.replace(live, at=at, nodes=nodes)))


async def fleet_at(viewer: Viewer) -> float:
    """Time of the next fleet that the viewer gets."""
    while True:
        message: Any = json.loads(await asyncio.wait_for(viewer.next(), 10))
        if message["view"] == "fleet":
            return float(message["data"]["at"])


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def with_refresher(folder: RunFolder, watch: Any, clock: Any = time.monotonic) -> Any:
    threads = Threads()
    refresher = Refresher(Desk(folder.path, Names(), tuple, lambda: NOW), threads, clock)
    task = asyncio.create_task(refresher.run())
    try:
        return await watch(refresher)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        threads.close()


def test_who_joins_gets_every_view_and_then_what_changes_once_a_second_at_most(
    copy: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "LOOK_S", 0.01)
    clock = Clock()

    async def watch(refresher: Refresher) -> tuple[set[str], list[float]]:
        viewer = Viewer()
        refresher.join(viewer)
        first = {json.loads(await viewer.next())["view"] for _ in NEEDS}
        beat(copy, NOW + 1)
        seen = [await fleet_at(viewer)]
        for number in (2, 3):
            beat(copy, NOW + number)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(fleet_at(viewer), 0.2)
        clock.now += timing.PUSH_S
        return first, [*seen, await fleet_at(viewer)]

    first, seen = asyncio.run(with_refresher(copy, watch, clock))
    assert first == set(NEEDS)
    assert seen == [NOW + 1, NOW + 3]


def test_who_comes_or_goes_is_shown_at_once_and_all_else_waits_its_turn(
    copy: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "LOOK_S", 0.01)

    async def watch(refresher: Refresher) -> None:
        viewer = Viewer()
        refresher.join(viewer)
        for number in (1, 2):  # the clock stands: the second one is not due any more
            beat(copy, NOW + number)
            note(copy, "cycle-done", f"cycle {number}")
        await asyncio.sleep(0.1)
        beat(copy, NOW + 3, "lost")
        note(copy, "node-lost", "node-0 is lost")
        missing = {("fleet", '"health":"lost"'), ("events", "node-0 is lost")}
        while missing:
            message = await asyncio.wait_for(viewer.next(), 10)
            missing -= {(view, text) for view, text in missing if f'{{"view":"{view}"' in message and text in message}

    asyncio.run(with_refresher(copy, watch, Clock()))


def note(folder: RunFolder, kind: Kind, text: str) -> None:
    log = EventLog(folder.events, lambda: NOW)
    log.note(kind, text)
    log.close()


def test_a_table_that_appears_is_seen(copy: RunFolder) -> None:
    hidden = copy.path / "hidden"
    copy.table.rename(hidden)

    async def watch(refresher: Refresher) -> list[int | None]:
        viewer = Viewer()
        refresher.join(viewer)
        rows: list[int | None] = []
        while not rows or rows[-1] != 80:
            message: Any = json.loads(await asyncio.wait_for(viewer.next(), 10))
            if message["view"] == "search":
                rows.append(message["data"]["rows"])
                if hidden.exists():
                    hidden.rename(copy.table)
        return rows

    assert asyncio.run(with_refresher(copy, watch))[-1] == 80


def test_a_look_that_fails_ends_nothing(copy: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    async def watch(refresher: Refresher) -> float:
        viewer = Viewer()
        refresher.join(viewer)
        look, failures = refresher._desk.look, iter([RuntimeError("no such thing")])

        def fails_once() -> list[str]:
            for failure in failures:
                raise failure
            return look()

        monkeypatch.setattr(refresher._desk, "look", fails_once)
        beat(copy, NOW + 7)
        while (at := await fleet_at(viewer)) != NOW + 7:
            pass
        return at

    assert asyncio.run(with_refresher(copy, watch)) == NOW + 7
