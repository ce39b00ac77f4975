from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from quasim.errors import StorageError
from storage import segments
from storage.batches import encode, shared_batch
from storage.queries import open_dataset
from storage.schemas import SHARED_V1, BatchKey
from storage.segment_file import Span, live
from storage.segments import Ack, Refusal, SegmentStore, Stream
from storage.wire import Reason
from tests.storage.samples import IDS, batch_bytes, key, trial

ROWS = 3


def stored(store: SegmentStore) -> list[tuple[str, int, int, int]]:
    """(node, incarnation, sequence, row) of every row that a reader sees."""
    table = store.dataset().to_table(columns=["node_id", "incarnation", "sequence", "row"])
    columns = [table[name].to_pylist() for name in table.schema.names]
    return sorted((node.hex(), *rest) for node, *rest in zip(*columns, strict=True))


def expected(*keys: BatchKey) -> list[tuple[str, int, int, int]]:
    return sorted((k.node, k.incarnation, k.sequence, row) for k in keys for row in range(ROWS))


def fill(folder: Path, count: int, start: int = 0) -> None:
    with SegmentStore(folder) as store:
        for sequence in range(start, start + count):
            store.append([batch_bytes(key(sequence))])


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def test_group_is_acknowledged_in_order_as_one_segment(tmp_path: Path) -> None:
    keys = [key(1, node="b"), key(0, node="a"), key(0, node="a", incarnation=3)]
    with SegmentStore(tmp_path) as store:
        assert store.append([batch_bytes(k) for k in keys]) == [Ack(k, ROWS) for k in keys]
        assert stored(store) == expected(*keys)
        snapshot = store.snapshot()
    assert (snapshot.segments, snapshot.batches, snapshot.rows) == (1, 3, 9)
    assert files(tmp_path) == ["000000000000-000000000000.arrow"]


def test_rows_come_back_as_they_were_sent(tmp_path: Path) -> None:
    with SegmentStore(tmp_path) as store:
        store.append([batch_bytes(key(0))])
        rows = store.dataset().to_table().to_pylist()
    assert [row["time_median_ns"] for row in rows] == [1000.0, 2000.0, 3000.0]
    assert {(row["status"], row["kernel"], row["stage"]) for row in rows} == {("ok", "matmul", "search")}


def test_duplicates_and_late_batches_are_acknowledged_and_stored_once(tmp_path: Path) -> None:
    for _ in range(2):
        with SegmentStore(tmp_path) as store:
            for sequences in ((5, 2, 5), (2, 0), (5,)):
                answers = store.append([batch_bytes(key(s)) for s in sequences])
                assert [a.key for a in answers if isinstance(a, Ack)] == [key(s) for s in sequences]
            assert stored(store) == expected(key(0), key(2), key(5))
    assert store.snapshot().duplicates == 6


def test_same_key_with_other_contents_is_refused_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, other = batch_bytes(key(0)), batch_bytes(key(0), time_ns=7.0)
    with SegmentStore(tmp_path) as store, caplog.at_level(logging.WARNING):
        answers = store.append([first, other])
        later = store.append([other])
        assert isinstance(answers[0], Ack)
        for answer in (answers[1], later[0]):
            assert isinstance(answer, Refusal)
            assert (answer.reason, answer.key) == (Reason.CONFLICT, key(0))
        assert "conflict" in caplog.text
        assert store.dataset().to_table()["time_median_ns"].to_pylist() == [1000.0, 2000.0, 3000.0]


def test_malformed_batch_is_refused_with_a_reason_and_nothing_else_lost(tmp_path: Path) -> None:
    with SegmentStore(tmp_path) as store:
        answers = store.append([batch_bytes(key(0)), b"rubbish", batch_bytes(key(1))])
        assert answers[0] == Ack(key(0), ROWS)
        assert isinstance(answers[1], Refusal)
        assert answers[1].reason is Reason.NOT_ARROW
        assert answers[2] == Ack(key(1), ROWS)
        assert stored(store) == expected(key(0), key(1))
        assert store.snapshot().refusals == 1


