"""Pairwise models of a space: the ridge fit of main and pairwise effects, and the QUBO that it is.

A configuration is a vector x of one-hot genes, and its cost is modelled as

    E(x) = offset + Σ_g linear_g x_g + Σ_{g<h} coupling_gh x_g x_h

with couplings between genes of different parameters alone: a quadratic unconstrained binary problem once "one value a
parameter" is a penalty. The effects are ridge-fitted, where neighbouring values of an ordinal parameter are expected
to act alike. That is the posterior mean under a Gaussian prior of the effects; draws of the posterior are QUBOs, too,
and to minimise a draw is Thompson sampling (Baptista & Poloczek 2018, BOCS). A prior's word enters as one more
feature whose slope is learned: a fleet that is wrong about this device is soon disbelieved.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quasim.search.ledger import Cells
from quasim.space import Floats, Kind, SearchSpace

MAIN_SHARE = 0.5
"""Share of the expected variance of the costs that is main effects; the rest is effects of pairs."""

NEARNESS = 0.6
"""Expected correlation of the effects of two neighbouring values of an ordinal parameter."""

NOISE = 0.1
"""Variance of a cost that effects of pairs cannot explain, in units of the variance of the costs."""


@dataclass(frozen=True, slots=True)
class Qubo:
    """Costs over one-hot genes.

    Attributes:
        offset: cost of the vector without any gene, which no configuration is.
        linear: cost of each gene, shape (genes,).
        coupling: cost of each pair of genes, shape (genes, genes), symmetric, its diagonal 0.
    """

    offset: float
    linear: Floats
    coupling: Floats

    def energies(self, hot: Floats) -> Floats:
        """E of each vector of genes (n, genes), shape (n,)."""
        return np.asarray(self.offset + hot @ self.linear + 0.5 * ((hot @ self.coupling) * hot).sum(axis=1))

    def part(self, genes: Cells) -> Qubo:
        """The costs of some of the genes, the others being absent."""
        return Qubo(self.offset, self.linear[genes], self.coupling[np.ix_(genes, genes)])

    def constrained(self, owners: Cells) -> Qubo:
        """The same with A·(Σ x − 1)² added for each parameter, so that in its minima each has exactly one value.

        A is the most that a gene can gain by breaking the rule; the energies of configurations are unchanged.

        Args:
            owners: parameter of each gene, shape (genes,), ascending without gaps from 0.
        """
        starts = np.flatnonzero(np.diff(owners, prepend=-1))
        least = self.linear + np.minimum.reduceat(self.coupling, starts, axis=1).sum(axis=1)
        most = self.linear + np.maximum.reduceat(self.coupling, starts, axis=1).sum(axis=1)
        strength = np.maximum.reduceat(np.maximum(np.abs(least), np.abs(most)), starts)
        siblings = (owners[:, None] == owners) & ~np.eye(len(owners), dtype=bool)
        coupling = self.coupling + np.where(siblings, 2 * strength[owners], 0.0)
        return Qubo(self.offset + float(strength.sum()), self.linear - strength[owners], coupling)


class PairwiseRidge:
    """Main and pairwise effects of one space.

    Fitted in the dual, so that the time of a fit grows with the trials and not with the pairs of genes. Configurations
    alike by k_p in parameter p have costs of covariance main · Σ_p k_p + pairwise · Σ_{p<q} k_p k_q.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self._likeness = _likeness(space)
        self._root = _root(self._likeness)
        self._pairs = space.gene_owners[:, None] != space.gene_owners
        choices = sum(count > 1 for count in space.cardinalities)
        self._main = MAIN_SHARE / max(choices, 1)
        self._pairwise = (1 - MAIN_SHARE) / max(choices * (choices - 1) / 2, 1)
        self._guide = self._nothing()
        self._hot: Floats = np.zeros((0, len(space.gene_owners)))
        self._guided: Floats = np.zeros(0)
        self._residual: Floats = np.zeros(0)
        self._whitening: Floats = np.zeros((0, 0))

    def expect(self, guide: Qubo | None) -> None:
        """Believe that costs are these, up to a slope that is 1 give or take 1; None: expect nothing.

        What was fitted is forgotten.
        """
        self._guide = self._nothing() if guide is None else guide
        self.fit(np.zeros(0, dtype=np.int64), np.zeros(0))

    def fit(self, cells: Cells, costs: Floats) -> None:
        """Learn the costs of distinct cells, shape (n,), of mean 0 and deviation 1; replaces what was fitted."""
        self._hot = self._space.one_hot(self._space.rows[cells])
        self._guided = self._guide.energies(self._hot)
        self._residual = costs - self._guided
        kernel = self._covariance(self._hot) + np.outer(self._guided, self._guided)
        self._whitening = np.linalg.inv(np.linalg.cholesky(kernel + NOISE * np.eye(len(cells))))

    def mean(self) -> Qubo:
        """The fitted effects."""
        return self._corrected(self._nothing(), 0.0, self._residual)

    def draw(self, rng: np.random.Generator) -> Qubo:
        """Effects drawn from the posterior: a draw of the prior, corrected by what it gets wrong (Matheron's rule)."""
        genes = len(self._likeness)
        loose = np.triu(rng.standard_normal((genes, genes)), 1)
        coupling = np.sqrt(self._pairwise) * self._root @ (loose + loose.T) @ self._root.T
        linear = np.sqrt(self._main) * self._root @ rng.standard_normal(genes)
        drawn, slope = Qubo(0.0, linear, np.where(self._pairs, coupling, 0.0)), float(rng.standard_normal())
        noise = np.sqrt(NOISE) * rng.standard_normal(len(self._hot))
        return self._corrected(drawn, slope, self._residual - drawn.energies(self._hot) - slope * self._guided - noise)

    def _corrected(self, drawn: Qubo, slope: float, missing: Floats) -> Qubo:
        """``drawn`` plus (1 + slope) guides, plus the likeliest effects that explain what is then missing."""
        weights = self._whitening.T @ (self._whitening @ missing)
        alike = self._hot @ self._likeness
        coupling = self._pairwise * (alike * weights[:, None]).T @ alike
        slope += 1 + float(self._guided @ weights)
        return Qubo(
            drawn.offset + slope * self._guide.offset,
            drawn.linear + self._main * weights @ alike + slope * self._guide.linear,
            drawn.coupling + np.where(self._pairs, coupling, 0.0) + slope * self._guide.coupling,
        )

    def _covariance(self, hot: Floats) -> Floats:
        alike = np.zeros((2, len(hot), len(hot)))
        for a, values in zip(self._space.gene_offsets, self._space.cardinalities, strict=True):
            part = slice(a, a + values)
            own = hot[:, part] @ self._likeness[part, part] @ hot[:, part].T
            alike += np.stack([own, own * own])
        return np.asarray(self._main * alike[0] + self._pairwise * (alike[0] ** 2 - alike[1]) / 2)

    def _nothing(self) -> Qubo:
        return Qubo(0.0, np.zeros(len(self._likeness)), np.zeros(self._likeness.shape))


def _likeness(space: SearchSpace) -> Floats:
    """Expected correlation of the effects of genes, shape (genes, genes); 0 where a parameter has no choice."""
    owners = space.gene_owners
    steps = np.abs(space.gene_values[:, None] - space.gene_values)
    ordinal = np.array([p.kind is Kind.ORDINAL for p in space.parameters])[owners]
    chosen = np.array(space.cardinalities)[owners] > 1
    related = (owners[:, None] == owners) & chosen & (ordinal | (steps == 0))
    return np.where(related, NEARNESS ** steps.astype(np.float64), 0.0)


def _root(likeness: Floats) -> Floats:
    """R with R Rᵀ = likeness, whose rows of 0 Cholesky's algorithm alone would refuse."""
    missing = np.diag(1 - np.diag(likeness))
    return np.asarray(np.linalg.cholesky(likeness + missing) - missing)
