from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasim.errors import ConfigError
from quasim.search import drift
from quasim.trial import Genome, Problem, Status, Timing, Trial


def trials(*times: float | None, width: float = 0.02) -> list[Trial]:
    """Trials of genomes 0, 1, …; None failed."""
    return [_trial(i, time, width) for i, time in enumerate(times)]


def _trial(at: int, time: float | None, width: float) -> Trial:
    genome, problem = Genome({"at": at}), Problem.of("bowl", n=1)
    if time is None:
        return Trial(problem=problem, target="t", genome=genome, status=Status.CRASHED)
    timing = Timing(time, time * (1 - width), time * (1 + width), 9)
    return Trial(problem=problem, target="t", genome=genome, status=Status.OK, timing=timing)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((100, 110, 120), (100, 110, 120), False),
        ((100, 110, 120), (109, 119, 129), False),
        ((100, 110, 120), (150, 165, 120), True),
        ((150, 165, 120), (100, 110, 120), True),
        ((100, 110, 120), (100, 110, None), False),
        ((100, 110, 120), (100, None, None), True),
        ((None, None, 120), (100, 110, 120), True),
        ((None, None), (None, None), False),
        # Half is no majority, unless the incumbent lost its rank.
        ((100, 110, 120, 130), (100, 110, 170, 180), False),
        ((100, 110, 120, 130), (200, 110, 120, 130), True),
        ((100, 110, 120, 130), (None, 110, 120, 130), True),
        # The incumbent became slower but is still as good as any.
        ((100, 150, 160, 170), (140, 150, 160, 170), False),
        ((), (), False),
    ],
)
def test_rule(before: tuple[float | None, ...], after: tuple[float | None, ...], expected: bool) -> None:
    assert drift.changed(trials(*before), trials(*after)) is expected


def test_difference_within_overlapping_intervals_does_not_count() -> None:
    assert not drift.changed(trials(100, 110, width=0.3), trials(140, 150, width=0.3))
    assert drift.changed(trials(100, 110, width=0.1), trials(140, 150, width=0.1))


def test_threshold_is_the_callers_choice() -> None:
    assert not drift.changed(trials(100), trials(130), threshold=0.5)
    assert drift.changed(trials(100, width=0.001), trials(103, width=0.001), threshold=0.02)


@given(st.lists(st.floats(1, 1e9), max_size=6))
def test_noise_below_the_threshold_never_counts(times: list[float]) -> None:
    noisy = [time * (1 + 0.04 * (-1) ** i) for i, time in enumerate(times)]
    assert not drift.changed(trials(*times), trials(*noisy))


def test_trials_of_different_genomes_are_refused() -> None:
    with pytest.raises(ConfigError, match="different genomes"):
        drift.changed(trials(1, 2), trials(1, 2)[::-1])
    with pytest.raises(ConfigError, match="not above 0"):
        drift.changed([], [], threshold=0)
