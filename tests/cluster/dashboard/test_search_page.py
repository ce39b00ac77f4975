from __future__ import annotations

import numpy as np
import pytest

from cluster.dashboard.search_page import beaten
from quasim.search.pareto import dominated


@pytest.mark.parametrize("seed", range(20))
def test_the_quick_front_is_the_front(seed: int) -> None:
    random = np.random.default_rng(seed)
    values = random.integers(1, (4, 8, 1000)[seed % 3], size=(200, 3)).astype(np.float64)
    values[random.random(values.shape) < (0.0, 0.3)[seed % 2]] = np.nan
    values[:, 0] = np.nan_to_num(values[:, 0], nan=1.0)
    assert beaten(values).tolist() == dominated(values, values).tolist()


def test_of_nothing_there_is_no_front() -> None:
    assert beaten(np.zeros((0, 3))).tolist() == []
