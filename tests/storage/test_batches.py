from __future__ import annotations

import math

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from quasim.trial import Genome, Introspection, Problem
from storage.batches import encode, genome_text, owner_batch, shared_batch
from storage.pseudonyms import Pseudonyms
from storage.schemas import OWNER_V2, SHARED_V1
from storage.validation import validate
from storage.wire import Limits
from tests.storage.samples import IDS, evaluations, key, metered_trial, trial

KEY = ["node_id", "incarnation", "sequence", "row"]
IDENTIFYING = ["node_id", "problem_id", "genome_id"]


def test_owner_batch_holds_what_was_measured() -> None:
    batch = owner_batch(key(3, incarnation=2), "cpu", evaluations(metered_trial(), trial(time_ns=None)), IDS.id)
    assert batch.schema.equals(OWNER_V2, check_metadata=True)
    ok, failed = batch.to_pylist()
    assert ok["node_id"].hex() == key(3).node
    assert (ok["incarnation"], ok["sequence"], ok["row"], failed["row"]) == (2, 3, 0, 1)
    assert (ok["kernel"], ok["target"], ok["device_family"], ok["stage"]) == ("matmul", "c", "cpu", "search")
    assert (ok["time_low_ns"], ok["time_median_ns"], ok["time_high_ns"], ok["samples"]) == (400, 500, 700, 9)
    assert (ok["energy_j"], ok["energy_source"], ok["error_frobenius"]) == (0.25, "counter", 1e-7)
    assert (ok["error_against"], failed["error_against"]) == ("default", "float64")
    assert (ok["energy_low_j"], ok["energy_high_j"], ok["energy_above_idle_j"]) == (0.2, 0.375, 0.125)
    assert (ok["registers"], ok["local_bytes"], ok["shared_bytes"], ok["occupancy"]) == (168, 0, 65536, 0.25)
    assert (ok["bytes_per_s"], ok["flops_per_s"], ok["roofline_fraction"]) == (None, 6.5e14, 0.7)
    assert (ok["compile_ns"], ok["check_ns"], ok["measure_ns"]) == (None, 7, 8)
    assert ok["error_componentwise"] is None, "an infinite error is no number"
    assert (failed["status"], failed["time_median_ns"], failed["samples"]) == ("crashed", None, None)
    assert {failed[name] for name in Introspection.__struct_fields__} == {None}, "nothing is known of a crash"
    assert (failed["energy_j"], failed["energy_source"], failed["cycle"]) == (None, "unmetered", 2)


def test_owner_batch_names_neither_shape_nor_configuration() -> None:
    data = encode(owner_batch(key(0), "cpu", evaluations(trial(tile=12345)), IDS.id))
    assert not [secret for secret in (b"768", b"12345", b"tile", b"node-a") if secret in data]


def test_encoded_batch_is_read_back_equal() -> None:
    batch = owner_batch(key(0), "cpu", evaluations(metered_trial(), trial()), IDS.id)
    assert validate(encode(batch), Limits()).equals(batch)


def test_genome_text_ignores_order_and_keeps_types_apart() -> None:
    assert genome_text(Genome({"a": 1, "b": True})) == genome_text(Genome({"b": True, "a": 1}))
    assert len({genome_text(Genome({"a": value})) for value in (1, True, 1.0, "1")}) == 4


def test_shared_batch_is_valid_under_its_own_schema() -> None:
    batch = shared_batch(key(0), [trial(8), trial(16, time_ns=None), trial(32, time_ns=1500.0)], IDS.id)
    assert validate(encode(batch), Limits(), SHARED_V1).equals(batch)
    scores = {row["genome_id"].hex(): row["score"] for row in batch.to_pylist()}
    assert scores[IDS.id("genome", genome_text(trial(8).genome))] == "within 1.25"
    assert scores[IDS.id("genome", genome_text(trial(32).genome))] == "within 2"
    assert scores[IDS.id("genome", genome_text(trial(16).genome))] == "failed"


def test_shared_schema_has_no_number_but_the_batch_key() -> None:
    numeric = [f.name for f in SHARED_V1 if pa.types.is_integer(f.type) or pa.types.is_floating(f.type)]
    assert numeric == ["incarnation", "sequence", "row"]


def test_every_fact_about_a_variant_has_its_column_in_the_owners_schema_and_none_in_the_shared() -> None:
    facts = {*Introspection.__struct_fields__, "energy_j", "energy_low_j", "energy_high_j", "energy_above_idle_j"}
    assert facts < set(OWNER_V2.names)
    assert not facts & set(SHARED_V1.names)
    assert SHARED_V1.names == [*KEY, "problem_id", "genome_id", "status", "score"]


TIMES = st.lists(st.none() | st.floats(1.0, 1e9), min_size=1, max_size=20)
SIZES = st.integers(1, 10**6)


@given(times=TIMES, scale=st.integers(-9, 30), sizes=st.tuples(SIZES, SIZES, SIZES))
def test_shapes_cannot_be_recovered_from_shared_rows(
    times: list[float | None], scale: int, sizes: tuple[int, int, int]
) -> None:
    """What is not a keyed hash is the same for every shape and every speed, whoever knows the device's FLOP/s."""
    m, n, k = sizes
    here = [trial(i, time_ns=time) for i, time in enumerate(times)]
    there = [
        trial(i, time_ns=time and math.ldexp(time, scale), problem=Problem.of("matmul", m=m, n=n, k=k))
        for i, time in enumerate(times)
    ]
    one = shared_batch(key(0), here, IDS.id)
    two = shared_batch(key(0), there, IDS.id)
    assert one.drop_columns(["problem_id"]).equals(two.drop_columns(["problem_id"]))


def test_time_tells_the_shape_in_owner_rows_which_is_why_they_stay() -> None:
    """The attack that the shared schema defeats: FLOP/s × time is the FLOP count of one candidate shape alone."""
    flops_per_s = 1e11
    candidates = {size: Problem.of("matmul", m=size, n=size, k=size) for size in range(256, 2048, 64)}
    secret = 1024
    measured = trial(problem=candidates[secret], time_ns=2 * secret**3 / flops_per_s * 1e9)
    owner = owner_batch(key(0), "cpu", evaluations(measured), IDS.id)
    flops = owner["time_median_ns"][0].as_py() * 1e-9 * flops_per_s
    assert min(candidates, key=lambda size: abs(2 * size**3 - flops)) == secret

    views = set()
    for size, problem in candidates.items():
        likely = trial(problem=problem, time_ns=2 * size**3 / flops_per_s * 1e9)
        views.add(str(shared_batch(key(0), [likely], Pseudonyms(b"k" * 32).id).drop_columns(IDENTIFYING).to_pylist()))
    assert len(views) == 1, "every candidate looks the same"
