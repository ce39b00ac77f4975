"""Holds what commands print against the published schemas, more strictly than they ask: no field that is not named."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from cluster.schemas import FORMS, schema


def words_of(arguments: Sequence[str]) -> str:
    """The words of a command, such as ``kernel list``, of a command line that begins with them."""
    return max((words for words in FORMS if [*arguments][: len(words.split())] == words.split()), key=len)


def check_document(arguments: Sequence[str], document: object) -> None:
    """Raise where a document is not of its command's schema."""
    validator(words_of(arguments).replace(" ", "-")).validate(document)


@lru_cache(maxsize=64)
def validator(name: str) -> Draft202012Validator:
    """Of a schema by its name."""
    return Draft202012Validator(_closed(schema(name)))


def _closed(part: object) -> object:
    """The schema with every object of fields closed, so that a field that nobody published is found."""
    if isinstance(part, dict):
        closed = {key: _closed(value) for key, value in part.items()}
        return {"additionalProperties": False, **closed} if "properties" in closed else closed
    return [_closed(item) for item in part] if isinstance(part, list) else part
