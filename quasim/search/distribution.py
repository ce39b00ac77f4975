"""Per-parameter categorical distributions, improved by the clipped policy gradient of PPO (Schulman et al. 2017).

A genome is an action, drawn from the product of the categoricals; its advantage comes from the rank of its time. Each
parameter is a policy of its own, so that the ratio π_new/π_old is clipped parameter by parameter. Genomes that came
from crossover or local search are not draws of π; the ratio is then taken to the distributions as they stood before the
update, which bounds how far one update moves whatever it learns from.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from quasim.space import Floats, Rows, SearchSpace

CLIP = 0.2
"""ε of the clipped ratio, as published."""

EPOCHS = 4
"""Gradient steps per update."""

ENTROPY_BONUS = 0.05
"""Weight of the entropy in the objective: keeps a parameter that does not matter undecided."""

FLOOR = 0.02
"""Share of the uniform distribution in what is sampled: no value ever becomes unreachable."""

PRIOR_SHARPNESS = 8.0
"""A value whose configurations score 1/8 better becomes e times as likely."""


class Distributions:
    """One categorical per parameter of a space; uniform at first.

    Attributes:
        logits: one per (parameter, value), in the order of the one-hot columns.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._owners = space.gene_owners
        self._counts = np.array(space.cardinalities)
        self._starts = space.gene_offsets
        self.logits: Floats = np.zeros(len(self._owners))

    def probabilities(self) -> Floats:
        """π of each (parameter, value), without the floor."""
        peaks = np.maximum.reduceat(self.logits, self._starts)
        weights = np.exp(self.logits - peaks[self._owners])
        return np.asarray(weights / self._per_parameter(weights)[self._owners])

    def sampled(self) -> Floats:
        """What is sampled from: π with the floor."""
        return np.asarray((1 - FLOOR) * self.probabilities() + FLOOR / self._counts[self._owners])

    def log_likelihood(self, rows: Rows) -> Floats:
        """Log probability of each row (n, parameters), constraints aside."""
        return np.asarray(np.log(self.sampled())[rows + self._starts].sum(axis=1))

    def draw(self, rng: np.random.Generator, count: int) -> Rows:
        """Rows (count, parameters) drawn from the product; constraints are the caller's concern."""
        parts = np.split(self.sampled(), self._starts[1:])
        return np.stack([rng.choice(len(p), size=count, p=p / p.sum()) for p in parts], axis=1).astype(np.int32)

    def improve(self, rows: Rows, advantages: Floats, rate: float) -> None:
        """One PPO update: ``EPOCHS`` ascents of mean min(r·A, clip(r)·A) + bonus·entropy.

        Args:
            rows: value indices, shape (n, parameters).
            advantages: of each row, mean 0 and deviation 1 or so.
            rate: length of a step.
        """
        genes = rows + self._starts
        old = np.maximum(self.probabilities(), np.finfo(float).tiny)[genes]
        for _ in range(EPOCHS):
            now = self.probabilities()
            self.logits = self.logits + rate * self._counts[self._owners] * (
                self._surrogate_gradient(now, genes, now[genes] / old, advantages[:, None])
                + ENTROPY_BONUS * self._entropy_gradient(now)
            )

    def _surrogate_gradient(self, now: Floats, genes: npt.NDArray[np.int64], ratio: Floats, gain: Floats) -> Floats:
        # Where clipping is active the objective is flat; elsewhere d(r·A)/dθ_v = r·A·([x = v] − π_v).
        active = np.where(gain > 0, ratio < 1 + CLIP, ratio > 1 - CLIP)
        pulls = np.where(active, ratio * gain / len(genes), 0.0)
        pull = np.asarray(np.bincount(genes.ravel(), pulls.ravel(), minlength=len(now)), dtype=np.float64)
        return np.asarray(pull - now * self._per_parameter(pull)[self._owners])

    def _entropy_gradient(self, now: Floats) -> Floats:
        surprise = np.log(np.maximum(now, np.finfo(float).tiny))
        return np.asarray(-now * (surprise - self._per_parameter(now * surprise)[self._owners]))

    def steer(self, space: SearchSpace, mean: Floats, weight: Floats, trust: float) -> None:
        """Move the share ``trust`` of the way to what a prior says about each value.

        A value's logit is the log of the weighted mean of exp(sharpness · score) over its configurations, with one
        unit of weight at the overall mean, so that a value nobody knows is as good as any.

        Args:
            mean, weight: score and weight of each cell, shape (size,).
            trust: 0 changes nothing, 1 forgets what was learned here.
        """
        known = np.flatnonzero(weight > 0)
        if not len(known):
            return
        genes = (space.rows[known] + self._starts).ravel()
        repeated = np.repeat(weight[known], len(self._counts))
        merit = np.exp(PRIOR_SHARPNESS * mean[known])
        overall = float(merit @ weight[known] / weight[known].sum())
        total = np.bincount(genes, repeated * np.repeat(merit, len(self._counts)), minlength=len(self.logits))
        told = np.log((total + overall) / (np.bincount(genes, repeated, minlength=len(self.logits)) + 1))
        self.logits = (1 - trust) * self.logits + trust * (told - np.log(overall))

    def soften(self, keep: float) -> None:
        """Raise every distribution to the power ``keep`` (0: uniform again)."""
        self.logits = self.logits * keep

    def entropy(self) -> float:
        """Mean over parameters of entropy / log(values), of what is sampled; 0 where no parameter has a choice."""
        free = self._counts > 1
        if not free.any():
            return 0.0
        p = self.sampled()
        return float(np.mean(-self._per_parameter(p * np.log(p))[free] / np.log(self._counts[free])))

    def _per_parameter(self, genes: Floats) -> Floats:
        return np.asarray(np.add.reduceat(genes, self._starts))
