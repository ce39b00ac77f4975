from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quasim.codec import to_msgpack
from quasim.errors import DataError
from quasim.policy import MAX_CELLS, MAX_NAMES, MAX_PAYLOAD, Part, Policy, Topic, leading, topic_cells
from quasim.prior import prior_for
from quasim.space import AtMost, Parameter, SearchSpace
from quasim.trial import Problem

SPACE = SearchSpace(
    (Parameter("tile", (8, 16, 32)), Parameter("unroll", (1, 2, 4))),
    (AtMost(("tile", "unroll"), 64),),
)
LARGE = SearchSpace((Parameter("a", tuple(range(300))), Parameter("b", tuple(range(200)))))
PROBLEM = Problem.of("matmul", m=768, n=768, k=768)
TOPIC = Topic.of("c", PROBLEM, SPACE)


def floats(*values: float) -> bytes:
    return np.array(values, dtype="<f4").tobytes()


def part(
    topic: Topic = TOPIC, mean: bytes | None = None, weight: bytes | None = None, candidates: tuple[int, ...] = ()
) -> Part:
    zeros = floats(*[0.0] * topic.cells)
    return Part(topic, zeros if mean is None else mean, zeros if weight is None else weight, zeros, zeros, candidates)


def knowing(topic: Topic, known: dict[int, float], candidates: tuple[int, ...] = ()) -> Part:
    mean, weight = np.zeros(topic.cells, "<f4"), np.zeros(topic.cells, "<f4")
    mean[list(known)], weight[list(known)] = list(known.values()), 1.0
    return Part(topic, mean.tobytes(), weight.tobytes(), floats(*[0.0] * topic.cells), weight.tobytes(), candidates)


def policy(*parts: Part, **changes: Any) -> Policy:
    fields: dict[str, Any] = {
        "federation": "lab",
        "version": 1,
        "cycle": 0,
        "parent": "",
        "protocol": "plain",
        "participants": 2,
        "catalogue": "c" * 64,
    }
    return Policy(**(fields | changes), parts=parts)


KNOWN = knowing(TOPIC, {0: -0.25, 3: 0.0}, (3, 0))
PAYLOAD = policy(KNOWN).payload()


def test_payload_reads_back_as_the_same_policy_and_the_same_bytes() -> None:
    read = Policy.from_payload(PAYLOAD)
    assert read == policy(KNOWN)
    assert read.payload() == PAYLOAD
    assert read.digest == policy(KNOWN).digest != policy(KNOWN, cycle=1).digest


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 1},
        {"federation": ""},
        {"protocol": ""},
        {"version": 0},
        {"version": 2},
        {"parent": "a" * 64},
        {"version": 2, "parent": "not a digest"},
        {"cycle": -1},
        {"participants": 0},
        {"catalogue": "short"},
    ],
)
def test_a_policy_with_a_field_out_of_range_cannot_be_built(changes: dict[str, Any]) -> None:
    with pytest.raises(DataError):
        policy(**changes)


def test_parts_must_be_in_the_order_of_their_topics_and_not_repeat() -> None:
    other = part(Topic.of("replay", PROBLEM, SPACE))
    assert policy(part(), other).parts == (part(), other)
    for parts in ((other, part()), (part(), part())):
        with pytest.raises(DataError, match="out of order"):
            policy(*parts)


@pytest.mark.parametrize(
    ("mean", "weight", "candidates"),
    [
        (floats(0.0), None, ()),
        (None, floats(0.0), ()),
        (floats(*[float("nan")] * TOPIC.cells), floats(*[1.0] * TOPIC.cells), ()),
        (floats(*[0.5] * TOPIC.cells), floats(*[1.0] * TOPIC.cells), ()),
        (floats(*[-1.5] * TOPIC.cells), floats(*[1.0] * TOPIC.cells), ()),
        (floats(*[-0.5] * TOPIC.cells), None, ()),
        (None, floats(*[-1.0] * TOPIC.cells), ()),
        (None, floats(*[float("inf")] * TOPIC.cells), ()),
        (None, floats(*[1.0] * TOPIC.cells), (TOPIC.cells,)),
        (None, floats(*[1.0] * TOPIC.cells), (-1,)),
        (None, floats(*[1.0] * TOPIC.cells), (0, 0)),
        (None, None, (0,)),
    ],
)
def test_a_part_that_contradicts_itself_cannot_be_built(
    mean: bytes | None, weight: bytes | None, candidates: tuple[int, ...]
) -> None:
    with pytest.raises(DataError):
        part(mean=mean, weight=weight, candidates=candidates)


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
@pytest.mark.parametrize("field", ["spread", "feasible"])
def test_spreads_and_feasible_shares_lie_between_0_and_1(field: str, value: float) -> None:
    with pytest.raises(DataError, match=r"outside \[0, 1\]"):
        msgspec.structs.replace(KNOWN, **{field: floats(*[value] * TOPIC.cells)})


