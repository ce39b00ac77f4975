"""Evolution: elites breed, distributions learn, a critic chooses among the offspring.

    ledger ──► parents: elites of distinct niches, and the best holder of each value (so that no basin dies out)
       │          ├─► neighbours: one step from a parent (local search)       ┐
       │          ├─► children: crossover of two parents, and mutation        ├─► critic ─► next generation
       ├─► distributions (PPO) ─► samples ────────────────────────────────────┘
       └─► critic (Gaussian process on ranks)

Times enter by rank alone, so that neither units nor outliers matter; a failed genome ranks last and is never a parent.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from quasim.errors import DataError
from quasim.search._base import Prior
from quasim.search.critic import Critic
from quasim.search.distribution import Distributions
from quasim.search.ledger import Cells, Mask
from quasim.search.recording import REASKED, OwnState, RecordingStrategy
from quasim.space import Floats, Rows, SearchSpace
from quasim.trial import Trial

POPULATION = 20
"""Most parents, and size of the first, random generation; on 14 recorded spaces 15 to 30 did equally well."""

POOL = 20
"""Samples and children drawn for each that the critic may choose."""

SAMPLED_CELLS = 1 << 15
"""Most free cells that one draw of samples looks at; of more, a random part."""

PPO_MEMORY = 64
"""Latest trials that an update of the distributions learns from."""

PPO_RATE = 0.0125
"""Step per new trial, so that it matters little whether trials are told singly or by generations."""

PPO_MAX_TRIALS = 40
"""New trials that count in one update; the clipped objective alone would not bound a longer step."""

GREED = 5.0
"""Inverse temperature of the choice among offspring, per unit of expected advantage."""

DOUBT = 2.0
"""Deviations added to the expected advantage (an upper confidence bound, Srinivas et al. 2010) …"""

PATIENCE = 30
"""… and again as much for each so many trials without a new best: who is stuck looks further."""

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
        self._critic = Critic(space)
        self._prior: tuple[Floats, Floats] | None = None

    def tell(self, trials: Sequence[Trial]) -> None:
        """Learn from trials, failed ones included. A genome told again replaces what was known of it.

        Raises:
            SpaceError: a genome is not of this space; nothing is learned then.
        """
        super().tell(trials)
        if not trials:
            return
        cells, times_ns = self._ledger.told()
        advantages = rank_advantages(times_ns)
        latest = slice(-PPO_MEMORY, None)
        rate = PPO_RATE * min(len(trials), PPO_MAX_TRIALS)
        self._distributions.improve(self._space.rows[cells[latest]], advantages[latest], rate)
        self._critic.fit(cells, advantages)

    def adopt(self, prior: Prior) -> None:
        """Ask the candidates first, and lean on the prior the more, the fewer trials there are.

        Raises:
            SpaceError: the prior is of a space of another size.
        """
        super().adopt(prior)
        trust = POPULATION / (POPULATION + len(self._ledger.trials))
        self._distributions.steer(self._space, prior.mean, prior.weight, trust)
        self._set_prior((prior.mean, prior.weight) if (prior.weight > 0).any() else None)
        self._refit()

    def forget(self) -> None:
        """The device changed: drop all times and the prior, ask the elites of before again, soften the rest."""
        super().forget()
        self._distributions.soften(SOFTENING)
        self._set_prior(None)
        self._refit()

    def entropy(self) -> float:
        """Mean normalised entropy of the distributions: 1 uniform, 0 decided."""
        return self._distributions.entropy()

    def restore(self, state: bytes) -> None:
        """Continue from ``state``.

        Raises:
            DataError: not a state of this strategy and space; nothing is changed then.
        """
        super().restore(state)
        self._refit()

    def _set_prior(self, prior: tuple[Floats, Floats] | None) -> None:
        self._prior = prior
        self._critic = Critic(self._space)
        if prior is not None:
            self._critic.expect(*prior)

    def _refit(self) -> None:
        cells, times_ns = self._ledger.told()
        self._critic.fit(cells, rank_advantages(times_ns))

    def _elites(self) -> Cells:
        cells, _ = self._ledger.ranked()
        return cells[niches(self._space.rows[cells], REASKED)]

    def _parents(self) -> Cells:
        """Elites and the best holder of each value, fastest first."""
        cells, _ = self._ledger.ranked()
        rows = self._space.rows[cells]
        _, champions = np.unique(rows + self._space.gene_offsets, return_index=True)
        chosen = np.union1d(champions // rows.shape[1], niches(rows, REASKED)).astype(np.int64)
        return cells[chosen[:POPULATION]]

    def _propose(self, count: int, free: Mask) -> list[int]:
        proposed: list[int] = []
        known = len(self._ledger.trials) + len(self._ledger.pending)
        parents = self._parents()
        random = min(count, max(0, self._first_generation() - known)) if len(parents) else count
        if random:
            self._take(self._samples(random, free), free, proposed)
        if random == count:
            return proposed
        neighbours, children, samples = self._rng.multinomial(count - len(proposed), (1 / 3, 1 / 3, 1 / 3))
        if neighbours:
            self._take(self._choose(*self._neighbours(parents), int(neighbours), free), free, proposed)
        if children:
            pool = self._children(parents, int(children) * POOL)
            self._take(self._choose(pool, np.zeros(len(pool)), int(children), free), free, proposed)
        # Samples also stand in where parents had too few offspring that are valid and new.
        if samples or len(proposed) < count:
            missing = count - len(proposed)
            pool = self._samples(missing * POOL, free)
            self._take(self._choose(pool, np.zeros(len(pool)), missing, free), free, proposed)
        if len(proposed) < count:
            self._take(np.flatnonzero(free)[: count - len(proposed)], free, proposed)
        return proposed

    def _first_generation(self) -> int:
        """Trials of a random start; none where a prior tells what is worth a try."""
        return POPULATION if self._prior is None else 0

    @staticmethod
    def _take(cells: Cells, free: Mask, proposed: list[int]) -> None:
        free[cells] = False
        proposed += [int(cell) for cell in cells]

    def _choose(self, cells: Cells, bonus: Floats, count: int, free: Mask) -> Cells:
        """Up to ``count`` distinct free cells, drawn with odds exp(greed · upper bound + bonus).

        The draw is without replacement, by Gumbel noise and the largest sums. Of a cell that stands twice, the
        first bonus counts; −1 is no cell.
        """
        _, first = np.unique(cells, return_index=True)
        usable = first[(cells[first] >= 0) & free[cells[first]]]
        cells = cells[usable]
        expected, deviation = self._critic.judge(cells)
        merit = GREED * (expected + self._doubt() * deviation) + bonus[usable] + self._rng.gumbel(size=len(cells))
        return cells[np.argsort(-merit, kind="stable")[:count]]

    def _doubt(self) -> float:
        _, times_ns = self._ledger.told()
        return DOUBT * (1 + (len(times_ns) - 1 - int(np.argmin(times_ns))) / PATIENCE) if len(times_ns) else DOUBT

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
        own = {"logits": tuple(self._distributions.logits.tolist())}
        if self._prior is not None:
            own["prior_mean"], own["prior_weight"] = (tuple(array.tolist()) for array in self._prior)
        return own

    def _restore_own(self, own: OwnState) -> None:
        sizes = {"logits": len(self._distributions.logits)}
        if len(own) > 1:
            sizes |= {"prior_mean": self._space.size, "prior_weight": self._space.size}
        if {name: len(values) for name, values in own.items()} != sizes:
            raise DataError(f"state of {self.name} has parts that do not fit its space", "it is damaged; start anew")
        self._distributions.logits = np.array(own["logits"])
        self._set_prior((np.array(own["prior_mean"]), np.array(own["prior_weight"])) if len(own) > 1 else None)


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


def niches(rows: Rows, count: int) -> Cells:
    """Positions of up to ``count`` of the rows, first ones preferred, that differ pairwise in two or more values."""
    chosen: list[int] = []
    left = np.arange(len(rows))
    while len(left) and len(chosen) < count:
        chosen.append(int(left[0]))
        left = left[(rows[left] != rows[left[0]]).sum(axis=1) > 1]
    return np.array(chosen, dtype=np.int64)
