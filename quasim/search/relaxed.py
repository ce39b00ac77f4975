"""Relaxed genomes: weights on the product of simplices, one simplex a parameter."""

from __future__ import annotations

import numpy as np

from quasim.space import Floats, SearchSpace

LEAST = 1e-12
"""Least weight of a gene: its logarithm stays finite."""


def normalised(space: SearchSpace, weights: Floats) -> Floats:
    """Weights (n, genes) scaled so that those of each parameter have sum 1, none being 0."""
    weights = np.maximum(weights / sums(space, weights)[:, space.gene_owners], LEAST)
    return np.asarray(weights / sums(space, weights)[:, space.gene_owners])


def entropy(space: SearchSpace, weights: Floats) -> float:
    """Mean over parameters of entropy / log(values) of a relaxed genome; 0 where no parameter has a choice."""
    counts = np.array(space.cardinalities)
    surprise = -np.add.reduceat(weights * np.log(weights), space.gene_offsets)
    choices = counts > 1
    return float(np.mean(surprise[choices] / np.log(counts[choices]))) if choices.any() else 0.0


def sums(space: SearchSpace, values: Floats) -> Floats:
    """Sum over the genes of each parameter of values (n, genes), shape (n, parameters)."""
    return np.asarray(np.add.reduceat(values, space.gene_offsets, axis=1))
