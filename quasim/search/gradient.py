"""Gradient: relaxed genomes descend the surrogate's gradient and are projected to configurations.

    elites, softened ─┐  weights on the product of simplices      most likely free        lowest optimistic
    random weights ───┴─► multiplicative descent of the loss ───► cells of each ────────► loss of all: the plan

The loss is predicted log latency + λ · predicted log energy; energy counts once trials were metered. A relaxed genome
is a distribution over genes, and the valid configuration that is likeliest under it is its projection: the one of least
Kullback–Leibler divergence.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import cycle, islice
from math import inf

import numpy as np

from quasim.errors import DataError
from quasim.search._base import Prior
from quasim.search.ledger import Cells, Mask
from quasim.search.recording import RecordingStrategy
from quasim.search.relaxed import LEAST, entropy, normalised, sums
from quasim.search.saved import OwnState
from quasim.search.surrogate import Surrogate
from quasim.search.trace import Descent, Evaluation, GradientTrace, Trace, genes
from quasim.space import Floats, SearchSpace
from quasim.trial import Trial

FIRST = 10
"""Random configurations before a model is asked, where the fleet tells nothing."""

STARTS = 8
"""Relaxed genomes that descend together, at most half of them from elites."""

STEPS = 30
"""Multiplicative updates of a descent …"""

STEP = 0.5
"""… each of which changes the log weight of a gene by at most this, less and less towards the end."""

SOFTNESS = 0.5
"""Weight that an elite's start leaves to the values that it does not have."""

NEAREST = 32
"""Free cells to which a relaxed genome may be projected."""

DOUBTS = (0.5, 1.0, 2.0, 4.0)
"""Deviations by which choices among projections are optimistic, in turn: a descent alone ends where much is known."""

PLAN = len(DOUBTS)
"""Configurations that one descent gives when they are asked for one by one."""

ENERGY_WEIGHT = 0.1
"""λ: a tenth fewer joules are worth a hundredth less time, enough to choose among the equally fast."""

PROJECTED = 1 << 15
"""Most free cells that a projection looks at; of more, a random part."""

REMEMBERED = 256
"""Latest descents of which the trace tells."""


