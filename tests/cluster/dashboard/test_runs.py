from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from cluster.dashboard.hub import Viewer
from cluster.dashboard.names import Names
from cluster.dashboard.runs import LIST_S, MOST_OPEN, Runs
from quasim.errors import DataError, UnknownNameError
from tests.cluster.dashboard.small_run import NOW, SmallRun

STARTED = [f"2026010{day}T000000Z-seed1" for day in range(1, MOST_OPEN + 3)]

NEWER = "20270101T000000Z-seed1"


@pytest.fixture
def folder(small_run: SmallRun, tmp_path: Path) -> Path:
    for name in STARTED:
        shutil.copytree(small_run.folder.path, tmp_path / name, ignore=shutil.ignore_patterns("nodes", "telemetry"))
    (tmp_path / "no-run").mkdir()
    return tmp_path


def runs(folder: Path) -> Runs:
    return Runs(folder, Names(), many=True, clock=lambda: NOW)


def test_runs_of_a_folder_are_listed_newest_first_and_a_new_one_appears_within_a_second(folder: Path) -> None:
    now = [NOW]
    shown = Runs(folder, Names(), many=True, clock=lambda: now[0])
    listed = shown.names()
    assert listed == tuple(reversed(STARTED))
    shutil.copytree(folder / STARTED[0], folder / NEWER)
    now[0] += LIST_S / 2
    assert shown.names() is listed
    now[0] += LIST_S / 2
    assert shown.names() == (NEWER, *listed)
    shutil.rmtree(folder / NEWER)
    now[0] -= 3600
    assert shown.names() == listed


def test_a_run_that_is_asked_for_by_name_is_opened_though_it_is_not_listed_yet(folder: Path) -> None:
    async def look() -> None:
        shown = runs(folder)
        shown.names()
        shutil.copytree(folder / STARTED[0], folder / NEWER)
        await shown.get(NEWER)
        assert shown.names()[0] == NEWER
        await shown.close()

    asyncio.run(look())


def test_one_run_is_itself_alone(folder: Path) -> None:
    assert Runs(folder / STARTED[0], Names()).names() == (STARTED[0],)


@pytest.mark.parametrize("name", ["no-run", "..", ".", f"../{STARTED[0]}", "/etc", f"{STARTED[0]}/nodes"])
def test_nothing_else_is_opened(folder: Path, name: str) -> None:
    with pytest.raises(UnknownNameError):
        asyncio.run(runs(folder).get(name))


def test_each_run_has_one_reader_and_those_that_nobody_looks_at_are_closed(folder: Path) -> None:
    async def look() -> None:
        shown = runs(folder)
        first = await shown.get(STARTED[0])
        first.join(Viewer())
        readers = await asyncio.gather(*(shown.get(name) for name in STARTED * 2))
        assert len({id(reader) for reader in readers[: len(STARTED)]}) == len(STARTED)
        assert await shown.get(STARTED[0]) is first
        assert await shown.get("") is await shown.get(STARTED[-1])
        assert len(shown) == MOST_OPEN
        await shown.close()
        assert len(shown) == 0
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(look())


def test_a_run_that_cannot_be_read_hides_none_of_those_before_it(folder: Path) -> None:
    async def look() -> None:
        shown = runs(folder)
        (folder / STARTED[-1] / "config.json").write_text('{"of": "another version"}')
        assert await shown.get("") is await shown.get(STARTED[-2])
        with pytest.raises(DataError, match=STARTED[-1]):
            await shown.get(STARTED[-1])
        await shown.close()

    asyncio.run(look())
    with pytest.raises(DataError, match="config"):
        Runs(folder / STARTED[-1], Names())


def test_a_folder_without_runs_has_none_yet(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError):
        asyncio.run(runs(tmp_path).get(""))
