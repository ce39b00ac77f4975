"""What a node's loop is told, what it asks for, and the record of a cycle."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from actors.energy import Spent
from quasim.energy.loop import Regulated
from quasim.energy.racing import Reading
from quasim.trial import Genome, Problem, Trial
from storage.schemas import Stage


@dataclass(frozen=True, slots=True)
class CycleStarted:
    """The fleet's cycle (from 0) begins."""

    cycle: int


@dataclass(frozen=True, slots=True)
class Measured:
    """The trials that a ``Measure`` asked for, in its order."""

    trials: tuple[Trial, ...]


Event = CycleStarted | Measured


@dataclass(frozen=True, slots=True)
class Measure:
    """Measure these genomes and come back with ``Measured``.

    Attributes:
        playoff: in interleaved windows, so that they can be compared fairly.
    """

    problem: Problem
    genomes: tuple[Genome, ...]
    playoff: bool


@dataclass(frozen=True, slots=True)
class Meter:
    """Read the joules of these genomes and come back with ``Measured``; with none, where the device has no meter."""

    problem: Problem
    reading: Reading


class ProblemCycle(msgspec.Struct, frozen=True):
    """What a node did for one problem in one cycle.

    Attributes:
        metered: trials that were made for their joules alone.
        drifted: the re-measured elites said that the device had changed.
        best_ns: the fastest known time after the cycle; None while nothing worked.
        entropy: of what the strategy samples from, 1 uniform to 0 decided.
    """

    problem: Problem
    rechecked: tuple[Trial, ...]
    searched: tuple[Trial, ...]
    drifted: bool
    best: Genome | None
    best_ns: float | None
    entropy: float
    metered: tuple[Trial, ...] = ()


class CycleRecord(msgspec.Struct, frozen=True):
    """One node's cycle; the generation as it is kept in the folder of the run.

    Attributes:
        spent: what the node's device drew meanwhile.
        regulated: what regulation saw and did meanwhile.
    """

    node: str
    cycle: int
    policy_version: int
    problems: tuple[ProblemCycle, ...]
    spent: Spent = Spent()
    regulated: Regulated = Regulated(detail="nobody regulates")

    def stages(self) -> list[tuple[Stage, Trial]]:
        """Every trial of the cycle with its stage, in the order measured."""
        return [
            (stage, trial)
            for part in self.problems
            for stage, trials in (
                (Stage.PLAYOFF, part.rechecked),
                (Stage.SEARCH, part.searched),
                (Stage.PLAYOFF, part.metered),
            )
            for trial in trials
        ]


@dataclass(frozen=True, slots=True)
class Finish:
    """The cycle is done: make it durable and ship it."""

    record: CycleRecord


Instruction = Measure | Meter | Finish