class Gradient(RecordingStrategy):
    """The differentiable scheduler.

    Args:
        energy_weight: λ of the loss; 0: latency alone.
    """

    name = "gradient"

    def __init__(self, space: SearchSpace, seed: int, energy_weight: float = ENERGY_WEIGHT) -> None:
        super().__init__(space, seed)
        self._energy_weight = energy_weight
        self._plan: list[int] = []
        self._weights: Floats | None = None
        self._descents: deque[Descent] = deque(maxlen=REMEMBERED)
        self._expected_ns: dict[int, float] = {}

    def adopted(self, prior: Prior) -> None:
        """This prior is in the notes now: the plan was made without it."""
        self._plan = []

    def forgot(self) -> None:
        """The notes are empty now, but for the elites to ask again."""
        self._plan, self._weights = [], None
        self._expected_ns.clear()

    def entropy(self) -> float:
        """Mean normalised entropy of the relaxed genome with the lowest loss of the last descent."""
        return 1.0 if self._weights is None else entropy(self._space, self._weights)

    def traces(self) -> dict[str, Trace]:
        """The schedule found, the losses of the descents, and what was expected and measured."""
        best = self.best()
        trials = self._ledger.trials
        return {
            self.name: GradientTrace(
                space=self._space.digest,
                schedule=best[0].genome if best else None,
                genes=genes(self._space),
                weights=() if self._weights is None else tuple(self._weights.tolist()),
                energy_weight=self._energy_weight,
                descents=tuple(self._descents),
                evaluations=tuple(self._evaluation(cell, trial) for cell, trial in trials.items()),
            )
        }

    def _evaluation(self, cell: int, trial: Trial) -> Evaluation:
        measured = None if trial.timing is None else trial.timing.median_ns
        return Evaluation(trial.genome, self._expected_ns.get(cell), trial.status, measured)

    def _propose(self, count: int, free: Mask) -> list[int]:
        worked, _ = self._ledger.ranked()
        if not len(worked) or (self._notes.prior is None and len(self._ledger.trials) < FIRST):
            return self._drawn(count, free)
        proposed: list[int] = []
        while len(proposed) < count and free.any():
            self._plan = [cell for cell in self._plan if free[cell]]
            if not self._plan:
                self._plan = self._planned(max(count - len(proposed), PLAN), free)
            taken = self._plan[: count - len(proposed)]
            self._plan = self._plan[len(taken) :]
            free[taken] = False
            proposed += taken
        return proposed

    def _planned(self, count: int, free: Mask) -> list[int]:
        """Descend, project, and take the cells of lowest optimistic loss; the costly part of an ask."""
        models = self._models()
        starts = self._starts()
        weights, losses = descend(self._space, models, starts)
        self._weights = weights[0]
        self._descents.append(Descent(len(self._ledger.trials), losses))
        both = np.concatenate([weights, starts])
        pool = np.unique(project(self._space, both, self._looked_at(free), NEAREST))
        expected = models[0][0].predict(pool)
        forecasts = [(weight, model.predict(pool)) for model, weight in models]
        mean = sum(weight * f.mean for weight, f in forecasts) - np.log(np.maximum(expected.feasible, LEAST))
        deviation = sum(weight * f.deviation for weight, f in forecasts)
        chosen: list[int] = []
        for doubt in islice(cycle(DOUBTS), min(count, len(pool))):
            merit = mean - doubt * deviation
            merit[chosen] = np.inf
            chosen.append(int(merit.argmin()))
        best_ns = self._ledger.ranked()[1][0]
        times_ns = best_ns * np.exp(expected.mean[chosen])
        self._expected_ns |= dict(zip(pool[chosen].tolist(), times_ns.tolist(), strict=True))
        return [int(cell) for cell in pool[chosen]]

    def _models(self) -> list[tuple[Surrogate, float]]:
        """Surrogates and their weights in the loss: of time, and of energy once two trials differ in joules."""
        models = [(self._notes.surrogate(), 1.0)]
        # A counter too coarse for a launch may say 0, which has no logarithm.
        metered = {cell: t.energy_j for cell, t in self._ledger.trials.items() if t.energy_j and 0 < t.energy_j < inf}
        if self._energy_weight and len(set(metered.values())) > 1:
            energy = Surrogate(self._space)
            energy.fit(np.array(list(metered), dtype=np.int64), np.array(list(metered.values())))
            models.append((energy, self._energy_weight))
        return models

    def _starts(self) -> Floats:
        elites = self._space.one_hot(self._space.rows[self._elites()[: STARTS // 2]])
        uniform = 1 / np.array(self._space.cardinalities)[self._space.gene_owners]
        random = self._rng.exponential(size=(STARTS - len(elites), len(uniform)))
        return normalised(self._space, np.concatenate([(1 - SOFTNESS) * elites + SOFTNESS * uniform, random]))

    def _looked_at(self, free: Mask) -> Cells:
        cells = np.flatnonzero(free)
        return cells if len(cells) <= PROJECTED else np.unique(self._rng.choice(cells, size=PROJECTED))

    def _own_state(self) -> OwnState:
        weights = () if self._weights is None else tuple(self._weights.tolist())
        return {"plan": tuple(map(float, self._plan)), "weights": weights}

    def _restore_own(self, own: OwnState) -> None:
        plan, weights = own.get("plan", ()), own.get("weights", ())
        fits = len(weights) in (0, len(self._space.gene_owners)) and all(
            cell.is_integer() and 0 <= cell < self._space.size for cell in plan
        )
        if set(own) != {"plan", "weights"} or not fits:
            raise DataError(f"state of {self.name} has parts that do not fit its space", "it is damaged; start anew")
        self._plan, self._weights = [int(cell) for cell in plan], np.array(weights) if weights else None


def loss(models: Sequence[tuple[Surrogate, float]], weights: Floats) -> tuple[Floats, Floats]:
    """Weighted sum of what surrogates expect of relaxed genomes (n, genes), shape (n,), and its gradient."""
    total, gradient = np.zeros(len(weights)), np.zeros(weights.shape)
    for model, weight in models:
        mean, slope = model.relaxed(weights)
        total, gradient = total + weight * mean, gradient + weight * slope
    return total, gradient


def descend(
    space: SearchSpace, models: Sequence[tuple[Surrogate, float]], weights: Floats
) -> tuple[Floats, tuple[float, ...]]:
    """Descend the loss by multiplicative updates (Kivinen & Warmuth 1997), which stay on the simplices.

    Returns:
        The weights (n, genes), lowest loss first, and the lowest loss before each step and at the end.
    """
    losses = []
    for step in range(STEPS):
        values, slopes = loss(models, weights)
        losses.append(float(values.min()))
        # What all values of a parameter have in common does not move its weights, and must not shorten the step.
        slopes = slopes - (sums(space, weights * slopes))[:, space.gene_owners]
        steepest = np.maximum(np.abs(slopes).max(axis=1, keepdims=True), LEAST)
        weights = normalised(space, weights * np.exp(-STEP * (1 - step / STEPS) * slopes / steepest))
    values, _ = loss(models, weights)
    return weights[np.argsort(values, kind="stable")], (*losses, float(values.min()))


def project(space: SearchSpace, weights: Floats, cells: Cells, count: int) -> Cells:
    """The ``count`` of the cells that are likeliest under each relaxed genome, likeliest first, shape (n, count)."""
    logs = np.log(weights)
    likelihood = np.zeros((len(weights), len(cells)))
    for column in (space.rows[cells] + space.gene_offsets).T:
        likelihood += logs[:, column]
    count = min(count, len(cells))
    top = np.argpartition(-likelihood, count - 1, axis=1)[:, :count]
    order = np.argsort(-np.take_along_axis(likelihood, top, axis=1), axis=1, kind="stable")
    return np.asarray(cells[np.take_along_axis(top, order, axis=1)])