def test_nothing_new_writes_no_segment(tmp_path: Path) -> None:
    with SegmentStore(tmp_path) as store:
        assert store.append([]) == []
        store.append([b"rubbish"])
        assert store.dataset().count_rows() == 0
    assert files(tmp_path) == []


def test_reopened_store_knows_its_batches_and_drops_torn_files(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    torn = tmp_path / ".000000000003-000000000003.arrow.0123.tmp"
    torn.write_bytes(b"half a segment")
    with SegmentStore(tmp_path) as store:
        assert not torn.exists()
        assert store.rows == 9
        assert store.append([batch_bytes(key(1))]) == [Ack(key(1), ROWS, duplicate=True)]
        assert store.append([batch_bytes(key(3))]) == [Ack(key(3), ROWS)]
        assert stored(store) == expected(*map(key, range(4)))


def test_store_of_shared_rows_refuses_owner_rows(tmp_path: Path) -> None:
    with SegmentStore(tmp_path, schema=SHARED_V1) as store:
        answers = store.append([batch_bytes(key(0)), encode(shared_batch(key(1), [trial()], IDS.id))])
        assert isinstance(answers[0], Refusal)
        assert answers[1] == Ack(key(1), 1)


@pytest.mark.parametrize("damage", ["truncated", "emptied", "footer", "foreign", "metadata"])
def test_damaged_segment_is_set_aside_and_the_others_kept(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path, 3)
    name = "000000000001-000000000001.arrow"
    data = (tmp_path / name).read_bytes()
    with SegmentStore(tmp_path / "shared", schema=SHARED_V1) as other:
        other.append([encode(shared_batch(key(1), [trial()], IDS.id))])
    foreign = (tmp_path / "shared" / "000000000000-000000000000.arrow").read_bytes()
    shutil.rmtree(tmp_path / "shared")
    (tmp_path / name).write_bytes(
        {
            "truncated": data[: len(data) // 2],
            "emptied": b"",
            "footer": data[:-40] + b"x" * 40,
            "foreign": foreign,
            "metadata": data.replace(b'"rows":3', b'"rows":4'),
        }[damage]
    )
    with caplog.at_level(logging.ERROR), SegmentStore(tmp_path) as store:
        assert name in caplog.text
        assert store.snapshot().quarantined == (f"{name}.corrupt",)
        assert stored(store) == expected(key(0), key(2))
        assert store.append([batch_bytes(key(1))]) == [Ack(key(1), ROWS)]
        store.compact()
        assert stored(store) == expected(key(0), key(1), key(2))
    with SegmentStore(tmp_path) as store:
        assert store.snapshot().quarantined == (f"{name}.corrupt",)
        assert store.rows == 9


def test_compaction_keeps_every_row_and_key(tmp_path: Path) -> None:
    fill(tmp_path, 5)
    with SegmentStore(tmp_path) as store:
        before = store.dataset()
        assert store.compact() == 4
        assert stored(store) == expected(*map(key, range(5)))
        assert before.count_rows() == 15, "a reader from before still finds its files"
        assert store.append([batch_bytes(key(4))]) == [Ack(key(4), ROWS, duplicate=True)]
        assert store.append([batch_bytes(key(5))]) == [Ack(key(5), ROWS)]
        assert store.compact() == 1
        assert store.compact() == 0
        assert stored(store) == expected(*map(key, range(6)))
        assert files(tmp_path) == ["000000000000-000000000005.arrow"]
    with SegmentStore(tmp_path) as store:
        assert stored(store) == expected(*map(key, range(6)))


def test_rows_are_told_apart_by_node_and_incarnation_also_when_merged_and_reopened(tmp_path: Path) -> None:
    keys = [key(0), key(1), key(0, incarnation=2), key(0, node="node-b")]
    with SegmentStore(tmp_path) as store:
        for each in (*keys, keys[0]):
            store.append([batch_bytes(each)])
        before = store.streams()
        store.compact()
        assert store.streams() == before
    with SegmentStore(tmp_path) as store:
        assert store.streams() == before
    node_a, node_b = keys[0].node, keys[3].node
    assert before == tuple(
        sorted((Stream(node_a, 0, 2 * ROWS), Stream(node_a, 2, ROWS), Stream(node_b, 0, ROWS)), key=lambda s: s.node)
    )


def test_large_segments_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "MAX_SEGMENT_ROWS", 2 * ROWS)
    fill(tmp_path, 5)
    with SegmentStore(tmp_path) as store:
        assert store.compact() == 2
        assert store.compact() == 0
        assert store.snapshot().segments == 3
        assert stored(store) == expected(*map(key, range(5)))


def test_damaged_merged_segment_gives_way_to_its_parts(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    with SegmentStore(tmp_path) as store:
        store.compact()
    merged = tmp_path / "000000000000-000000000002.arrow"
    merged.write_bytes(merged.read_bytes()[:100])
    with SegmentStore(tmp_path) as store:
        assert store.snapshot().quarantined == (f"{merged.name}.corrupt",)
        assert stored(store) == expected(*map(key, range(3)))


def test_damage_found_by_compaction_sets_one_segment_aside(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    name = "000000000001-000000000001.arrow"
    data = (tmp_path / name).read_bytes()
    with SegmentStore(tmp_path) as store:
        (tmp_path / name).write_bytes(data[:200])
        store.compact()
        assert store.snapshot().quarantined == (f"{name}.corrupt",)
        assert stored(store) == expected(key(0), key(2))
        assert store.append([batch_bytes(key(1))]) == [Ack(key(1), ROWS)]
        store.compact()
        assert stored(store) == expected(key(0), key(1), key(2))
    assert files(tmp_path) == [
        "000000000000-000000000000.arrow",
        f"{name}.corrupt",
        "000000000002-000000000002.arrow",
        "000000000002-000000000003.arrow",
        "000000000003-000000000003.arrow",
    ]


def test_two_stores_never_own_one_folder(tmp_path: Path) -> None:
    script = "import sys, pathlib; from storage.segments import SegmentStore; SegmentStore(pathlib.Path(sys.argv[1]))"
    with SegmentStore(tmp_path) as store:
        with pytest.raises(StorageError, match="in use"):
            SegmentStore(tmp_path)
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path)],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
        )
        assert "in use by another process" in done.stderr
        store.append([batch_bytes(key(0))])
    with SegmentStore(tmp_path) as store:
        assert store.rows == ROWS


def test_readers_need_no_lock(tmp_path: Path) -> None:
    with SegmentStore(tmp_path) as store:
        store.append([batch_bytes(key(0))])
        assert open_dataset([tmp_path]).count_rows() == ROWS


def test_failed_write_acknowledges_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    with SegmentStore(folder) as store:
        store.append([batch_bytes(key(0))])
        folder.rename(tmp_path / "away")
        with pytest.raises(StorageError, match="cannot write"):
            store.append([batch_bytes(key(1))])
        (tmp_path / "away").rename(folder)
        assert store.rows == ROWS
        assert store.append([batch_bytes(key(1))]) == [Ack(key(1), ROWS)]


def test_closed_store_says_so(tmp_path: Path) -> None:
    store = SegmentStore(tmp_path)
    store.close()
    store.close()
    with pytest.raises(StorageError, match="is closed"):
        store.append([batch_bytes(key(0))])


def test_spans_within_another_do_not_count() -> None:
    found = [Span(0, 0), Span(0, 2), Span(1, 1), Span(2, 2), Span(3, 3), Span(4, 6), Span(4, 5)]
    assert live(found) == [Span(0, 2), Span(3, 3), Span(4, 6)]
