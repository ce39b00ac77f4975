from __future__ import annotations

import msgspec
import numpy as np
import pytest

from aggregation.catalogue import CHANNELS, Catalogue, Channel
from quasim.errors import DataError
from quasim.policy import MAX_CELLS, Topic
from quasim.trial import Problem
from tests.aggregation.samples import CATALOGUE, MATMUL, NEAR, ROWS, SOFTMAX, SPACE, SPACES


def test_problems_of_one_shape_class_and_space_share_a_topic() -> None:
    assert Topic.of("c", MATMUL, SPACE) == Topic.of("c", NEAR, SPACE)
    assert CATALOGUE.topics == (Topic.of("c", MATMUL, SPACE), Topic.of("c", SOFTMAX, ROWS))


def test_unlike_spaces_of_one_name_have_topics_of_their_own() -> None:
    mixed = Catalogue.of({("c", MATMUL): SPACE, ("c", NEAR): ROWS})
    assert len(mixed.topics) == 2


def test_every_order_of_building_gives_the_same_bytes_and_digest() -> None:
    backwards = Catalogue.of(dict(reversed(SPACES.items())))
    assert backwards.to_bytes() == CATALOGUE.to_bytes()
    assert backwards.digest == CATALOGUE.digest != Catalogue(CATALOGUE.topics[:1]).digest


def test_bytes_read_back_and_malformed_ones_are_refused() -> None:
    assert Catalogue.from_bytes(CATALOGUE.to_bytes()) == CATALOGUE
    with pytest.raises(DataError):
        Catalogue.from_bytes(CATALOGUE.to_bytes()[:-1])


def test_topics_that_repeat_or_are_out_of_order_are_refused() -> None:
    first, second = CATALOGUE.topics
    for topics in ((second, first), (first, first)):
        with pytest.raises(DataError, match="out of order"):
            Catalogue(topics)


def test_a_vector_is_laid_out_topic_by_topic_channel_by_channel() -> None:
    vector = np.arange(float(CATALOGUE.length))
    matmul, softmax = CATALOGUE.split(vector).values()
    assert CATALOGUE.length == CHANNELS * (SPACE.size + ROWS.size)
    assert matmul[Channel.WEIGHT].tolist() == list(range(SPACE.size))
    assert matmul[Channel.SCORE, 0] == SPACE.size
    assert softmax.ravel().tolist() == list(range(CHANNELS * SPACE.size, CATALOGUE.length))


def test_the_pieces_of_a_vector_are_views_into_it() -> None:
    vector = np.zeros(CATALOGUE.length)
    for piece in CATALOGUE.split(vector).values():
        piece += 1
    assert vector.tolist() == [1.0] * CATALOGUE.length


def test_a_vector_of_another_length_is_refused() -> None:
    with pytest.raises(DataError, match="compare catalogues"):
        CATALOGUE.split(np.zeros(CATALOGUE.length + 1))


def test_a_catalogue_without_topics_has_vectors_of_length_0() -> None:
    empty = Catalogue(())
    assert empty.length == 0
    assert empty.split(np.zeros(0)) == {}


def test_a_catalogue_whose_policy_nodes_would_refuse_cannot_be_built() -> None:
    wide = msgspec.structs.replace(CATALOGUE.topics[0], cells=MAX_CELLS)
    problems = [Problem.of("matmul", m=2**i, n=2**j, k=1) for i in range(16) for j in range(16)]
    topics = tuple(sorted(msgspec.structs.replace(wide, shape_class=p.shape_class) for p in problems))
    with pytest.raises(DataError, match="fewer problems"):
        Catalogue(topics)
    assert Catalogue(topics[:80]).length == 80 * CHANNELS * MAX_CELLS


def test_cohorts_have_topics_of_their_own_where_each_is_as_many_as_the_floor() -> None:
    matmul, softmax = (Catalogue.of({key: SPACES[key]}) for key in (("c", MATMUL), ("c", SOFTMAX)))
    nodes = [("old", matmul), ("old", CATALOGUE), ("new", CATALOGUE), ("new", CATALOGUE)]
    apart = Catalogue.agreed(nodes, floor=2)
    assert {(t.kernel, t.cohort) for t in apart.topics} == {
        ("matmul", ""),
        ("matmul", "old"),
        ("matmul", "new"),
        ("softmax", ""),
    }
    assert Catalogue.agreed(nodes, floor=2, grouped=True) == CATALOGUE
    assert Catalogue.agreed(nodes, floor=3) == Catalogue.agreed(nodes[1:], floor=2) == CATALOGUE
    assert Catalogue.agreed([("old", softmax), ("old", softmax)], floor=1) == softmax


def test_a_cohorts_topic_without_that_of_all_is_refused() -> None:
    with pytest.raises(DataError, match="agreed"):
        Catalogue((msgspec.structs.replace(CATALOGUE.topics[0], cohort="old"),))
