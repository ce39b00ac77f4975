"""How a search came to its answer, as documents that can be kept beside it."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import msgspec

from quasim.search.annealing import Stage
from quasim.space import Floats, SearchSpace
from quasim.trial import Genome, Status, Value


class Anneal(msgspec.Struct, frozen=True):
    """One anneal: how many trials were known, the lowest energy of its draw found, and how it cooled."""

    trials: int
    stages: tuple[Stage, ...]


class IsingTrace(msgspec.Struct, frozen=True, tag="ising"):
    """What `ising` has learned of a space.

    The cost of a configuration is the sum of ``linear`` over its genes and of ``coupling`` over its pairs of genes; the
    trials' costs have mean 0 and deviation 1.

    Attributes:
        space: digest of the search space.
        genes: (parameter, value) of each gene.
        coupling: symmetric, one row a gene.
        anneals: latest ones, oldest first; those of this process.
    """

    space: str
    genes: tuple[tuple[str, Value], ...]
    linear: tuple[float, ...]
    coupling: tuple[tuple[float, ...], ...]
    anneals: tuple[Anneal, ...]


class Descent(msgspec.Struct, frozen=True):
    """One descent of relaxed genomes: how many trials were known, and the lowest loss before each step and at the end.

    The loss is the predicted log of the time in units of the best known, and λ times the same of the joules.
    """

    trials: int
    losses: tuple[float, ...]


class Evaluation(msgspec.Struct, frozen=True):
    """What was expected of a genome and what was measured.

    Attributes:
        expected_ns: None where it was not chosen by prediction (a random start, a candidate of the fleet).
        time_ns: None where it failed.
    """

    genome: Genome
    expected_ns: float | None
    status: Status
    time_ns: float | None


class GradientTrace(msgspec.Struct, frozen=True, tag="gradient"):
    """The schedule that `gradient` found, and how.

    Attributes:
        space: digest of the search space.
        schedule: the fastest genome known; None where nothing worked.
        genes: (parameter, value) of each gene.
        weights: the relaxed genome of the last descent, one weight a gene, those of a parameter of sum 1.
        energy_weight: λ of the loss.
        descents: latest ones, oldest first; those of this process.
        evaluations: every genome told, in the order first told.
    """

    space: str
    schedule: Genome | None
    genes: tuple[tuple[str, Value], ...]
    weights: tuple[float, ...]
    energy_weight: float
    descents: tuple[Descent, ...]
    evaluations: tuple[Evaluation, ...]


Trace = IsingTrace | GradientTrace


@runtime_checkable
class Traced(Protocol):
    """A strategy that keeps account of how it searches."""

    def traces(self) -> dict[str, Trace]:
        """A document for each strategy that took part, by its name."""
        ...


def genes(space: SearchSpace) -> tuple[tuple[str, Value], ...]:
    """(parameter, value) of each one-hot column of a space."""
    return tuple((parameter.name, value) for parameter in space.parameters for value in parameter.values)


def listed(matrix: Floats) -> tuple[tuple[float, ...], ...]:
    """A matrix as rows of plain numbers."""
    return tuple(tuple(row) for row in matrix.tolist())
