from __future__ import annotations

from pathlib import Path

import pytest

from quasim.errors import DataError
from storage.spool import Place, Spool, SpoolSnapshot


def filled(folder: Path) -> Spool:
    spool = Spool(folder)
    for place in (Place(0, 0), Place(0, 1), Place(0, 2), Place(1, 0)):
        spool.put(place, repr(place).encode(), rows=10)
    return spool


def places(spool: Spool) -> list[Place]:
    return [place for place, _ in spool.pending()]


def test_pending_batches_come_oldest_first_also_after_a_restart(tmp_path: Path) -> None:
    for spool in (filled(tmp_path), Spool(tmp_path)):
        assert places(spool) == [Place(0, 0), Place(0, 1), Place(0, 2), Place(1, 0)]
        assert next(spool.pending())[1] == b"Place(incarnation=0, sequence=0)"
        assert spool.snapshot() == SpoolSnapshot(batches=4, rows=40)


def test_acknowledged_batch_is_forgotten_for_good(tmp_path: Path) -> None:
    spool = filled(tmp_path)
    spool.acknowledge(Place(0, 1))
    spool.acknowledge(Place(0, 1))
    for again in (spool, Spool(tmp_path)):
        assert places(again) == [Place(0, 0), Place(0, 2), Place(1, 0)]
        assert again.snapshot().rows == 30


def test_batches_may_be_acknowledged_while_they_are_read(tmp_path: Path) -> None:
    spool = filled(tmp_path)
    seen = []
    for place, _ in spool.pending():
        seen.append(place)
        spool.acknowledge(place)
        spool.acknowledge(Place(0, 2))
    assert seen == [Place(0, 0), Place(0, 1), Place(1, 0)]
    assert spool.snapshot() == SpoolSnapshot(batches=0, rows=0)


def test_batches_beyond_the_committed_state_are_dropped_and_made_anew(tmp_path: Path) -> None:
    filled(tmp_path)
    spool = Spool(tmp_path)
    assert spool.discard_after(Place(0, 1)) == 2
    assert places(Spool(tmp_path)) == [Place(0, 0), Place(0, 1)]
    spool.put(Place(0, 2), b"made anew", rows=1)
    assert dict(Spool(tmp_path).pending())[Place(0, 2)] == b"made anew"


@pytest.mark.parametrize("place", [Place(1, 0), Place(0, 9)])
def test_batch_that_does_not_follow_is_refused(tmp_path: Path, place: Place) -> None:
    spool = filled(tmp_path)
    with pytest.raises(DataError, match="does not follow"):
        spool.put(place, b"other", rows=1)
    assert dict(spool.pending())[Place(1, 0)] == b"Place(incarnation=1, sequence=0)"


def test_torn_and_foreign_files_are_no_batches(tmp_path: Path) -> None:
    filled(tmp_path)
    torn = tmp_path / ".0000000000000001-0000000000000001-0000000001.arrows.0123.tmp"
    torn.write_bytes(b"half")
    (tmp_path / "notes.txt").touch()
    assert Spool(tmp_path).snapshot().batches == 4
    assert not torn.exists()
