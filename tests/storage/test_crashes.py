from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from storage.keys import load_or_create_key
from storage.pseudonyms import IdDictionary
from storage.registry import PolicyRegistry
from storage.segments import Ack, SegmentStore
from storage.spool import Place, Spool
from tests.storage.samples import SITE_KEY, batch_bytes, key

REPOSITORY = Path(__file__).parents[2]


def crashes(scenario: str, root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Each folder that a crash left, with what had been promised; the last one is of a run to the end."""
    command = [sys.executable, "-m", "tests.storage.crash", scenario, str(root)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    steps = sorted(int(path.stem) for path in root.glob("*.promised"))
    assert len(steps) > 5, "the scenario was not interrupted anywhere"
    for step in steps:
        yield root / str(step), (root / f"{step}.promised").read_text().splitlines()


def test_replaced_file_is_old_or_new_but_never_torn(tmp_path: Path) -> None:
    seen = set()
    for folder, promised in crashes("replace_file", tmp_path):
        file = folder / "file"
        content = file.read_bytes() if file.exists() else None
        assert content in (None, b"old" * 100, b"new" * 100)
        if promised:
            assert content is not None
        if promised[-1:] == ["new"]:
            assert content == b"new" * 100
        seen.add(content)
    assert len(seen) == 3


def test_key_once_returned_stays_and_no_crash_prevents_one(tmp_path: Path) -> None:
    for folder, promised in crashes("make_key", tmp_path):
        found = load_or_create_key(folder / "site" / "key").hex()
        assert promised in ([], [found])


def test_saved_ids_survive_and_more_can_be_saved(tmp_path: Path) -> None:
    for folder, promised in crashes("save_ids", tmp_path):
        dictionary = IdDictionary(folder / "ids", SITE_KEY)
        assert {("node", text) for text in promised} <= set(dictionary.entries().values())
        dictionary.id("node", "later")
        dictionary.save()
        texts = {text for _, text in IdDictionary(folder / "ids", SITE_KEY).entries().values()}
        assert {*promised, "later"} <= texts <= {"first", "second", "third", "later"}


def test_policy_versions_survive_whole(tmp_path: Path) -> None:
    for folder, promised in crashes("put_policies", tmp_path):
        registry = PolicyRegistry(folder / "policies")
        versions = registry.versions()
        assert {int(version) for version in promised} <= set(versions)
        assert versions == [1, 2, 5][: len(versions)]
        assert all(registry.get(version) == b"policy %d" % version for version in versions)
        registry.put(9, b"after the crash")
        assert registry.latest() == (9, b"after the crash")


def test_spooled_batches_survive_whole_until_acknowledged(tmp_path: Path) -> None:
    for folder, promised in crashes("use_spool", tmp_path):
        spool = Spool(folder / "spool")
        kept = {place.sequence: data for place, data in spool.pending()}
        assert list(kept) == sorted(kept)
        assert all(data == b"batch %d" % sequence for sequence, data in kept.items())
        assert spool.snapshot().rows == sum(sequence + 1 for sequence in kept)
        put = {int(line.split()[1]) for line in promised if line.startswith("put")}
        may_be_gone = {int(line.split()[1]) for line in promised if line.startswith(("ack", "discard"))}
        assert put - may_be_gone <= set(kept)
        assert "discarded 3" not in promised or 3 not in kept
        assert not list((folder / "spool").glob(".*.tmp"))
        spool.put(Place(1, 0), b"next", rows=1)


def test_acknowledged_batches_survive_once_at_every_crash_point(tmp_path: Path) -> None:
    everything = [key(sequence) for sequence in range(6)]
    for folder, promised in crashes("use_store", tmp_path):
        acknowledged = {int(word) for line in promised for word in line.split()}
        with SegmentStore(folder / "store") as store:
            assert acknowledged <= set(stored_sequences(store))
            assert store.snapshot().quarantined == ()
            answers = store.append([batch_bytes(k) for k in everything])
            assert [a.key for a in answers if isinstance(a, Ack)] == everything
            assert all(a.duplicate for a in answers if isinstance(a, Ack) and a.key.sequence in acknowledged)
            store.compact()
            assert stored_sequences(store) == [0, 1, 2, 3, 4, 5]
            assert not list((folder / "store").glob(".*.tmp"))


def stored_sequences(store: SegmentStore) -> list[int]:
    """Sequence of each stored batch; fails when a batch has not each of its 3 rows exactly once."""
    table = store.dataset().to_table(columns=["sequence", "row"])
    rows = sorted(zip(table["sequence"].to_pylist(), table["row"].to_pylist(), strict=True))
    sequences = sorted({sequence for sequence, _ in rows})
    assert rows == [(sequence, row) for sequence in sequences for row in range(3)]
    assert store.rows == len(rows)
    return sequences
