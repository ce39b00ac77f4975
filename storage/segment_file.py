"""One sealed segment: an Arrow IPC file of many batches that carries their keys and digests in its schema metadata.

Its name is the range of numbers it covers. Compaction writes one file over the range of those it merges, so that the
names alone say which files count: those whose range lies in no other's. A crash between writing the merged file and
removing its parts therefore neither loses nor doubles a row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pyarrow as pa

from quasim.codec import from_json, to_json
from quasim.errors import DataError, StorageError
from storage.files import write_atomic
from storage.schemas import BatchKey

_NAME = re.compile(r"(\d{12})-(\d{12})\.arrow")
_STORED = b"quasim.batches"
CORRUPT_SUFFIX = ".corrupt"


class Stored(msgspec.Struct, frozen=True):
    """A batch within a segment.

    Attributes:
        digest: SHA-256 of the batch as it came, in hexadecimal: tells a resent batch from a conflicting one.
    """

    key: BatchKey
    rows: int
    digest: str


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """The segment numbers that a file covers, both ends included."""

    first: int
    last: int

    @property
    def file_name(self) -> str:
        """Name of the segment file."""
        return f"{self.first:012d}-{self.last:012d}.arrow"


@dataclass(frozen=True, slots=True)
class Segment:
    """A sealed segment on disk."""

    span: Span
    path: Path
    stored: tuple[Stored, ...]
    size_bytes: int

    @property
    def rows(self) -> int:
        """Rows in the segment."""
        return sum(entry.rows for entry in self.stored)


def spans(folder: Path) -> list[Span]:
    """Spans of all segment files of a folder, superseded ones too, in order."""
    matches = (_NAME.fullmatch(path.name) for path in folder.iterdir())
    return sorted(Span(int(match[1]), int(match[2])) for match in matches if match)


def next_number(folder: Path) -> int:
    """The first number that no segment of the folder has, those set aside as corrupt included."""
    matches = (_NAME.match(path.name) for path in folder.iterdir())
    return max((int(match[2]) + 1 for match in matches if match), default=0)


def live(found: Sequence[Span]) -> list[Span]:
    """Those spans that no other contains, in order."""
    kept: list[Span] = []
    for span in sorted(found, key=lambda s: (s.first, -s.last)):
        if not kept or span.last > kept[-1].last:
            kept.append(span)
    return kept


def seal(folder: Path, span: Span, batches: Sequence[pa.RecordBatch], stored: Sequence[Stored]) -> Segment:
    """Write a segment; durable on return.

    Raises:
        StorageError: it cannot be written.
    """
    # One large record batch: a thousand small ones would cost a kilobyte of framing each, and slow every scan.
    table = pa.Table.from_batches(batches).combine_chunks()
    schema = table.schema.with_metadata({**table.schema.metadata, _STORED: to_json(stored)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as writer:
        writer.write_table(table)
    data = sink.getvalue()
    write_atomic(folder / span.file_name, memoryview(data))
    return Segment(span, folder / span.file_name, tuple(stored), data.size)


def inspect(folder: Path, span: Span, schema: pa.Schema) -> Segment:
    """Read a segment's metadata, and of its rows only whether they are all there.

    Raises:
        DataError: not a whole segment of this schema.
        StorageError: the system does not let us read it.
    """
    path = folder / span.file_name
    with (
        _damage_reported(path),
        pa.memory_map(str(path)) as source,
        pa.ipc.open_file(source) as reader,
    ):
        stored = _stored(reader.schema, schema, path)
        rows = sum(reader.get_batch(i).num_rows for i in range(reader.num_record_batches))
        size = source.size()
    if rows != sum(entry.rows for entry in stored):
        raise _damaged(path, f"{rows} rows are not those of its {len(stored)} batches")
    return Segment(span, path, stored, size)


def read(segment: Segment, schema: pa.Schema) -> list[pa.RecordBatch]:
    """All rows of a segment, every value checked.

    Raises:
        DataError: the file is damaged.
        StorageError: the system does not let us read it.
    """
    with (
        _damage_reported(segment.path),
        pa.OSFile(str(segment.path)) as source,
        pa.ipc.open_file(source) as reader,
    ):
        batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
        for batch in batches:
            batch.validate(full=True)
    return [batch.replace_schema_metadata(schema.metadata) for batch in batches]


def _stored(found: pa.Schema, schema: pa.Schema, path: Path) -> tuple[Stored, ...]:
    metadata = dict(found.metadata or {})
    text = metadata.pop(_STORED, b"")
    if not found.with_metadata(metadata).equals(schema, check_metadata=True):
        raise _damaged(path, "its schema is another one")
    return from_json(text, tuple[Stored, ...], f"batch list of {path}")


@contextmanager
def _damage_reported(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        # Arrow's own complaints about contents carry no errno; a segment that we may not open is not damaged.
        if isinstance(error, OSError) and error.errno:
            raise StorageError(f"cannot read {path} ({error})", "check the path and its permissions") from error
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, how: str) -> DataError:
    return DataError(f"segment {path} is damaged: {' '.join(how.split())[:200]}", "restore it from a backup")
