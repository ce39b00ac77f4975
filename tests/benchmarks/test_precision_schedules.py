from __future__ import annotations

import pytest

from benchmarks.precision_schedules import BLOCKED
from quasim.kernels import family
from quasim.targets.triton.plans import planned


@pytest.mark.parametrize("plan", BLOCKED)
def test_every_schedule_has_sources_and_comes_once(plan: str) -> None:
    kernel, shape = family("matmul").kernel, {"m": 4096, "n": 4096, "k": 4096}
    genomes = BLOCKED[plan]
    assert len(set(genomes)) == len(genomes)
    for genome in genomes:
        found = planned(kernel, genome, shape)
        assert found.sources[found.main].entry == f"matmul_{plan}"
