from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.service.backoff import Backoff
from quasim.errors import ConfigError


@given(st.integers(1, 10_000), st.integers(0, 2**32))
def test_a_wait_lies_in_the_upper_half_of_a_range_that_doubles_up_to_the_limit(failures: int, seed: int) -> None:
    limit = min(60.0, 2.0 ** min(failures - 1, 10))
    assert limit / 2 <= Backoff(first_s=1, most_s=60).wait_s(failures, random.Random(seed)) <= limit


def test_nodes_that_failed_together_come_back_apart() -> None:
    waits = {Backoff().wait_s(3, random.Random(seed)) for seed in range(50)}
    assert len(waits) == 50
    assert max(waits) - min(waits) > 1


@pytest.mark.parametrize("bad", [{"first_s": 0}, {"first_s": 9, "most_s": 8}, {"healthy_s": -1}])
def test_a_backoff_that_cannot_be_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="give 0 < first_s <= most_s"):
        Backoff(**bad)
