"""The tuning loop of one machine: ask, evaluate, tell, and a playoff of the best. Pure: it does no I/O of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import msgspec

from quasim.errors import ConfigError
from quasim.measure import fastest
from quasim.search._base import Strategy
from quasim.search.pareto import front
from quasim.targets._base import Target
from quasim.trial import Problem, Status, Trial

BATCH = 8
"""Genomes asked for at a time: enough to keep compilers busy on every core, few enough to learn from each batch."""


class TuneResult(msgspec.Struct, frozen=True):
    """What a tuning run found.

    Attributes:
        trials: one for each evaluated genome, in order.
        playoff: the finalists, measured again in interleaved windows.
        best: the winner of the playoff; where it has none (a target that cannot repeat, a crash), the fastest that
            the strategy knows; None where nothing worked.
    """

    problem: Problem
    target: str
    trials: tuple[Trial, ...]
    playoff: tuple[Trial, ...]
    best: Trial | None

    @property
    def evaluations(self) -> int:
        """How many genomes were evaluated; the playoff costs none."""
        return len(self.trials)

    @property
    def front(self) -> tuple[Trial, ...]:
        """What no other dominates in time, energy and error, fastest first; the playoff counts where it measured."""
        latest = {trial.genome: trial for trial in (*self.trials, *self.playoff)}
        return front(tuple(latest.values()))

    @property
    def statuses(self) -> dict[Status, int]:
        """How many evaluations ended in each status that occurred."""
        return dict(Counter(trial.status for trial in self.trials))


def tune(
    target: Target,
    problem: Problem,
    strategy: Strategy,
    budget: int,
    *,
    playoff_size: int = 5,
    batch_size: int = BATCH,
    on_trial: Callable[[Trial], None] | None = None,
) -> TuneResult:
    """Evaluate up to ``budget`` genomes and choose the best.

    To resume a run, tell the strategy its trials first and give the rest of the budget; with none left, only the
    playoff of what was told is held.

    Args:
        playoff_size: how many finalists are measured again before one is chosen.
        batch_size: how many genomes are asked for, compiled and measured at a time.
        on_trial: told each evaluated trial as it comes.

    Raises:
        ConfigError: the budget is below 0, or one of the sizes below 1.
    """
    if budget < 0 or min(playoff_size, batch_size) < 1:
        sizes = f"playoff_size={playoff_size}, batch_size={batch_size}"
        raise ConfigError(f"budget={budget}, {sizes}", "give 0 or more, and 1 or more")
    trials: list[Trial] = []
    while len(trials) < budget and (genomes := strategy.ask(min(batch_size, budget - len(trials)))):
        batch = target.evaluate(problem, genomes)
        strategy.tell(batch)
        trials += batch
        _report(batch, on_trial)
    finalists = strategy.best(playoff_size)
    playoff = target.playoff(problem, [trial.genome for trial in finalists]) if finalists else []
    best = fastest(playoff) or fastest(finalists)
    return TuneResult(problem, target.name, tuple(trials), tuple(playoff), best)


def _report(batch: Sequence[Trial], on_trial: Callable[[Trial], None] | None) -> None:
    if on_trial is not None:
        for trial in batch:
            on_trial(trial)
