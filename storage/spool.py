"""A node's batches on disk until the aggregator has acknowledged them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from quasim.errors import DataError
from storage.files import create_atomic, make_folder, storage_errors, sweep, sync_folder

_NAME = re.compile(r"(\d{16})-(\d{16})-(\d{10})\.arrows")


class Place(NamedTuple):
    """Where in a node's stream of batches one stands; ordered as they were made."""

    incarnation: int
    sequence: int


@dataclass(frozen=True, slots=True)
class SpoolSnapshot:
    """What waits for an acknowledgement."""

    batches: int
    rows: int


class Spool:
    """One durable file for each unacknowledged batch of one node. The row count is in the name, so that a restart
    reads no file.

    Raises:
        StorageError: the folder cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = make_folder(folder)
        with storage_errors("open the spool", folder):
            sweep(folder)
            matches = [_NAME.fullmatch(path.name) for path in folder.iterdir()]
        found = [Place(int(m[1]), int(m[2])) for m in matches if m]
        rows = [int(m[3]) for m in matches if m]
        self._rows: dict[Place, int] = dict(sorted(zip(found, rows, strict=True)))

    def put(self, place: Place, data: bytes, rows: int) -> None:
        """Keep a batch; durable on return, and only then may it be sent.

        Raises:
            DataError: this place or a later one is taken: what was sent once must never change.
            StorageError: it cannot be written.
        """
        newest = max(self._rows, default=Place(-1, -1))
        if place <= newest or not create_atomic(self._path(place, rows), data):
            raise DataError(f"batch {place} does not follow {newest}", "number batches upwards")
        self._rows[place] = rows

    def pending(self) -> Iterator[tuple[Place, bytes]]:
        """Unacknowledged batches, oldest first, read one at a time; may be acknowledged meanwhile.

        Raises:
            StorageError: a file cannot be read.
        """
        for place in list(self._rows):
            if place in self._rows:
                path = self._path(place, self._rows[place])
                with storage_errors("read the spooled batch", path):
                    data = path.read_bytes()
                yield place, data

    def acknowledge(self, place: Place) -> None:
        """Forget a batch that the aggregator has made durable (or refused for good). Idempotent.

        Raises:
            StorageError: its file cannot be removed.
        """
        # Not synced: should power fail now, the batch is sent again and recognised as a duplicate.
        self._remove(place)

    def discard_after(self, place: Place) -> int:
        """Drop the batches behind ``place``, the node's last committed state; how many there were.

        For a restart: a batch is sent only after the state that counts it was committed, so nobody has seen these,
        and the restarted node will make them anew.

        Raises:
            StorageError: a file cannot be removed.
        """
        beyond = [known for known in self._rows if known > place]
        # Newest first, so that a crash between leaves no gap.
        for known in reversed(beyond):
            self._remove(known)
        with storage_errors("sync", self._folder):
            sync_folder(self._folder)
        return len(beyond)

    def rows(self, place: Place) -> int:
        """Rows of a batch that waits."""
        return self._rows[place]

    def snapshot(self) -> SpoolSnapshot:
        """How much waits."""
        return SpoolSnapshot(batches=len(self._rows), rows=sum(self._rows.values()))

    def _remove(self, place: Place) -> None:
        rows = self._rows.pop(place, None)
        if rows is not None:
            path = self._path(place, rows)
            with storage_errors("remove", path):
                path.unlink(missing_ok=True)

    def _path(self, place: Place, rows: int) -> Path:
        return self._folder / f"{place.incarnation:016d}-{place.sequence:016d}-{rows:010d}.arrows"
