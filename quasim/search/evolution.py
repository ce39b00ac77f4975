"""Evolution: elites breed, distributions learn, a surrogate chooses among the offspring.

    ledger ──► parents: elites of distinct niches, and the best holder of each value (so that no basin dies out)
       │          ├─► neighbours: one step from a parent (local search)       ┐
       │          ├─► children: crossover of two parents, and mutation        ├─► surrogate ─► next generation
       ├─► distributions (PPO) ─► samples ────────────────────────────────────┘
       └─► surrogate: expected improvement

Parents are chosen and distributions learn by rank alone, so that neither units nor outliers matter; a failed genome
ranks last and is never a parent.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from quasim.errors import DataError
from quasim.search._base import Prior
from quasim.search.distribution import Distributions
from quasim.search.first import FIRST, first_cells
from quasim.search.improvement import improvement
from quasim.search.ledger import Cells, Mask
from quasim.search.recording import REASKED, RecordingStrategy, niches
from quasim.search.saved import OwnState
from quasim.space import Floats, SearchSpace
from quasim.trial import Trial

POPULATION = 20
"""Most parents; on 14 recorded spaces 15 to 30 did equally well."""

POOL = 20
"""Samples and children drawn for each that the surrogate may choose."""

SAMPLED_CELLS = 1 << 15
"""Most free cells that one draw of samples looks at; of more, a random part."""

PPO_MEMORY = 64
"""Latest trials that an update of the distributions learns from."""

PPO_RATE = 0.0125
"""Step per new trial, so that it matters little whether trials are told singly or by generations."""

PPO_MAX_TRIALS = 40
"""New trials that count in one update; the clipped objective alone would not bound a longer step."""

GREED = 4.0
"""Power of the expected improvement in the odds of the choice among offspring."""

RANK_PENALTY = 0.5
"""How fast the neighbourhoods of lesser parents fall behind, per log rank."""

SOFTENING = 0.5
"""What ``forget`` leaves of the distributions' decisions, as a power."""


