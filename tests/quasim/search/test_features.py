"""What the compiler said of a variant, as a model takes it."""

from __future__ import annotations

import numpy as np
import pytest

from quasim.search.features import FEATURES, features
from quasim.trial import Genome, Introspection, Problem, Status, Timing, Trial

PROBLEM = Problem.of("softmax", rows=64, cols=64)
ROW_OF_A_LAUNCH = [96.0, 0.0, 49152.0, 0.375]


def trial(timing: Timing | None, made: Introspection | None) -> Trial:
    status = Status.OK if timing else Status.LAUNCH_ERROR
    genome = Genome({"block": 64})
    return Trial(problem=PROBLEM, target="triton", genome=genome, status=status, timing=timing, introspection=made)


def compiled(bytes_per_s: float | None = None) -> Introspection:
    return Introspection(
        registers=96, local_bytes=0, shared_bytes=49152, occupancy=0.375, bytes_per_s=bytes_per_s, flops_per_s=1e12
    )


def test_each_trial_is_a_row_and_each_name_a_column() -> None:
    found = features([trial(Timing(1e6, 9e5, 2e6, 9), compiled()), trial(None, compiled())])
    assert found.shape == (2, len(FEATURES))
    assert dict(zip(FEATURES, found[0], strict=True)) == {
        "registers": 96,
        "local_bytes": 0,
        "shared_bytes": 49152,
        "occupancy": 0.375,
    }
    assert found[1].tolist() == ROW_OF_A_LAUNCH, "what failed to launch was compiled all the same"


def test_what_is_not_known_is_nan_and_not_nought() -> None:
    found = features([trial(None, None), trial(None, Introspection(registers=0))])
    assert np.isnan(found[0]).all()
    assert found[1, 0] == 0
    assert np.isnan(found[1, 1:]).all()


@pytest.mark.parametrize("time_ns", [1e3, 1e9])
def test_no_feature_depends_on_the_time(time_ns: float) -> None:
    timing = Timing(time_ns, time_ns, time_ns, 9)
    assert features([trial(timing, compiled(bytes_per_s=1e15 / time_ns))]).tolist() == [ROW_OF_A_LAUNCH]


def test_no_trials_are_no_rows() -> None:
    assert features([]).shape == (0, len(FEATURES))
