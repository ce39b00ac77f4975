from __future__ import annotations

from collections.abc import Sequence

import pytest

from quasim.errors import ConfigError
from quasim.search._base import Prior
from quasim.space import Parameter, SearchSpace
from quasim.targets._base import DeviceFacts
from quasim.trial import Genome, Problem, Status, Timing, Trial
from quasim.tune import BATCH, tune

PROBLEM = Problem.of("table", n=1)
SPACE = SearchSpace(
    (Parameter("tile", (1, 2, 4, 8, 16)), Parameter("unroll", (1, 2, 3, 4))), default=Genome({"tile": 1, "unroll": 1})
)


class TableTarget:
    """A device in memory: times from a formula, one of them flattering in a single window, some genomes crash."""

    name = "table"
    device = DeviceFacts("table", "table")

    def __init__(self) -> None:
        self.playoffs: list[list[Genome]] = []

    def space(self, problem: Problem) -> SearchSpace:
        return SPACE

    def evaluate(self, problem: Problem, genomes: Sequence[Genome]) -> list[Trial]:
        return [self._trial(genome, _true_ns(genome) - 60.0 * (genome.integer("tile") == 4)) for genome in genomes]

    def playoff(self, problem: Problem, genomes: Sequence[Genome], *, metered: bool = True) -> list[Trial]:
        self.playoffs.append(list(genomes))
        return [self._trial(genome, _true_ns(genome)) for genome in genomes]

    def start_cycle(self, cycle: int) -> None:
        pass

    def close(self) -> None:
        pass

    def _trial(self, genome: Genome, time_ns: float) -> Trial:
        if genome["tile"] == 16:
            return Trial(problem=PROBLEM, target=self.name, genome=genome, status=Status.CRASHED, detail="killed")
        timed = Timing(time_ns, time_ns, time_ns, 1)
        return Trial(problem=PROBLEM, target=self.name, genome=genome, status=Status.OK, timing=timed)


def _true_ns(genome: Genome) -> float:
    return 100.0 + 10 * abs(genome.integer("tile") - 8) + 5 * abs(genome.integer("unroll") - 3)


class InOrder:
    """Asks the cells of a space in order: the least strategy there is."""

    name = "in_order"

    def __init__(self) -> None:
        self.known: dict[Genome, Trial] = {}
        self.batches: list[int] = []

    def ask(self, count: int) -> list[Genome]:
        cells = [SPACE.genome_at(cell) for cell in range(SPACE.size)]
        asked = [genome for genome in cells if genome not in self.known][:count]
        self.batches.append(len(asked))
        return asked

    def tell(self, trials: Sequence[Trial]) -> None:
        self.known.update({trial.genome: trial for trial in trials})

    def best(self, count: int = 1) -> list[Trial]:
        timed = [trial for trial in self.known.values() if trial.timing]
        return sorted(timed, key=lambda trial: trial.time_ns)[:count]

    def adopt(self, prior: Prior) -> None:
        raise NotImplementedError

    def forget(self) -> None:
        self.known.clear()

    def entropy(self) -> float:
        return 1.0

    def state(self) -> bytes:
        return b""

    def restore(self, state: bytes) -> None:
        raise NotImplementedError


def test_tuning_finds_a_better_genome_than_the_default() -> None:
    result = tune(TableTarget(), PROBLEM, InOrder(), 100)
    assert SPACE.default is not None
    assert result.best is not None
    assert result.best.time_ns < _true_ns(SPACE.default)
    assert result.best.genome == Genome({"tile": 8, "unroll": 3})


def test_the_playoff_corrects_a_flattering_window() -> None:
    target = TableTarget()
    result = tune(target, PROBLEM, InOrder(), 100, playoff_size=5)
    assert min(result.trials, key=lambda trial: trial.time_ns).genome["tile"] == 4
    assert len(target.playoffs) == 1
    assert len(target.playoffs[0]) == 5
    assert result.best in result.playoff


def test_failures_are_counted_and_do_not_end_the_run() -> None:
    result = tune(TableTarget(), PROBLEM, InOrder(), 100)
    assert result.statuses == {Status.OK: 16, Status.CRASHED: 4}
    assert result.evaluations == SPACE.size == 20


def test_the_budget_is_kept_and_asked_for_in_batches() -> None:
    strategy, seen = InOrder(), list[Trial]()
    result = tune(TableTarget(), PROBLEM, strategy, BATCH + 3, on_trial=seen.append)
    assert strategy.batches == [BATCH, 3]
    assert tuple(seen) == result.trials
    assert len(seen) == BATCH + 3


def test_batches_are_as_large_as_wanted() -> None:
    search = InOrder()
    tune(TableTarget(), PROBLEM, search, 8, batch_size=5)
    assert search.batches == [5, 3]
    with pytest.raises(ConfigError, match="batch_size=0"):
        tune(TableTarget(), PROBLEM, search, 8, batch_size=0)


def test_a_run_resumes_from_told_trials() -> None:
    first = InOrder()
    before = tune(TableTarget(), PROBLEM, first, 15)
    again = InOrder()
    again.tell(before.trials)
    rest = tune(TableTarget(), PROBLEM, again, 5)
    whole = tune(TableTarget(), PROBLEM, InOrder(), 20)
    assert before.trials + rest.trials == whole.trials
    assert rest.best == whole.best


def test_where_nothing_works_there_is_no_best() -> None:
    class Broken(TableTarget):
        def _trial(self, genome: Genome, time_ns: float) -> Trial:
            return Trial(problem=PROBLEM, target=self.name, genome=genome, status=Status.COMPILE_ERROR)

    target = Broken()
    result = tune(target, PROBLEM, InOrder(), 10)
    assert result.best is None
    assert result.playoff == ()
    assert target.playoffs == []


def test_where_the_playoff_fails_the_fastest_known_stands() -> None:
    class Fragile(TableTarget):
        def playoff(self, problem: Problem, genomes: Sequence[Genome], *, metered: bool = True) -> list[Trial]:
            return [
                Trial(problem=PROBLEM, target=self.name, genome=genome, status=Status.CRASHED) for genome in genomes
            ]

    result = tune(Fragile(), PROBLEM, InOrder(), 100)
    assert result.best is not None
    assert result.best.time_ns == min(trial.time_ns for trial in result.trials)


def test_with_the_budget_used_up_only_the_playoff_is_held() -> None:
    before = tune(TableTarget(), PROBLEM, InOrder(), 15)
    target, again = TableTarget(), InOrder()
    again.tell(before.trials)
    result = tune(target, PROBLEM, again, 0)
    assert (result.trials, again.batches) == ((), [])
    assert len(target.playoffs) == 1
    assert result.best == before.best


@pytest.mark.parametrize(("budget", "playoff_size"), [(-1, 5), (5, 0)])
def test_a_negative_budget_and_an_empty_playoff_are_refused(budget: int, playoff_size: int) -> None:
    with pytest.raises(ConfigError):
        tune(TableTarget(), PROBLEM, InOrder(), budget, playoff_size=playoff_size)
