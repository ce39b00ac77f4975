"""What a target offers: a space per problem, and trials for genomes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from quasim.space import SearchSpace
from quasim.trial import Genome, Problem, Trial


class DeviceFacts(msgspec.Struct, frozen=True):
    """The device behind a target.

    Attributes:
        name: as the vendor prints it, such as ``AMD EPYC``.
        family: the cohort within which results transfer, such as ``cpu-x86_64-avx2``.
        versions: (component, version) pairs that a cached result depends on, such as compiler and flags.
    """

    name: str
    family: str
    versions: tuple[tuple[str, str], ...] = ()


class Target(Protocol):
    """A device on which genomes are evaluated. Not shared between threads."""

    name: str

    @property
    def device(self) -> DeviceFacts:
        """What the trials were measured on."""
        ...

    def space(self, problem: Problem) -> SearchSpace:
        """The search space of a problem.

        Raises:
            UnknownNameError, ShapeError: the target cannot run this problem.
        """
        ...

    def evaluate(self, problem: Problem, genomes: Sequence[Genome]) -> list[Trial]:
        """One trial for each genome, in order. A failure of a genome is a trial's status, never an exception."""
        ...

    def playoff(self, problem: Problem, genomes: Sequence[Genome], *, metered: bool = True) -> list[Trial]:
        """Measure a few genomes again in interleaved windows, so that they can be compared fairly.

        Args:
            metered: read the energy, too, where the device has a meter; it takes seconds a genome.
        """
        ...

    def start_cycle(self, cycle: int) -> None:
        """Tell the target that a fleet cycle (from 0) begins; a replay may switch its recording."""
        ...

    def close(self) -> None:
        """End worker processes and give back what is held. Idempotent."""
        ...
