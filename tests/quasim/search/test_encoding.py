from __future__ import annotations

import numpy as np
import pytest

from quasim.search.encoding import Encoding
from quasim.search.gaussian import distances
from quasim.space import Divides, Kind, Parameter, SearchSpace

SPACE = SearchSpace(
    (
        Parameter("block", (16, 32, 48, 64)),
        Parameter("tile", (1, 2, 4)),
        Parameter("layout", ("row", "column", "tiled"), Kind.CATEGORICAL),
        Parameter("pad", (0, 1)),
        Parameter("fixed", (7,)),
    ),
)


def columns(encoding: Encoding, group: int) -> np.ndarray:
    return encoding.matrix[:, encoding.groups == group]


def test_groups_are_position_alignment_identity_and_products() -> None:
    encoding = Encoding(SPACE)
    # block: position, alignment, which; tile (powers of two): position, which; layout and pad: which; block × tile.
    assert [int((encoding.groups == g).sum()) for g in range(8)] == [1, 1, 4, 1, 3, 3, 2, 1]
    assert columns(encoding, 0)[:4, 0] == pytest.approx([0, 0.5, np.log2(3) / 2, 1])
    assert columns(encoding, 1)[:4, 0] == pytest.approx([0, 0.5, 0, 1])
    assert columns(encoding, 7)[:7, 0] == pytest.approx(np.array([0, 1, np.log2(3), 2, 0, 1, 2]) / 4)


def test_features_are_linear_in_the_one_hot_columns() -> None:
    encoding, cells = Encoding(SPACE), np.arange(SPACE.size)
    assert encoding.of(cells) == pytest.approx(SPACE.one_hot(SPACE.rows) @ encoding.matrix)


def test_centred_features_keep_all_distances_in_fewer_dimensions() -> None:
    encoding, hot = Encoding(SPACE), SPACE.one_hot(SPACE.rows)
    features, centred = hot @ encoding.matrix, hot @ encoding.centred
    assert distances(centred, centred) == pytest.approx(distances(features, features), abs=1e-12)
    assert np.linalg.matrix_rank(encoding.centred) == len(SPACE.gene_owners) - len(SPACE.parameters)
    assert np.linalg.matrix_rank(encoding.matrix) > np.linalg.matrix_rank(encoding.centred)


def test_two_values_of_a_category_are_one_apart() -> None:
    space = SearchSpace((Parameter("layout", ("a", "b", "c"), Kind.CATEGORICAL),))
    points = Encoding(space).of(np.arange(3))
    apart = ((points[:, None] - points) ** 2).sum(axis=2)
    assert apart == pytest.approx(1 - np.eye(3))


def test_values_that_are_not_positive_have_linear_positions() -> None:
    space = SearchSpace((Parameter("offset", (-2, 0, 6)),))
    assert Encoding(space).matrix[:, 0] == pytest.approx([0, 0.25, 1])


def test_space_without_a_choice_has_no_features() -> None:
    space = SearchSpace((Parameter("tile", (8,)), Parameter("k", (3,))), (Divides("k", ("k",)),))
    assert Encoding(space).of(np.arange(1)).shape == (1, 0)
