"""A node's outbox against a real store, with a disk that may be lost between two starts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.outbox import Outbox, Position, RowCount
from storage.pseudonyms import IdDictionary
from storage.segments import Ack, Refusal, SegmentStore
from tests.storage.samples import IDS, SITE_KEY, evaluations, trial


class StoreLink:
    """Straight into a store; keeps its answers."""

    def __init__(self, store: SegmentStore) -> None:
        self.store = store
        self.answers: list[Ack | Refusal] = []

    def submit(self, batch: bytes) -> Ack | Refusal | None:
        self.answers += self.store.append([batch])
        return self.answers[-1]


@pytest.fixture
def link(tmp_path: Path) -> Iterator[StoreLink]:
    with SegmentStore(tmp_path / "telemetry") as store:
        yield StoreLink(store)


def start(tmp_path: Path, lowest: int, saved: Position | None = None) -> Outbox:
    ids = IdDictionary(tmp_path / "ids", SITE_KEY)
    return Outbox(tmp_path / "spool", "node-0", "cpu", ids, saved or Position(), lowest)


def send(outbox: Outbox, link: StoreLink, time_ns: float) -> None:
    outbox.prepare(evaluations(trial(time_ns=time_ns)))
    assert outbox.flush(link) == 0


def streams(link: StoreLink) -> list[tuple[str, int, int]]:
    return [(stream.node, stream.incarnation, stream.rows) for stream in link.store.streams()]


def test_rows_of_a_disk_that_came_back_empty_are_stored_beside_those_before_it(tmp_path: Path, link: StoreLink) -> None:
    before = start(tmp_path, lowest=100)
    send(before, link, 1.0)
    send(before, link, 2.0)
    shutil.rmtree(tmp_path / "spool")
    after = start(tmp_path, lowest=200)
    send(after, link, 3.0)
    assert [type(answer) for answer in link.answers] == [Ack, Ack, Ack]
    node = IDS.id("node", "node-0")
    assert streams(link) == [(node, 100, 2), (node, 200, 1)]
    assert (after.count(), after.position.since) == (RowCount(1, 1), 200)


def test_a_disk_that_was_kept_counts_on(tmp_path: Path, link: StoreLink) -> None:
    first = start(tmp_path, lowest=100)
    send(first, link, 1.0)
    restarted = start(tmp_path, lowest=100, saved=first.position)
    send(restarted, link, 2.0)
    back = start(tmp_path, lowest=200, saved=restarted.position)
    send(back, link, 3.0)
    assert [incarnation for _, incarnation, _ in streams(link)] == [100, 101, 200]
    assert (back.count(), back.position.since) == (RowCount(3, 3), 100)


def test_what_an_earlier_start_spooled_is_sent_by_the_next(tmp_path: Path, link: StoreLink) -> None:
    first = start(tmp_path, lowest=100)
    first.prepare(evaluations(trial()))
    back = start(tmp_path, lowest=200, saved=first.position)
    assert back.waiting_rows == 1
    send(back, link, 2.0)
    assert [incarnation for _, incarnation, _ in streams(link)] == [100, 200]
    assert back.count() == RowCount(2, 2)