def test_joules_come_with_weights_of_their_own_or_not_at_all() -> None:
    scores, weights = floats(*[-0.5] * TOPIC.cells), floats(*[1.0] * TOPIC.cells)
    metered = msgspec.structs.replace(KNOWN, energy=scores, energy_weight=weights)
    assert metered.energies.tolist() == [-0.5] * TOPIC.cells
    assert KNOWN.energies.tolist() == []
    for changes in ({"energy": scores}, {"energy_weight": weights}, {"energy": scores, "energy_weight": weights[4:]}):
        with pytest.raises(DataError):
            msgspec.structs.replace(KNOWN, **changes)


def test_leading_cells_are_those_of_which_the_fleet_is_surest_that_they_are_good_and_work() -> None:
    mean = np.array([0.0, -0.1, 0.0, 0.0, -1.0, 0.0])
    weight = np.array([1.0, 4.0, 4.0, 0.0, 4.0, 4.0])
    feasible = np.array([1.0, 1.0, 0.5, 1.0, 1.0, 0.0])
    assert leading(mean, weight, feasible, 10).tolist() == [1, 0, 2]
    assert leading(mean, weight, feasible, 1).tolist() == [1]


def test_a_part_has_a_bounded_number_of_candidates() -> None:
    topic = msgspec.structs.replace(TOPIC, cells=100)
    with pytest.raises(DataError, match="65 candidates"):
        part(topic, weight=floats(*[1.0] * 100), candidates=tuple(range(65)))


@pytest.mark.parametrize(
    "changes", [{"space": "x"}, {"cells": 0}, {"cells": MAX_CELLS + 1}, {"target": "t" * MAX_NAMES}]
)
def test_a_topic_out_of_range_cannot_be_built(changes: dict[str, Any]) -> None:
    with pytest.raises(DataError):
        msgspec.structs.replace(TOPIC, **changes)


def test_a_payload_above_the_cap_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(DataError, match=str(MAX_PAYLOAD)):
        Policy.from_payload(bytes(MAX_PAYLOAD + 1))


def test_unknown_fields_and_other_orders_of_fields_are_refused() -> None:
    fields = msgspec.to_builtins(policy(KNOWN), builtin_types=(bytes,))
    assert to_msgpack(fields) == PAYLOAD
    with pytest.raises(DataError):
        Policy.from_payload(to_msgpack(fields | {"extra": 1}))
    with pytest.raises(DataError, match="canonical"):
        Policy.from_payload(to_msgpack(dict(reversed(fields.items()))))


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_are_refused_as_data_errors(data: bytes) -> None:
    with pytest.raises(DataError):
        Policy.from_payload(data)


@settings(deadline=None, max_examples=400)
@given(st.integers(0, len(PAYLOAD) - 1), st.integers(0, 255), st.integers(0, len(PAYLOAD)))
def test_mutated_payloads_are_refused_or_read_back_to_the_same_bytes(at: int, byte: int, end: int) -> None:
    mutated = PAYLOAD[:at] + bytes([byte]) + PAYLOAD[at + 1 :]
    for data in (mutated, mutated[:end], mutated + PAYLOAD[:end]):
        try:
            read = Policy.from_payload(data)
        except DataError:
            continue
        assert read.payload() == data
        prior = prior_for(read, "c", PROBLEM, SPACE)
        assert prior is None or all(SPACE.contains(genome) for genome in prior.candidates)


def test_a_small_space_is_a_topic_as_a_whole() -> None:
    assert topic_cells(SPACE).tolist() == list(range(SPACE.size))


def test_a_large_space_is_sampled_evenly_and_the_same_everywhere() -> None:
    cells = topic_cells(LARGE)
    stretch = LARGE.size / MAX_CELLS
    assert len(cells) == MAX_CELLS == Topic.of("c", PROBLEM, LARGE).cells
    assert np.all(np.diff(cells) > 0)
    assert np.all(np.abs(cells - stretch * np.arange(MAX_CELLS)) <= stretch + 1)
    # Written down once: fleets agree on the sample only while it never changes.
    assert cells[:12].tolist() == [0, 2, 3, 6, 7, 9, 11, 12, 15, 17, 18, 20]
