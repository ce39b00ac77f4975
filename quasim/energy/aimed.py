"""A search strategy that ranks by an objective: it tells another strategy costs in place of times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

import msgspec

from quasim.codec import from_json, to_json
from quasim.energy.objective import Objective, mean_power_w
from quasim.energy.power_line import PowerLine
from quasim.search import Prior, Strategy
from quasim.targets.replay.survey import with_joules
from quasim.trial import Genome, Timing, Trial


class _State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    inner: str
    reference_w: float | None
    trials: tuple[Trial, ...]


class Aimed:
    """Any strategy, aimed at joules. It asks as the strategy does, and gives trials back as they were measured.

    Joules are read seldom, so that a trial without them does not wipe out those that were read of the same genome
    before. A trial without any is told by what it is expected to cost, which nobody else ever sees. The first power
    that is read fixes the unit of cost for good: what was told earlier by its time then stands beside it.
    """

    def __init__(self, inner: Strategy, objective: Objective) -> None:
        self.name = inner.name
        self._inner = inner
        self._objective = objective
        self._reference_w: float | None = None
        self._trials: dict[Genome, Trial] = {}
        self._line: PowerLine | None = None

    def ask(self, count: int) -> list[Genome]:
        """See ``Strategy``."""
        return self._inner.ask(count)

    def tell(self, trials: Sequence[Trial]) -> None:
        """Learn from trials by what they cost."""
        whole = [carried(self._trials.get(trial.genome), trial) for trial in trials]
        if self._reference_w is None:
            powers = [power for trial in whole if (power := mean_power_w(trial)) is not None]
            self._reference_w = median(powers) if powers else None
        self._trials.update({trial.genome: trial for trial in whole})
        self._fit()
        self._inner.tell([self._stand_in(trial) for trial in whole])

    def _fit(self) -> None:
        metered = [trial for trial in self._trials.values() if trial.energy_j is not None]
        self._line = PowerLine(metered) if metered else None

    def adopt(self, prior: Prior) -> None:
        """See ``Strategy``: the fleet's scores are of time, which is a good guess of joules."""
        self._inner.adopt(prior)

    def forget(self) -> None:
        """The device changed: its times no longer hold, nor do its joules."""
        self._inner.forget()
        self._trials.clear()
        self._reference_w, self._line = None, None

    def best(self, count: int = 1) -> list[Trial]:
        """The cheapest known ok trials, best first, as they were measured."""
        return [self._trials[stand_in.genome] for stand_in in self._inner.best(count)]

    def entropy(self) -> float:
        """See ``Strategy``."""
        return self._inner.entropy()

    def state(self) -> bytes:
        """Everything needed to go on later, as JSON."""
        return to_json(_State(self._inner.state().decode(), self._reference_w, tuple(self._trials.values())))

    def restore(self, state: bytes) -> None:
        """Continue from ``state``.

        Raises:
            DataError: not a state of this strategy and space; nothing is changed then.
        """
        saved = from_json(state, _State, f"state of {self.name} aimed at {self._objective.kind}")
        self._inner.restore(saved.inner.encode())
        self._reference_w = saved.reference_w
        self._trials = {trial.genome: trial for trial in saved.trials}
        self._fit()

    def _stand_in(self, trial: Trial) -> Trial:
        """The trial with its cost where its time was; its interval keeps its width relative to the median."""
        if trial.timing is None:
            return trial
        was = trial.timing
        factor = self._cost_ns(trial) / was.median_ns
        scaled = Timing(was.median_ns * factor, was.low_ns * factor, was.high_ns * factor, was.samples)
        return msgspec.structs.replace(trial, timing=scaled)

    def _cost_ns(self, trial: Trial) -> float:
        """Measured, or expected by the power of those that were metered; the time, while none was."""
        if trial.energy_j is not None or self._reference_w is None or self._line is None:
            return self._objective.cost_ns(trial, self._reference_w)
        power, _ = self._line.log_power(trial.time_ns)
        return trial.time_ns * math.exp(self._objective.weight * (power - math.log(self._reference_w)))


def aimed(strategy: Strategy, objective: Objective) -> Strategy:
    """The strategy itself where time alone counts."""
    return Aimed(strategy, objective) if objective.weight else strategy


def carried(before: Trial | None, trial: Trial) -> Trial:
    """A trial with the joules that were read of the same genome before, where it has none of its own."""
    if before is None or before.energy_j is None or trial.energy_j is not None or trial.timing is None:
        return trial
    return with_joules(trial, before)
