"""JSON and MessagePack of our value types; the only place that knows how a genome is written.

Nothing is ever unpickled or evaluated: decoding is typed, and what does not fit is a ``DataError``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from quasim.errors import DataError, QuasimError
from quasim.trial import Genome

T = TypeVar("T")


def _encode(value: object) -> object:
    if isinstance(value, Genome):
        return dict(value)
    raise NotImplementedError(f"{type(value).__name__} has no written form")


def _decode(kind: type[Any], value: Any) -> object:
    if kind is Genome:
        if not isinstance(value, dict):
            raise ValueError(f"genome {value!r} is not a mapping")
        for name, entry in value.items():
            if not isinstance(name, str) or not isinstance(entry, (bool, int, float, str)):
                raise ValueError(f"genome entry {name!r}: {entry!r} is not a plain value")
        return Genome(value)
    raise NotImplementedError(f"{kind.__name__} has no read form")


def to_json(value: object) -> bytes:
    """Canonical JSON: fields in declared order, no white space."""
    return msgspec.json.encode(value, enc_hook=_encode)


def from_json(data: bytes | str, kind: type[T], what: str = "JSON") -> T:
    """Decode JSON into ``kind``.

    Raises:
        DataError: the text is not of this form; ``what`` names it.
    """
    try:
        return msgspec.json.decode(data, type=kind, dec_hook=_decode)
    except DataError:
        raise
    except (msgspec.MsgspecError, QuasimError, RecursionError, UnicodeDecodeError) as error:
        raise DataError(f"{what} cannot be read: {error}", "check where it comes from") from error


def to_msgpack(value: object) -> bytes:
    """Canonical MessagePack: fields in declared order."""
    return msgspec.msgpack.encode(value, enc_hook=_encode)


@lru_cache(maxsize=256)
def _msgpack_decoder(kind: type[Any]) -> msgspec.msgpack.Decoder[Any]:
    """Kept, since for a union of messages building it takes thirty times as long as reading one."""
    return msgspec.msgpack.Decoder(kind, dec_hook=_decode)


def from_msgpack(data: bytes, kind: type[T], what: str = "MessagePack") -> T:
    """Decode MessagePack into ``kind``.

    Raises:
        DataError: the bytes are not of this form; ``what`` names them.
    """
    try:
        message: T = _msgpack_decoder(kind).decode(data)  # type: ignore[arg-type]  # mypy: type[T] has no hash
        return message
    except DataError:
        raise
    except (msgspec.MsgspecError, QuasimError, RecursionError, UnicodeDecodeError) as error:
        raise DataError(f"{what} cannot be read: {error}", "check where it comes from") from error
