from __future__ import annotations

import math
import pickle

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.batches import encode, owner_batch
from storage.schemas import OWNER_V2, SHARED_V1, choices
from storage.validation import batch_key, validate, validate_all
from storage.wire import BatchError, Limits, Reason
from tests.storage.samples import IDS, batch_bytes, evaluations, key, metered_trial, trial

GOOD = owner_batch(key(7, incarnation=1), "cpu", evaluations(metered_trial(), trial(), trial(time_ns=None)), IDS.id)

ENCODED = encode(GOOD)


def with_column(name: str, column: object) -> bytes:
    """GOOD with another column, whether or not that is allowed."""
    index = OWNER_V2.get_field_index(name)
    array = column if isinstance(column, pa.Array) else pa.array(column, OWNER_V2.field(index).type)
    arrays = [*GOOD.columns[:index], array, *GOOD.columns[index + 1 :]]
    return encode(pa.RecordBatch.from_arrays(arrays, schema=OWNER_V2))


def stream(*batches: pa.RecordBatch, schema: pa.Schema = OWNER_V2, compression: str | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression, emit_dictionary_deltas=True)
    with pa.ipc.new_stream(sink, schema, options=options) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return bytes(sink.getvalue())


def enumerated(name: str, values: list[str], codes: list[int]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int8()), pa.array(values, pa.string()), safe=False)


def refused(data: bytes, limits: Limits | None = None, schema: pa.Schema = OWNER_V2) -> Reason:
    with pytest.raises(BatchError) as caught:
        validate(data, limits or Limits(), schema)
    assert caught.value.reason.value in str(caught.value)
    return caught.value.reason


def test_good_batch_is_taken_with_its_key() -> None:
    batch = validate(encode(GOOD), Limits())
    assert batch.equals(GOOD)
    assert batch_key(batch) == key(7, incarnation=1)


def test_batch_beyond_the_limits_is_refused() -> None:
    assert refused(encode(GOOD), Limits(max_bytes=1000)) is Reason.TOO_LARGE
    assert refused(encode(GOOD), Limits(max_rows=2)) is Reason.TOO_LARGE
    assert refused(encode(GOOD.slice(0, 0))) is Reason.TOO_LARGE


@pytest.mark.parametrize("data", [b"", b"hello", b"\xff\xff\xff\xff\x00\x00\x00\x00", b"\0" * 1000])
def test_what_is_not_arrow_is_refused(data: bytes) -> None:
    assert refused(data) is Reason.NOT_ARROW


def test_truncated_stream_is_refused() -> None:
    data = encode(GOOD)
    for length in range(0, len(data) - 8, 97):
        assert refused(data[:length]) in (Reason.NOT_ARROW, Reason.NOT_ONE_BATCH)


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_compressed_body_is_refused_before_it_is_unpacked(compression: str) -> None:
    assert refused(stream(GOOD, compression=compression)) is Reason.COMPRESSED


def test_compressed_dictionary_is_refused() -> None:
    huge = enumerated("status", ["ok" * 10_000], [0, 0, 0])
    columns = [huge if f.name == "status" else c for f, c in zip(OWNER_V2, GOOD.columns, strict=True)]
    packed = stream(pa.RecordBatch.from_arrays(columns, schema=OWNER_V2), compression="zstd")
    assert refused(packed) is Reason.COMPRESSED


def test_other_schema_version_or_columns_are_refused() -> None:
    newer = OWNER_V2.with_metadata({"quasim.schema": "owner", "quasim.version": "3"})
    assert refused(stream(GOOD.replace_schema_metadata(newer.metadata), schema=newer)) is Reason.WRONG_SCHEMA
    bare = GOOD.replace_schema_metadata(None)
    assert refused(encode(bare)) is Reason.WRONG_SCHEMA
    assert refused(encode(GOOD.drop_columns(["cycle"]))) is Reason.WRONG_SCHEMA
    assert refused(encode(GOOD.append_column("more", pa.array([1, 2, 3])))) is Reason.WRONG_SCHEMA
    assert refused(encode(GOOD), schema=SHARED_V1) is Reason.WRONG_SCHEMA


def test_stream_of_none_or_two_batches_is_refused() -> None:
    assert refused(stream()) is Reason.NOT_ONE_BATCH
    assert refused(stream(GOOD, GOOD)) is Reason.NOT_ONE_BATCH
    assert refused(stream(*[GOOD] * 50)) is Reason.NOT_ONE_BATCH


def test_unknown_or_reordered_enumeration_is_refused() -> None:
    for values in (["ok", "splendid"], list(reversed(choices("status").to_pylist()))):
        assert refused(with_column("status", enumerated("status", values, [0, 1, 1]))) is Reason.BAD_DICTIONARY


def test_code_outside_its_enumeration_is_refused() -> None:
    beyond = enumerated("status", choices("status").to_pylist(), [0, 0, 99])
    assert refused(with_column("status", beyond)) is Reason.NOT_ARROW


