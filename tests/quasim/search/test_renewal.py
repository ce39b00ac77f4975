from __future__ import annotations

import json

import pytest

from quasim.errors import DataError
from quasim.prior import outgrown
from quasim.search.first import FIRST
from quasim.search.improvement import Improvement
from quasim.search.renewal import Renewal
from quasim.trial import Genome
from tests.quasim.search.conformance import prior, trial
from tests.quasim.search.test_evolution import WIDE, evaluations_to, valley

BELIEVED = prior(WIDE, weight=4.0, best=0)


def led(seed: int, slope: float = 1.0) -> Renewal:
    """A search that believed a prior for 20 evaluations, and no longer does."""
    search = Renewal(WIDE, seed)
    search.adopt(BELIEVED)
    search.tell([trial(WIDE.genome_at(cell), 1000 * valley(WIDE.genome_at(cell)) ** slope) for cell in range(20)])
    search.adopt(outgrown(BELIEVED))
    return search


def further(search: Renewal, count: int) -> list[Genome]:
    """What it asks next, one by one."""
    asked: list[Genome] = []
    for _ in range(count):
        asked += search.ask(1)
        search.tell([trial(asked[-1], 1000 * valley(asked[-1]))])
    return asked


def test_what_was_told_under_a_prior_no_longer_counts() -> None:
    assert further(led(3, slope=1.0), FIRST + 8) == further(led(3, slope=-1.0), FIRST + 8)


def test_finds_the_optimum_after_a_spread_start_of_its_own() -> None:
    assert max(evaluations_to(led(seed), valley, 1.0) for seed in range(3)) <= 80


def test_without_a_prior_that_was_dropped_it_is_an_improvement() -> None:
    plain, same = Improvement(WIDE, 5), Renewal(WIDE, 5)
    for search in (plain, same):
        for _ in range(FIRST + 4):
            search.tell([trial(genome, 1000 * valley(genome)) for genome in search.ask(2)])
    assert not same.has_begun
    assert [trial.genome for trial in same.best(30)] == [trial.genome for trial in plain.best(30)]


def test_goes_on_after_a_restore_as_it_would_have() -> None:
    search, restored = led(1), Renewal(WIDE, 0)
    further(search, FIRST // 2)
    restored.restore(search.state())
    assert further(restored, FIRST) == further(search, FIRST)


def test_ends_with_scores_that_are_believed_again_and_with_the_device() -> None:
    search = led(1)
    assert search.has_begun
    search.adopt(BELIEVED)
    assert not search.has_begun
    search = led(1)
    search.forget()
    assert not search.has_begun


@pytest.mark.parametrize("start", [[0.0, 1.0], [0.0, -1.0, 0.0], [0.0, 0.5, 0.0]])
def test_a_state_that_is_damaged_is_refused(start: list[float]) -> None:
    state = json.loads(led(1).state())
    state["own"]["start"] = start
    with pytest.raises(DataError, match="damaged"):
        Renewal(WIDE, 1).restore(json.dumps(state).encode())
