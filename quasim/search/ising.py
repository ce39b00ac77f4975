"""Ising: a pairwise model of the cost is drawn from its posterior, annealed, and searched around the best.

    ledger ──► costs (by rank) ──► PairwiseRidge ──► a draw of the QUBO for each proposal
       │                                                ├─► annealed from random states ─► valid ones nearby ─┐
       └─► elites of distinct niches ─► one step away ──┴─────────────────────────────────────────────────────┴─► lowest

Costs are logarithms of ranks, cut off where the worst half begins: the tail of slow configurations would drown the good
ones, and a failed one is as bad as any. Each proposal has a draw of its own. Annealing restarts the search where the
model, not the neighbourhood, says; local search keeps it from being stuck where effects of pairs cannot tell
configurations apart.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from quasim.search._base import Prior
from quasim.search.annealing import SEEDS, anneal
from quasim.search.evolution import rank_advantages
from quasim.search.ledger import Cells, Mask
from quasim.search.qubo import PairwiseRidge, Qubo
from quasim.search.recording import RecordingStrategy, niches
from quasim.search.relaxed import entropy, normalised
from quasim.search.trace import Anneal, IsingTrace, Trace, genes, listed
from quasim.space import Floats, SearchSpace

FIRST = 10
"""Random configurations before a model is asked, where the fleet tells nothing."""

READS = 4
"""States that are cooled together, each from a random start."""

ELITES = 6
"""Best configurations of distinct niches around which local search looks."""

LOCAL_SHARE = 0.5
"""Share of the proposals that come from local search."""

MEMORY = 384
"""Most trials that are fitted, the best and the latest ones: the time of a fit grows with the cube."""

GUIDES = 512
"""Cells of a prior to which its pairwise model is fitted: the fit grows with the cube."""

REMEMBERED = 256
"""Latest anneals of which the trace tells."""


class Ising(RecordingStrategy):
    """Thompson sampling of a QUBO, half of it by annealing and half by local search."""

    name = "ising"

    def __init__(self, space: SearchSpace, seed: int) -> None:
        super().__init__(space, seed)
        self._model = PairwiseRidge(space)
        self._believed: Prior | None = None
        self._anneals: deque[Anneal] = deque(maxlen=REMEMBERED)

    def entropy(self) -> float:
        """Mean normalised entropy of the values, weighed by exp(−cost) with the other parameters undecided."""
        if not self._ledger.trials:
            return 1.0
        self._fit()
        return entropy(self._space, _odds(self._space, self._model.mean()))

    def traces(self) -> dict[str, Trace]:
        """The fitted couplings and the anneals."""
        self._fit()
        fitted = self._model.mean()
        return {
            self.name: IsingTrace(
                space=self._space.digest,
                genes=genes(self._space),
                linear=tuple(fitted.linear.tolist()),
                coupling=listed(fitted.coupling),
                anneals=tuple(self._anneals),
            )
        }

    def _propose(self, count: int, free: Mask) -> list[int]:
        if self._notes.prior is None and len(self._ledger.trials) < FIRST:
            return self._drawn(count, free)
        self._fit()
        proposed: list[int] = []
        while len(proposed) < count and free.any():
            draw = self._model.draw(self._rng)
            pool = self._local(free) if self._rng.random() < LOCAL_SHARE else self._annealed(draw, free)
            if not len(pool):
                proposed += self._drawn(1, free)
                continue
            energies = draw.energies(self._space.one_hot(self._space.rows[pool]))
            proposed.append(int(pool[np.argmin(energies)]))
            free[proposed[-1]] = False
        return proposed

    def _annealed(self, draw: Qubo, free: Mask) -> Cells:
        """Where the draw is cooled to, and one step around: constraints and told cells are not in the QUBO."""
        rows, stages = anneal(self._space, draw, READS, int(self._rng.integers(SEEDS)))
        self._anneals.append(Anneal(len(self._ledger.trials), stages))
        return _free(np.append(self._space.cells(rows), self._space.neighbours(rows)), free)

    def _local(self, free: Mask) -> Cells:
        cells, _ = self._ledger.ranked()
        rows = self._space.rows[cells]
        return _free(self._space.neighbours(rows[niches(rows, ELITES)]).ravel(), free)

    def _fit(self) -> None:
        """Learn all that was told, and expect what the prior says; pure, so that it need not be saved."""
        if self._notes.prior is not self._believed:
            self._believed = self._notes.prior
            self._model.expect(_guide(self._space, self._believed) if self._believed else None)
        cells, times_ns = self._ledger.told()
        costs = -rank_advantages(times_ns)
        kept = np.arange(len(cells))
        if len(cells) > MEMORY:
            kept = np.union1d(np.argsort(costs, kind="stable")[: MEMORY // 2], kept[-MEMORY // 2 :])
        self._model.fit(cells[kept], costs[kept])


def _guide(space: SearchSpace, prior: Prior) -> Qubo | None:
    """The pairwise model of a prior's scores; None where they tell nothing."""
    known = np.flatnonzero(prior.weight > 0)
    cells = known[np.linspace(0, len(known) - 1, min(len(known), GUIDES)).astype(np.int64)] if len(known) else known
    costs = -prior.mean[cells]
    spread = float(costs.std()) if len(costs) else 0.0
    if spread == 0:
        return None
    model = PairwiseRidge(space)
    model.fit(cells, (costs - costs.mean()) / spread)
    return model.mean()


def _free(cells: Cells, free: Mask) -> Cells:
    """The distinct free ones of some cells, −1 being none."""
    cells = np.unique(cells)
    cells = cells[cells >= 0]
    return cells[free[cells]]


def _odds(space: SearchSpace, costs: Qubo) -> Floats:
    """Weight exp(−cost) of each gene with the other parameters undecided, those of a parameter of sum 1."""
    field = costs.linear + costs.coupling @ (1 / np.array(space.cardinalities)[space.gene_owners])
    return np.asarray(normalised(space, np.exp(-field)[None])[0])