@pytest.mark.parametrize("name", ["node_id", "sequence", "kernel", "status", "row"])
def test_missing_value_of_a_required_column_is_refused(name: str) -> None:
    values: list[object] = GOOD[name].to_pylist()[:2]
    column = pa.array([*values, None])
    if name == "status":
        codes = pa.array([0, 0, None], pa.int8())
        column = pa.DictionaryArray.from_arrays(codes, choices(name))
    assert refused(with_column(name, column.cast(OWNER_V2.field(name).type))) is Reason.NULL


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("time_median_ns", [math.nan, 1000.0, None]),
        ("time_high_ns", [math.inf, 1000.0, None]),
        ("time_low_ns", [-1.0, 900.0, None]),
        ("error_frobenius", [-1e-9, None, None]),
        ("error_componentwise", [math.inf, None, None]),
        ("energy_j", [math.nan, None, None]),
        ("samples", [0, 30, None]),
        ("registers", [-1, None, None]),
        ("occupancy", [1.01, None, None]),
        ("flops_per_s", [math.inf, None, None]),
        ("energy_above_idle_j", [-0.1, None, None]),
        ("cycle", [-1, 2, 2]),
        ("evaluation", [0, 1, 2**53 + 1]),
        ("compile_ns", [-5, None, None]),
        ("kernel", ["", "matmul", "matmul"]),
        ("kernel", ["mat\nmul", "matmul", "matmul"]),
        ("target", ["c\n", "c", "c"]),
        ("device_family", ["x" * 129, "cpu", "cpu"]),
    ],
)
def test_value_out_of_range_is_refused_with_its_column(name: str, values: list[object]) -> None:
    with pytest.raises(BatchError, match=name) as caught:
        validate(with_column(name, values), Limits())
    assert caught.value.reason is Reason.OUT_OF_RANGE


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("time_median_ns", [500.0, 1000.0, 5.0]),
        ("samples", [9, None, None]),
        ("time_low_ns", [600.0, 900.0, None]),
        ("time_high_ns", [499.0, 1100.0, None]),
        ("energy_j", [None, None, None]),
        ("energy_j", [0.25, 1.0, None]),
        ("energy_low_j", [0.26, None, None]),
        ("energy_high_j", [0.24, None, None]),
        ("energy_high_j", [0.25, 1.0, None]),
    ],
)
def test_columns_that_contradict_each_other_are_refused(name: str, values: list[object]) -> None:
    assert refused(with_column(name, values)) is Reason.INCONSISTENT


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("node_id", [b"a" * 16, b"a" * 16, b"b" * 16]),
        ("incarnation", [1, 1, 2]),
        ("sequence", [7, 8, 7]),
        ("row", [0, 2, 1]),
        ("row", [1, 2, 3]),
    ],
)
def test_more_than_one_key_in_a_batch_is_refused(name: str, values: list[object]) -> None:
    assert refused(with_column(name, values)) is Reason.MIXED_KEY


def test_bad_batches_of_a_group_are_refused_and_the_others_taken() -> None:
    group = [
        batch_bytes(key(0)),
        b"rubbish",
        batch_bytes(key(1)),
        with_column("cycle", [-1, 2, 2]),
        with_column("row", [0, 2, 1]),
        batch_bytes(key(2)),
    ]
    results = validate_all(group, Limits())
    reasons = [result.reason if isinstance(result, BatchError) else batch_key(result) for result in results]
    assert reasons == [key(0), Reason.NOT_ARROW, key(1), Reason.OUT_OF_RANGE, Reason.MIXED_KEY, key(2)]
    assert validate_all([], Limits()) == []


def test_extra_message_in_one_stream_does_not_reach_the_next() -> None:
    """A batch with a second record batch behind it, between two good ones of a group."""
    two = stream(GOOD, GOOD)
    results = validate_all([batch_bytes(key(0)), two, batch_bytes(key(1))], Limits())
    assert [isinstance(result, BatchError) or batch_key(result) for result in results] == [key(0), True, key(1)]


def test_groups_of_one_foreign_writer_are_taken_too() -> None:
    """Another version of Arrow may lay out the schema in other bytes; here with a trailing byte after the end."""
    assert [batch_key(r) for r in validate_all([ENCODED + b"\0", ENCODED], Limits())] == [key(7, incarnation=1)] * 2


def test_refusal_passes_between_processes_whole() -> None:
    error = pickle.loads(pickle.dumps(BatchError(Reason.NULL, "kernel is missing")))  # noqa: S301
    assert (error.reason, error.detail) == (Reason.NULL, "kernel is missing")


@given(st.lists(st.tuples(st.integers(0, len(ENCODED) - 1), st.integers(1, 255)), min_size=1, max_size=8))
def test_damaged_bytes_are_refused_or_harmless_but_never_crash(damage: list[tuple[int, int]]) -> None:
    data = np.frombuffer(ENCODED, np.uint8).copy()
    for at, flip in damage:
        data[at] ^= flip
    result = validate_all([data.tobytes()], Limits())[0]
    assert isinstance(result, pa.RecordBatch) or result.detail
