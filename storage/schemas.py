"""The two versioned Arrow schemas of telemetry, and the range that every column must keep.

``OWNER_V2`` stays within one owner: hashed ids, full metrics. ``SHARED_V1`` is what others may see: hashed ids, how a
trial ended, and in which of a few buckets its time fell relative to the best of its batch. Times and FLOP counts
betray a shape (time × FLOP/s is the FLOP count), so nothing in it depends on either.

Every row carries its batch's key (node_id, incarnation, sequence) and its row number: no row is ever counted twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import pyarrow as pa

from quasim.errors import DataError
from quasim.trial import EnergySource, ErrorAgainst, Status
from storage.pseudonyms import ID_BYTES

HOUR_NS = 3_600_000_000_000
MAX_TIME_NS = 1000 * HOUR_NS
MAX_COUNT = 2**53
"""Integers up to here survive a passage through float64 and JSON."""


class Stage(str, Enum):
    """Why a trial was made: to explore, or to compare the few best in interleaved windows."""

    SEARCH = "search"
    PLAYOFF = "playoff"


class Score(str, Enum):
    """Time relative to the best time of the same problem in the same batch; coarse on purpose."""

    NEAR = "within 1.25"
    FAIR = "within 2"
    SLOW = "within 5"
    POOR = "beyond 5"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, order=True)
class BatchKey:
    """What makes a batch unique: resending it changes nothing.

    Attributes:
        node: hashed id of the node, 32 hexadecimal digits.
        incarnation: of the node, higher with each start.
        sequence: number of the batch within the incarnation.
    """

    node: str
    incarnation: int
    sequence: int

    def __post_init__(self) -> None:
        if len(bytes.fromhex(self.node)) != ID_BYTES:
            raise DataError(f"{self.node!r} is not a hashed id", f"give {2 * ID_BYTES} hexadecimal digits")
        if not 0 <= self.incarnation <= MAX_COUNT or not 0 <= self.sequence <= MAX_COUNT:
            raise DataError(f"batch number {self.incarnation}.{self.sequence} is out of range", "count from 0")

    def __str__(self) -> str:
        """As logs name it, short enough to be searched for: ``1f2e3d4c-0-17``."""
        return f"{self.node:.8}-{self.incarnation}-{self.sequence}"


ENUMERATIONS: dict[str, type[Enum]] = {
    "status": Status,
    "energy_source": EnergySource,
    "error_against": ErrorAgainst,
    "stage": Stage,
    "score": Score,
}
"""Dictionary columns. Their dictionary is always the whole enumeration in order, so that any two batches agree."""

RANGES: dict[str, tuple[float, float]] = {
    "incarnation": (0, MAX_COUNT),
    "sequence": (0, MAX_COUNT),
    "cycle": (0, MAX_COUNT),
    "evaluation": (0, MAX_COUNT),
    "time_median_ns": (1e-3, MAX_TIME_NS),
    "time_low_ns": (1e-3, MAX_TIME_NS),
    "time_high_ns": (1e-3, MAX_TIME_NS),
    "samples": (1, MAX_COUNT),
    "error_frobenius": (0, 1.7e308),
    "error_componentwise": (0, 1.7e308),
    "energy_j": (0, 1e9),
    "energy_low_j": (0, 1e9),
    "energy_high_j": (0, 1e9),
    "energy_above_idle_j": (0, 1e9),
    "compile_ns": (0, MAX_TIME_NS),
    "check_ns": (0, MAX_TIME_NS),
    "measure_ns": (0, MAX_TIME_NS),
    "registers": (0, 1 << 16),
    "local_bytes": (0, MAX_COUNT),
    "shared_bytes": (0, MAX_COUNT),
    "occupancy": (0, 1),
    "bytes_per_s": (0, 1e18),
    "flops_per_s": (0, 1e21),
    "roofline_fraction": (0, 1e3),
}
"""Least and greatest value of each numeric column, both allowed; NaN and infinity are not."""

_ID = pa.binary(ID_BYTES)
_CHOICE = pa.dictionary(pa.int8(), pa.string())
_KEY = [("node_id", _ID), ("incarnation", pa.int64()), ("sequence", pa.int64()), ("row", pa.int32())]


Columns = list[tuple[str, pa.DataType]]


def _schema(name: str, version: int, required: Columns, nullable: Columns) -> pa.Schema:
    fields = [pa.field(column, kind, nullable=False) for column, kind in required]
    fields += [pa.field(column, kind) for column, kind in nullable]
    return pa.schema(fields, metadata={"quasim.schema": name, "quasim.version": str(version)})


INTROSPECTION: Columns = [
    ("registers", pa.int64()),
    ("local_bytes", pa.int64()),
    ("shared_bytes", pa.int64()),
    ("occupancy", pa.float64()),
    ("bytes_per_s", pa.float64()),
    ("flops_per_s", pa.float64()),
    ("roofline_fraction", pa.float64()),
]
"""One column for each field of ``quasim.trial.Introspection``."""

OWNER_V2 = _schema(
    "owner",
    2,
    [
        *_KEY,
        ("problem_id", _ID),
        ("genome_id", _ID),
        ("kernel", pa.string()),
        ("target", pa.string()),
        ("device_family", pa.string()),
        ("cycle", pa.int64()),
        ("evaluation", pa.int64()),
        ("stage", _CHOICE),
        ("status", _CHOICE),
        ("energy_source", _CHOICE),
        ("error_against", _CHOICE),
    ],
    [
        ("time_median_ns", pa.float64()),
        ("time_low_ns", pa.float64()),
        ("time_high_ns", pa.float64()),
        ("samples", pa.int64()),
        ("error_frobenius", pa.float64()),
        ("error_componentwise", pa.float64()),
        ("energy_j", pa.float64()),
        ("energy_low_j", pa.float64()),
        ("energy_high_j", pa.float64()),
        ("energy_above_idle_j", pa.float64()),
        ("compile_ns", pa.int64()),
        ("check_ns", pa.int64()),
        ("measure_ns", pa.int64()),
        *INTROSPECTION,
    ],
)

SHARED_V1 = _schema(
    "shared", 1, [*_KEY, ("problem_id", _ID), ("genome_id", _ID), ("status", _CHOICE), ("score", _CHOICE)], []
)


def choices(column: str) -> pa.Array:
    """The dictionary of an enumerated column."""
    return pa.array([member.value for member in ENUMERATIONS[column]], pa.string())
