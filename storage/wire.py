"""The outer form of batches from others: read without trusting a byte, or refused with a typed reason."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

import pyarrow as pa

from quasim.errors import DataError
from storage.schemas import ENUMERATIONS, OWNER_V2, SHARED_V1, choices

_END = b"\xff\xff\xff\xff\0\0\0\0"
"""End of an Arrow IPC stream."""

_UNREADABLE = (pa.ArrowException, OSError, ValueError, struct.error, StopIteration)


class Reason(str, Enum):
    """Why a batch is refused."""

    TOO_LARGE = "too_large"
    NOT_ARROW = "not_arrow"
    COMPRESSED = "compressed"
    WRONG_SCHEMA = "wrong_schema"
    NOT_ONE_BATCH = "not_one_batch"
    BAD_DICTIONARY = "bad_dictionary"
    NULL = "null"
    OUT_OF_RANGE = "out_of_range"
    INCONSISTENT = "inconsistent"
    MIXED_KEY = "mixed_key"
    CONFLICT = "conflict"


class BatchError(DataError):
    """A batch that must not be stored.

    Attributes:
        reason: the kind of fault.
        detail: which column or message, and how it is wrong.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"telemetry batch refused ({reason.value}): {detail}", "check the version of the sending node")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[BatchError], tuple[Reason, str]]:
        return BatchError, (self.reason, self.detail)


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a batch may be: far above what a node sends, far below what hurts."""

    max_bytes: int = 16 << 20
    max_rows: int = 1 << 16


def decode(data: bytes, limits: Limits, schema: pa.Schema) -> pa.RecordBatch:
    """Parse a stream and check its form, not yet its contents.

    Raises:
        BatchError: too large, not Arrow, compressed, another schema, or not one record batch.
    """
    if len(data) > limits.max_bytes:
        raise BatchError(Reason.TOO_LARGE, f"{len(data)} bytes, at most {limits.max_bytes} are taken")
    try:
        _check_messages(data, schema)
        batch = pa.ipc.open_stream(pa.BufferReader(data)).read_next_batch()
        _check_batch(batch, limits)
    except _UNREADABLE as error:
        raise BatchError(Reason.NOT_ARROW, " ".join(str(error).split())[:200]) from error
    return batch


def _check_batch(batch: pa.RecordBatch, limits: Limits) -> None:
    if not 0 < batch.num_rows <= limits.max_rows:
        raise BatchError(Reason.TOO_LARGE, f"{batch.num_rows} rows, 1 to {limits.max_rows} are taken")
    batch.validate(full=True)


def _check_messages(data: bytes, schema: pa.Schema) -> None:
    messages = _messages(data)
    if not messages or messages[0].type != "schema":
        raise BatchError(Reason.NOT_ARROW, "the stream does not begin with a schema")
    if _known_schema(bytes(messages[0].serialize())) is not schema:
        raise BatchError(Reason.WRONG_SCHEMA, f"expected {_title(schema)} with exactly its columns")
    kinds = [message.type for message in messages[1:]]
    if kinds.count("record batch") != 1 or kinds[-1] != "record batch":
        raise BatchError(Reason.NOT_ONE_BATCH, f"messages are {', '.join(kinds) or 'missing'}")
    if any(_is_compressed(message) for message in messages[1:]):
        raise BatchError(Reason.COMPRESSED, "a few bytes could unpack to any size; send it uncompressed")


def _messages(data: bytes) -> list[pa.ipc.Message]:
    reader = pa.ipc.MessageReader.open_stream(pa.BufferReader(data))
    messages: list[pa.ipc.Message] = []
    # Bounded: no honest stream has more messages than one per column and two.
    while len(messages) < len(ENUMERATIONS) + 3:
        try:
            messages.append(reader.read_next_message())
        except StopIteration:
            return messages
    raise BatchError(Reason.NOT_ONE_BATCH, f"more than {len(messages) - 1} messages")


@lru_cache(maxsize=16)
def _known_schema(message: bytes) -> pa.Schema | None:
    # Cached because nodes of one version send the same bytes every time, and comparing costs more than reading.
    found = pa.ipc.read_schema(pa.py_buffer(message))
    return next((known for known in (OWNER_V2, SHARED_V1) if found.equals(known, check_metadata=True)), None)


def _title(schema: pa.Schema) -> str:
    return f"{schema.metadata[b'quasim.schema'].decode()} version {schema.metadata[b'quasim.version'].decode()}"


def _is_compressed(message: pa.ipc.Message) -> bool:
    """Whether the message's body is compressed; Arrow offers no way to ask before it unpacks.

    Follows the FlatBuffers tables of the format (Message.fbs: Message.header, DictionaryBatch.data,
    RecordBatch.compression), which Arrow has verified when it read the message.
    """
    flat = bytes(message.metadata)
    table = _follow(flat, _field(flat, _follow(flat, 0), 2))
    if message.type == "dictionary":
        table = _follow(flat, _field(flat, table, 1))
    return _field(flat, table, 3) != 0


def _follow(flat: bytes, at: int) -> int:
    return at + int(struct.unpack_from("<I", flat, at)[0])


def _field(flat: bytes, table: int, index: int) -> int:
    """Position of a table's field, 0 when it is absent."""
    layout = table - int(struct.unpack_from("<i", flat, table)[0])
    size = int(struct.unpack_from("<H", flat, layout)[0])
    slot = 4 + 2 * index
    offset = int(struct.unpack_from("<H", flat, layout + slot)[0]) if slot < size else 0
    return table + offset if offset else 0


def decode_all(batches: Sequence[bytes], limits: Limits, schema: pa.Schema) -> list[pa.RecordBatch | BatchError]:
    """``decode`` for many streams: each one's record batch, or why it is refused, in order.

    Streams that begin byte for byte as ours do are read as one, which takes a fifth of the time for small batches.
    """
    opening = _opening(schema)
    if all(_is_plain(data, opening, limits) for data in batches):
        try:
            joined = opening + b"".join([memoryview(data)[len(opening) : -len(_END)] for data in batches])
            found = list(pa.ipc.open_stream(pa.BufferReader(joined)))
            for batch in found:
                _check_batch(batch, limits)
            return found
        except (BatchError, *_UNREADABLE):
            pass  # One of them is bad: find out which, below.
    return [_attempt(data, limits, schema) for data in batches]


def _attempt(data: bytes, limits: Limits, schema: pa.Schema) -> pa.RecordBatch | BatchError:
    try:
        return decode(data, limits, schema)
    except BatchError as error:
        return error


@lru_cache(maxsize=2)
def _opening(schema: pa.Schema) -> bytes:
    """How a stream of this schema begins when this version of Arrow writes it: schema and dictionaries."""
    arrays = [
        pa.DictionaryArray.from_arrays(pa.array([], pa.int8()), choices(field.name))
        if pa.types.is_dictionary(field.type)
        else pa.array([], field.type)
        for field in schema
    ]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
    return b"".join(bytes(message.serialize()) for message in _messages(bytes(sink.getvalue()))[:-1])


def _is_plain(data: bytes, opening: bytes, limits: Limits) -> bool:
    """Whether nothing but one uncompressed record batch follows our opening.

    The exact size matters: one more message could change how the streams joined behind it are read.
    """
    if len(data) > limits.max_bytes or not data.startswith(opening) or not data.endswith(_END):
        return False
    try:
        message = pa.ipc.read_message(pa.py_buffer(data)[len(opening) :])
        size = 8 + message.metadata.size + message.body.size
        exact = len(opening) + size + len(_END) == len(data)
        return exact and message.type == "record batch" and not _is_compressed(message)
    except _UNREADABLE:
        return False
