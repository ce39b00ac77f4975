from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregation.groups import GROUP, GroupSum, combine, divide
from quasim.errors import DataError

DIGEST = hashlib.sha256(b"roster").digest()


def nodes(count: int) -> list[str]:
    return [f"node-{number}" for number in range(count)]


def sums(*means: float, participants: int = GROUP) -> list[GroupSum]:
    return [GroupSum(participants, np.array([participants * mean, 1.0])) for mean in means]


@settings(deadline=None)
@given(st.integers(1, 400))
def test_groups_are_a_partition_into_equal_parts_of_at_least_32(count: int) -> None:
    groups = divide(nodes(count), DIGEST)
    assert sorted(node for group in groups for node in group) == sorted(nodes(count))
    sizes = {len(group) for group in groups}
    assert max(sizes) - min(sizes) <= 1
    assert len(groups) == (count // GROUP if count >= 3 * GROUP else 1)
    assert min(sizes) >= min(count, GROUP)
    assert all(list(group) == sorted(group) for group in groups)


def test_groups_follow_from_the_roster_alone() -> None:
    groups = divide(nodes(100), DIGEST)
    assert divide(nodes(100)[::-1], DIGEST) == groups
    assert divide(nodes(100), hashlib.sha256(b"next").digest()) != groups


def test_a_node_cannot_stand_in_two_groups() -> None:
    with pytest.raises(DataError, match="twice"):
        divide(["node-0", "node-0"], DIGEST)


def test_one_group_is_its_sum_and_says_that_liars_count() -> None:
    (group,) = sums(0.5)
    combined = combine([group])
    assert combined.values.tolist() == group.values.tolist()
    assert combined.participants == GROUP
    assert "one group" in combined.label
    assert "liar counts in full" in combined.label


def test_three_groups_give_the_median_of_their_means() -> None:
    combined = combine(
        [GroupSum(32, np.array([32.0])), GroupSum(40, np.array([80.0])), GroupSum(32, np.array([320.0]))]
    )
    assert combined.values.tolist() == [104 * 2.0]
    assert combined.participants == 104
    assert combined.label == "3 groups, median of their means: bears 1 with liars"


def test_a_trimmed_mean_keeps_what_the_median_drops() -> None:
    groups = sums(-100.0, 1.0, 2.0, 6.0, 100.0)
    assert combine(groups, spoiled=1).values[0] == pytest.approx(5 * GROUP * 3.0, rel=1e-15)
    assert combine(groups).values[0] == pytest.approx(5 * GROUP * 2.0, rel=1e-15)
    assert combine(groups, spoiled=0).values[0] == pytest.approx(GROUP * 9.0, rel=1e-15)
    assert "trimmed mean" in combine(groups, spoiled=1).label


@settings(deadline=None)
@given(
    st.lists(st.floats(-1, 1), min_size=3, max_size=9),
    st.lists(st.floats(-1, 1), min_size=4, max_size=4),
)
def test_spoiled_groups_cannot_leave_the_range_of_the_honest(honest: list[float], lies: list[float]) -> None:
    spoiled = min(len(lies), len(honest) - 1)
    groups = sums(*honest, *lies[:spoiled])
    mean = combine(groups, spoiled).values[0] / (len(groups) * GROUP)
    assert min(honest) - 1e-12 <= mean <= max(honest) + 1e-12


def test_one_more_spoiled_group_than_is_borne_can() -> None:
    groups = sums(0.1, 0.2, 0.3, 1.0, 1.0)
    assert combine(groups, spoiled=1).values[0] / (5 * GROUP) > 0.3


@pytest.mark.parametrize(("count", "spoiled"), [(3, 2), (4, 2), (5, -1), (1, 1)])
def test_more_spoiled_groups_than_leave_anything_are_refused(count: int, spoiled: int) -> None:
    with pytest.raises(DataError, match="spoiled"):
        combine(sums(*[0.0] * count), spoiled)


def test_no_groups_unlike_lengths_and_sums_that_are_none_are_refused() -> None:
    with pytest.raises(DataError, match="0 groups"):
        combine([])
    with pytest.raises(DataError, match="unlike"):
        combine([GroupSum(32, np.zeros(2)), GroupSum(32, np.zeros(3))])
    for participants, values in ((0, np.zeros(2)), (32, np.array([np.nan])), (32, np.zeros((2, 2)))):
        with pytest.raises(DataError):
            GroupSum(participants, values)
