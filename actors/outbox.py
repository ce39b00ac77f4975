"""A node's telemetry on its way out: prepared, made durable together with the node's state, sent until acknowledged."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from storage.batches import Evaluation, encode, owner_batch
from storage.files import make_folder, write_atomic
from storage.pseudonyms import IdDictionary
from storage.schemas import BatchKey
from storage.segments import Ack, Refusal
from storage.spool import Place, Spool

LOG = logging.getLogger(__name__)


class Link(Protocol):
    """How a node reaches its aggregator."""

    def submit(self, batch: bytes) -> Ack | Refusal | None:
        """Send a batch and wait for the answer; None when the aggregator could not be reached."""
        ...


class Position(msgspec.Struct, frozen=True):
    """What of the outbox is saved with the node's state.

    Attributes:
        incarnation, sequence: of the last committed batch; sequence −1 for none.
        sent: rows of committed batches.
        since: first incarnation whose rows ``sent`` counts; those before it were of a disk that is lost.
    """

    incarnation: int = -1
    sequence: int = -1
    sent: int = 0
    since: int = 0


class RowCount(msgspec.Struct, frozen=True):
    """Rows that a node has committed to be sent, and those of them that the aggregator has made durable."""

    sent: int
    acknowledged: int


class Outbox:
    """Batches carry (node, incarnation, sequence); a restart starts a new incarnation.

    A batch is spooled first, then the node's state with the new ``position`` is saved, then the batch is sent. A
    batch beyond the saved position was never sent, and is dropped on restart along with the cycle that made it.

    Args:
        lowest: incarnation that this start may have at least. A disk that came back empty knows of none before it, and
            a batch numbered like one that was stored would be refused.
    """

    def __init__(
        self, folder: Path, node: str, device_family: str, ids: IdDictionary, saved: Position, lowest: int = 0
    ) -> None:
        self._spool = Spool(folder)
        self._spool.discard_after(Place(saved.incarnation, saved.sequence))
        self._refused = folder / "refused"
        self._node = ids.id("node", node)
        self._device_family = device_family
        self._ids = ids
        incarnation = max(saved.incarnation + 1, lowest)
        since = incarnation if saved.incarnation < 0 else saved.since
        self.position = Position(incarnation, -1, saved.sent, since)

    def prepare(self, evaluations: Sequence[Evaluation]) -> None:
        """Spool one batch and move the position; the caller saves the position before it sends."""
        if not evaluations:
            return
        at = self.position
        key = BatchKey(self._node, at.incarnation, at.sequence + 1)
        batch = owner_batch(key, self._device_family, evaluations, self._ids.id)
        # The ids' meaning is durable before any row that uses them can be.
        self._ids.save()
        self._spool.put(Place(key.incarnation, key.sequence), encode(batch), len(evaluations))
        self.position = msgspec.structs.replace(at, sequence=key.sequence, sent=at.sent + len(evaluations))

    @property
    def waiting_rows(self) -> int:
        """Committed rows that are not yet acknowledged."""
        return self._spool.snapshot().rows

    @property
    def refused_rows(self) -> int:
        """Committed rows that the aggregator will never store, counted from what was set aside."""
        return sum(int(path.stem.rpartition("-")[2]) for path in self._refused.glob("*.arrows"))

    def count(self) -> RowCount:
        """How far its rows have come."""
        sent = self.position.sent
        return RowCount(sent, sent - self.waiting_rows - self.refused_rows)

    def flush(self, link: Link) -> int:
        """Send what is pending, oldest first, until the aggregator cannot be reached; how many batches are left.

        A refused batch will never be stored: it is set aside in ``refused/`` for whoever looks into it.
        """
        for place, data in self._spool.pending():
            answer = link.submit(data)
            if answer is None:
                break
            if isinstance(answer, Refusal):
                self._set_aside(place, data, answer)
            else:
                LOG.info("%d rows are acknowledged", answer.rows, extra={"batch": str(answer.key)})
            self._spool.acknowledge(place)
        return self._spool.snapshot().batches

    def _set_aside(self, place: Place, data: bytes, refusal: Refusal) -> None:
        rows = self._spool.rows(place)
        why = f"{refusal.reason.value}: {refusal.detail}"
        batch = str(BatchKey(self._node, place.incarnation, place.sequence))
        LOG.error("a batch of %d rows was refused and set aside (%s)", rows, why, extra={"batch": batch})
        name = f"{place.incarnation}-{place.sequence}-{rows}.arrows"
        write_atomic(make_folder(self._refused) / name, data)
