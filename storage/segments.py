"""The store of telemetry at the aggregator: acknowledged means durable, and nothing is counted twice."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.dataset as ds

from quasim.errors import DataError, StorageError
from storage.files import make_folder, storage_errors, sweep, sync_folder
from storage.ownership import Ownership
from storage.queries import open_dataset
from storage.schemas import OWNER_V2, BatchKey
from storage.segment_file import (
    CORRUPT_SUFFIX,
    Segment,
    Span,
    Stored,
    inspect,
    live,
    next_number,
    read,
    seal,
    spans,
)
from storage.validation import batch_key, validate_all
from storage.wire import BatchError, Limits, Reason

LOG = logging.getLogger(__name__)

MAX_SEGMENT_ROWS = 1 << 18
"""Segments grow by compaction up to about 50 MB: few enough to scan, small enough to merge in memory."""


@dataclass(frozen=True, slots=True)
class Ack:
    """The batch is durable; the node may forget it.

    Attributes:
        duplicate: it had been stored before.
    """

    key: BatchKey
    rows: int
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """The batch was not stored, and never will be as it stands.

    Attributes:
        key: None where the batch is too broken to tell.
    """

    reason: Reason
    detail: str
    key: BatchKey | None = None


@dataclass(frozen=True, slots=True)
class StoreSnapshot:
    """What a store holds, and what it did since it was opened.

    Attributes:
        quarantined: damaged segments in the folder, set aside as ``*.corrupt`` now or earlier.
    """

    segments: int
    batches: int
    rows: int
    size_bytes: int
    duplicates: int
    refusals: int
    quarantined: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stream:
    """What a store holds of one incarnation of a node.

    Attributes:
        node: hashed id of the node.
    """

    node: str
    incarnation: int
    rows: int


class SegmentStore:
    """Sealed segments of one schema in one folder, owned by one process at a time.

    Args:
        wait_s: how long to wait for another owner to end.

    Raises:
        StorageError: the folder cannot be used.
        InUseError: another process owns it.
    """

    def __init__(
        self, folder: Path, *, schema: pa.Schema = OWNER_V2, limits: Limits | None = None, wait_s: float = 0.0
    ) -> None:
        self._folder = make_folder(folder)
        self._schema = schema
        self._limits = limits or Limits()
        self._segments: dict[Span, Segment] = {}
        self._digests: dict[BatchKey, str] = {}
        self._duplicates = 0
        self._refusals = 0
        self._owned: Ownership | None = Ownership(folder, wait_s)
        try:
            with storage_errors("open the store", folder):
                sweep(folder)
                self._next = next_number(folder)
                self._adopt()
                self._remove(self._superseded())
        except BaseException:
            self.close()
            raise

    def append(self, batches: Sequence[bytes]) -> list[Ack | Refusal]:
        """Store batches (Arrow IPC streams) as one segment, and answer for each in order.

        Raises:
            StorageError: nothing new was acknowledged; the nodes keep their batches and send them again.
        """
        self._check_open()
        answers: list[Ack | Refusal] = []
        fresh: dict[BatchKey, pa.RecordBatch] = {}
        stored: dict[BatchKey, Stored] = {}
        for data, batch in zip(batches, validate_all(batches, self._limits, self._schema), strict=True):
            if isinstance(batch, BatchError):
                answers.append(Refusal(batch.reason, batch.detail))
                continue
            entry = Stored(batch_key(batch), batch.num_rows, hashlib.sha256(data).hexdigest())
            answers.append(self._admit(entry, stored))
            if stored.get(entry.key) is entry:
                fresh[entry.key] = batch
        if fresh:
            span = Span(self._next, self._next)
            self._include(seal(self._folder, span, list(fresh.values()), list(stored.values())))
        self._count(answers)
        return answers

    def compact(self) -> int:
        """Merge neighbouring small segments; how many fewer there are.

        The merged files stay until the next ``compact`` or start, for readers that are still at them.

        Raises:
            StorageError: a merged file could not be written; all rows are still there.
        """
        self._check_open()
        before = len(self._segments)
        with storage_errors("compact the store", self._folder):
            old = self._superseded()
            for run in list(_runs(sorted(self._segments.values(), key=lambda s: s.span))):
                self._merge(run)
            self._adopt()
            self._remove(old & self._superseded())
        return before - len(self._segments)

    def dataset(self) -> ds.Dataset:
        """The stored rows, each once; rows that come later need a new dataset."""
        return open_dataset([self._folder], self._schema)

    @property
    def rows(self) -> int:
        """Stored rows."""
        return sum(segment.rows for segment in self._segments.values())

    def snapshot(self) -> StoreSnapshot:
        """What the store holds now."""
        return StoreSnapshot(
            segments=len(self._segments),
            batches=len(self._digests),
            rows=self.rows,
            size_bytes=sum(segment.size_bytes for segment in self._segments.values()),
            duplicates=self._duplicates,
            refusals=self._refusals,
            quarantined=tuple(sorted(path.name for path in self._folder.glob(f"*{CORRUPT_SUFFIX}"))),
        )

    def streams(self) -> tuple[Stream, ...]:
        """Whose the stored rows are, in the order of nodes and incarnations; looks at every batch's key."""
        rows: Counter[tuple[str, int]] = Counter()
        for segment in self._segments.values():
            for entry in segment.stored:
                rows[entry.key.node, entry.key.incarnation] += entry.rows
        return tuple(Stream(*whose, rows[whose]) for whose in sorted(rows))

    def close(self) -> None:
        """Give the folder back. Idempotent."""
        if self._owned is not None:
            self._owned.close()
            self._owned = None

    def __enter__(self) -> SegmentStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._owned is None:
            raise StorageError(f"the store {self._folder} is closed", "open it again")

    def _admit(self, entry: Stored, fresh: dict[BatchKey, Stored]) -> Ack | Refusal:
        known = fresh[entry.key].digest if entry.key in fresh else self._digests.get(entry.key)
        if known is None:
            fresh[entry.key] = entry
        elif known != entry.digest:
            detail = f"batch {entry.key} was stored before with other contents"
            return Refusal(Reason.CONFLICT, detail, entry.key)
        return Ack(entry.key, entry.rows, duplicate=known is not None)

    def _count(self, answers: Sequence[Ack | Refusal]) -> None:
        for answer in answers:
            if isinstance(answer, Refusal):
                self._refusals += 1
                ids = {"batch": "" if answer.key is None else str(answer.key)}
                LOG.warning("telemetry batch refused (%s): %s", answer.reason.value, answer.detail, extra=ids)
            else:
                self._duplicates += answer.duplicate
                LOG.info("%d rows are durable", answer.rows, extra={"batch": str(answer.key)})

    def _include(self, segment: Segment) -> None:
        self._segments[segment.span] = segment
        self._digests.update((entry.key, entry.digest) for entry in segment.stored)
        self._next = max(self._next, segment.span.last + 1)

    def _adopt(self) -> None:
        """Take in every live segment of the folder. Parts of a damaged merged file count again if still there."""
        missing = [Span(0, 0)]
        while missing:
            current = live(spans(self._folder))
            self._segments = {span: self._segments[span] for span in current if span in self._segments}
            missing = [span for span in current if span not in self._segments]
            for span in missing:
                try:
                    self._include(inspect(self._folder, span, self._schema))
                except DataError as error:
                    self._set_aside(span, error)

    def _merge(self, run: Sequence[Segment]) -> None:
        batches: list[pa.RecordBatch] = []
        for segment in run:
            try:
                batches += read(segment, self._schema)
            except DataError as error:
                self._forget(segment)
                self._set_aside(segment.span, error)
                return
        span = Span(run[0].span.first, run[-1].span.last)
        merged = seal(self._folder, span, batches, [entry for segment in run for entry in segment.stored])
        for segment in run:
            del self._segments[segment.span]
        self._include(merged)

    def _forget(self, segment: Segment) -> None:
        del self._segments[segment.span]
        for entry in segment.stored:
            del self._digests[entry.key]

    def _set_aside(self, span: Span, error: DataError) -> None:
        path = self._folder / span.file_name
        LOG.error("%s; set aside as %s%s", error, path.name, CORRUPT_SUFFIX)
        with storage_errors("set aside", path):
            path.replace(path.with_name(path.name + CORRUPT_SUFFIX))
            sync_folder(self._folder)

    def _superseded(self) -> set[Span]:
        found = spans(self._folder)
        return set(found) - set(live(found))

    def _remove(self, superseded: set[Span]) -> None:
        for span in superseded:
            path = self._folder / span.file_name
            with storage_errors("remove", path):
                path.unlink()


def _runs(segments: Sequence[Segment]) -> Iterator[list[Segment]]:
    """Runs of two or more small segments with no number missing between them.

    A gap is a segment that was set aside: a range over it would hide it if it were ever repaired.
    """
    run: list[Segment] = []
    for segment in segments:
        follows = bool(run) and segment.span.first == run[-1].span.last + 1
        if not follows or sum(part.rows for part in run) + segment.rows > MAX_SEGMENT_ROWS:
            if len(run) > 1:
                yield run
            run = []
        if 2 * segment.rows <= MAX_SEGMENT_ROWS:
            run.append(segment)
    if len(run) > 1:
        yield run
