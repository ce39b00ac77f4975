"""The contents of batches from others: every value checked before a row is stored.

The checks run over many batches at once, since a small batch costs far less than the calls that check it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from storage.schemas import OWNER_V2, RANGES, BatchKey, choices
from storage.wire import BatchError, Limits, Reason, decode, decode_all

_PRINTABLE = "^[ -~]{1,128}$"
"""Names appear in reports and terminals, so no control characters and nothing long."""


def validate(data: bytes, limits: Limits, schema: pa.Schema = OWNER_V2) -> pa.RecordBatch:
    """The one record batch of an Arrow IPC stream, known to keep everything that ``schema`` promises.

    Raises:
        BatchError: with the reason; no input crashes or makes it allocate more than ``limits`` allow.
    """
    batch = decode(data, limits, schema)
    check_contents([batch])
    return batch


def validate_all(
    batches: Sequence[bytes], limits: Limits, schema: pa.Schema = OWNER_V2
) -> list[pa.RecordBatch | BatchError]:
    """``validate`` for many batches: each one's record batch, or why it is refused, in order."""
    results = decode_all(batches, limits, schema)
    try:
        check_contents([result for result in results if not isinstance(result, BatchError)])
    except BatchError:
        return [_checked(result) for result in results]
    return results


def _checked(result: pa.RecordBatch | BatchError) -> pa.RecordBatch | BatchError:
    if isinstance(result, BatchError):
        return result
    try:
        check_contents([result])
    except BatchError as error:
        return error
    return result


def batch_key(batch: pa.RecordBatch) -> BatchKey:
    """The key of a validated batch."""
    return BatchKey(batch["node_id"][0].as_py().hex(), batch["incarnation"][0].as_py(), batch["sequence"][0].as_py())


def check_contents(batches: Sequence[pa.RecordBatch]) -> None:
    """Check the values of decoded batches of one schema, all at once.

    Raises:
        BatchError: one of them is wrong; to know which, check them singly.
    """
    if not batches:
        return
    _check_dictionaries(batches)
    lengths = np.array([batch.num_rows for batch in batches])
    whole = pa.Table.from_batches(batches).combine_chunks().to_batches()[0]
    _check_nulls(whole)
    _check_keys(whole, lengths)
    for field in whole.schema:
        if field.name in RANGES:
            _check_range(whole, field.name)
        elif field.type == pa.string():
            _check_text(whole, field.name)
    if "time_median_ns" in whole.schema.names:
        _check_trials(whole)


def _check_dictionaries(batches: Sequence[pa.RecordBatch]) -> None:
    for index, field in enumerate(batches[0].schema):
        if pa.types.is_dictionary(field.type):
            expected = choices(field.name)
            if not all(batch.column(index).dictionary.equals(expected) for batch in batches):
                raise BatchError(Reason.BAD_DICTIONARY, f"{field.name} does not list exactly its known values")


def _check_nulls(batch: pa.RecordBatch) -> None:
    for field, column in zip(batch.schema, batch.columns, strict=True):
        if not field.nullable and column.null_count:
            raise BatchError(Reason.NULL, f"{field.name} is missing in {column.null_count} rows")


def _check_keys(batch: pa.RecordBatch, lengths: npt.NDArray[np.int64]) -> None:
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    if not np.array_equal(batch["row"].to_numpy(), np.arange(len(starts)) - starts):
        raise BatchError(Reason.MIXED_KEY, "row does not count from 0")
    first = pa.array(starts)
    for name in ("node_id", "incarnation", "sequence"):
        if not batch[name].equals(batch[name].take(first)):
            raise BatchError(Reason.MIXED_KEY, f"{name} differs within a batch")


@lru_cache(maxsize=64)
def _scalar(value: float | str, kind: pa.DataType) -> pa.Scalar:
    # Cached because making one costs ten times what the comparison does.
    return pa.scalar(value, kind)


def _check_range(batch: pa.RecordBatch, name: str) -> None:
    column = batch[name]
    low, high = (_scalar(bound, column.type) for bound in RANGES[name])
    # A comparison with NaN is false, so that NaN fails here too; nulls are skipped.
    inside = pc.and_(pc.greater_equal(column, low), pc.less_equal(column, high))
    if pc.all(inside).as_py() is False:
        raise BatchError(Reason.OUT_OF_RANGE, f"{name} is not always within [{low}, {high}]")


def _check_text(batch: pa.RecordBatch, name: str) -> None:
    # `$` also matches before a final newline in some engines; RE2 without (?m) matches only the very end.
    if not pc.all(pc.match_substring_regex(pc.unique(batch[name]), _PRINTABLE)).as_py():
        raise BatchError(Reason.OUT_OF_RANGE, f"{name} is not 1 to 128 printable ASCII characters")


def _check_trials(batch: pa.RecordBatch) -> None:
    failed = pc.not_equal(batch["status"], _scalar("ok", pa.string()))
    for name in ("time_median_ns", "time_low_ns", "time_high_ns", "samples"):
        if not batch[name].is_null().equals(failed):
            raise BatchError(Reason.INCONSISTENT, f"{name} must be there exactly when the status is ok")
    middle = batch["time_median_ns"]
    ordered = pc.and_(
        pc.less_equal(batch["time_low_ns"], middle),
        pc.less_equal(middle, batch["time_high_ns"]),
    )
    if pc.all(ordered).as_py() is False:
        raise BatchError(Reason.INCONSISTENT, "time_low_ns ≤ time_median_ns ≤ time_high_ns does not hold")
    unmetered = pc.equal(batch["energy_source"], _scalar("unmetered", pa.string()))
    if not batch["energy_j"].is_null().equals(unmetered):
        raise BatchError(Reason.INCONSISTENT, "energy_j must be there exactly when it was metered")
    energy = batch["energy_j"]
    for name, least, most in (
        ("energy_low_j", "energy_low_j", "energy_j"),
        ("energy_high_j", "energy_j", "energy_high_j"),
    ):
        known = pc.less_equal(batch[least], batch[most])
        if pc.all(known).as_py() is False or pc.any(pc.and_(energy.is_null(), batch[name].is_valid())).as_py():
            raise BatchError(Reason.INCONSISTENT, f"{name} must enclose an energy_j that is there")
