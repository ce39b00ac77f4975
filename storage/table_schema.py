"""What the telemetry table is called, and its columns: those of ``OWNER_V2`` in the types that Delta can hold."""

from __future__ import annotations

import pyarrow as pa

from storage.schemas import OWNER_V2

NAME = "telemetry"
"""What the table is called in SQL."""

APP = "quasim.segments"
"""The application whose transactions count segments: the version is the number of the newest one in the table."""


def _held(kind: pa.DataType) -> pa.DataType:
    """Delta knows neither dictionaries nor binary of a fixed size."""
    if pa.types.is_dictionary(kind):
        return pa.string()
    return pa.binary() if pa.types.is_fixed_size_binary(kind) else kind


SCHEMA = pa.schema([pa.field(field.name, _held(field.type), field.nullable) for field in OWNER_V2])
"""The columns of ``OWNER_V2``, as the table holds them."""