class Evolution(RecordingStrategy):
    """Population search over value-index rows; everything it does is vectorised over cells of the space."""

    name = "evolution"

    def __init__(self, space: SearchSpace, seed: int) -> None:
        super().__init__(space, seed)
        self._distributions = Distributions(space)

    def learned(self, trials: Sequence[Trial]) -> None:
        """Distributions follow the latest trials."""
        cells, times_ns = self._ledger.told()
        latest = slice(-PPO_MEMORY, None)
        rate = PPO_RATE * min(len(trials), PPO_MAX_TRIALS)
        self._distributions.improve(self._space.rows[cells[latest]], rank_advantages(times_ns)[latest], rate)

    def adopted(self, prior: Prior) -> None:
        """Distributions lean on the prior the more, the fewer trials there are."""
        trust = POPULATION / (POPULATION + len(self._ledger.trials))
        self._distributions.steer(self._space, prior.mean, prior.weight, trust)

    def forgot(self) -> None:
        """Distributions keep half of what they had decided."""
        self._distributions.soften(SOFTENING)

    def entropy(self) -> float:
        """Mean normalised entropy of the distributions: 1 uniform, 0 decided."""
        return self._distributions.entropy()

    def _parents(self) -> Cells:
        """Elites and the best holder of each value, fastest first."""
        cells, _ = self._ledger.ranked()
        rows = self._space.rows[cells]
        _, champions = np.unique(rows + self._space.gene_offsets, return_index=True)
        chosen = np.union1d(champions // rows.shape[1], niches(rows, REASKED)).astype(np.int64)
        return cells[chosen[:POPULATION]]

    def _propose(self, count: int, free: Mask) -> list[int]:
        proposed: list[int] = []
        parents = self._parents()
        missing = min(count, self._first_missing())
        if missing > 0:
            tried = np.array([*self._ledger.trials, *self._ledger.pending], dtype=np.int64)
            encoding = self._notes.surrogate().encoding
            proposed = first_cells(self._space, encoding, tried, missing, free, self._rng)
            free[proposed] = False
        if len(proposed) == count:
            return proposed
        neighbours, children, samples = self._rng.multinomial(count - len(proposed), (1 / 3, 1 / 3, 1 / 3))
        if not len(parents):
            neighbours, children, samples = 0, 0, count - len(proposed)
        if neighbours:
            self._take(self._choose(*self._neighbours(parents), int(neighbours), free), free, proposed)
        if children:
            pool = self._children(parents, int(children) * POOL)
            self._take(self._choose(pool, np.zeros(len(pool)), int(children), free), free, proposed)
        # Samples also stand in where parents had too few offspring that are valid and new.
        if samples or len(proposed) < count:
            samples = count - len(proposed)
            pool = self._samples(samples * POOL, free)
            self._take(self._choose(pool, np.zeros(len(pool)), samples, free), free, proposed)
        if len(proposed) < count:
            self._take(np.flatnonzero(free)[: count - len(proposed)], free, proposed)
        return proposed

    def _first_missing(self) -> int:
        """Trials still missing of a spread start; none where a prior tells what is worth a try."""
        return FIRST - len(self._ledger.trials) - len(self._ledger.pending) if self._notes.prior is None else 0

    @staticmethod
    def _take(cells: Cells, free: Mask, proposed: list[int]) -> None:
        free[cells] = False
        proposed += [int(cell) for cell in cells]

    def _choose(self, cells: Cells, bonus: Floats, count: int, free: Mask) -> Cells:
        """Up to ``count`` distinct free cells, drawn with odds improvement ^ greed · exp(bonus).

        The draw is without replacement, by Gumbel noise and the largest sums. Of a cell that stands twice, the
        first bonus counts; −1 is no cell.
        """
        _, first = np.unique(cells, return_index=True)
        usable = first[(cells[first] >= 0) & free[cells[first]]]
        cells = cells[usable]
        if not count or not len(cells):
            return cells[:0]
        expected = np.log(improvement(self._notes.surrogate().predict(cells)))
        merit = GREED * expected + bonus[usable] + self._rng.gumbel(size=len(cells))
        return cells[np.argsort(-merit, kind="stable")[:count]]

    def _neighbours(self, parents: Cells) -> tuple[Cells, Floats]:
        found = self._space.neighbours(self._space.rows[parents])
        penalty = -RANK_PENALTY * np.log1p(np.arange(len(parents)))
        return found.ravel(), np.repeat(penalty, found.shape[1])

    def _children(self, parents: Cells, count: int) -> Cells:
        """Uniform crossover of two parents, better ones oftener; about one gene mutates, drawn as the samples are.

        Returns:
            Shape (count,); −1 where the child breaks a constraint.
        """
        odds = 1 / (1 + np.arange(len(parents)))
        pairs = self._rng.choice(parents, size=(2, count), p=odds / odds.sum())
        mother, father = self._space.rows[pairs]
        child = np.where(self._rng.random(mother.shape) < 0.5, mother, father)
        mutant = self._rng.random(child.shape) < 1 / child.shape[1]
        return self._space.cells(np.where(mutant, self._distributions.draw(self._rng, count), child))

    def _samples(self, count: int, free: Mask) -> Cells:
        """Distinct free cells, drawn from the distributions given the constraints (Gumbel noise, largest sums)."""
        cells = np.flatnonzero(free)
        if len(cells) > SAMPLED_CELLS:
            cells = np.unique(self._rng.choice(cells, size=SAMPLED_CELLS))
        merit = self._distributions.log_likelihood(self._space.rows[cells]) + self._rng.gumbel(size=len(cells))
        count = min(count, len(cells))
        if not count:
            return cells[:0]
        top = np.argpartition(-merit, count - 1)[:count]
        return cells[top[np.argsort(-merit[top], kind="stable")]]

    def _own_state(self) -> OwnState:
        return {"logits": tuple(self._distributions.logits.tolist())}

    def _restore_own(self, own: OwnState) -> None:
        if set(own) != {"logits"} or len(own["logits"]) != len(self._distributions.logits):
            raise DataError(f"state of {self.name} has parts that do not fit its space", "it is damaged; start anew")
        self._distributions.logits = np.array(own["logits"])


def rank_advantages(times_ns: Floats) -> Floats:
    """Advantages by rank, mean 0 and deviation 1 (0 where all are alike), shape (n,).

    log((n + 1)/2) − log(rank), as CMA-ES weighs its population (Hansen 2016, eq. 49), cut off at −2 so that the best
    few stand out and the worst half hardly differ. Infinite times share the last rank.
    """
    count = len(times_ns)
    ranks = np.empty(count)
    ranks[np.argsort(times_ns, kind="stable")] = np.arange(1, count + 1)
    ranks[np.isinf(times_ns)] = count
    weights = np.maximum(np.log((count + 1) / 2) - np.log(ranks), -2.0)
    spread = weights.std() if count else 0.0
    return np.asarray((weights - weights.mean()) / spread) if spread > 0 else np.zeros(count)
