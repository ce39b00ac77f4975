"""A device in memory for the tests of the fleet: a known time for each genome, some that crash, and a switch."""

from __future__ import annotations

from collections.abc import Sequence

from quasim.space import Parameter, SearchSpace
from quasim.targets import DeviceFacts
from quasim.trial import Genome, Problem, Status, Timing, Trial

PROBLEM = Problem.of("table", n=64)
SPACE = SearchSpace(
    (Parameter("tile", (1, 2, 4, 8, 16)), Parameter("unroll", (1, 2, 3, 4)), Parameter("pack", (False, True))),
    default=Genome({"tile": 1, "unroll": 1, "pack": False}),
)


def true_ns(genome: Genome, changed: bool) -> float:
    """Time of a genome before and after the device changed: the best tile moves from 8 to 2."""
    best = 2 if changed else 8
    slow = abs(genome.integer("tile") - best) * 100.0 + abs(genome.integer("unroll") - 3) * 30.0
    return 1000.0 + slow + (0.0 if genome["pack"] else 50.0)


class TableDevice:
    """A ``Target`` with a table of times; tile 16 crashes. It changes at ``change_at``."""

    name = "table"
    device = DeviceFacts("table", "table")

    def __init__(self, change_at: int | None = None) -> None:
        self.change_at = change_at
        self.changed = False
        self.closed = False
        self.evaluated = 0

    def space(self, problem: Problem) -> SearchSpace:
        return SPACE

    def evaluate(self, problem: Problem, genomes: Sequence[Genome]) -> list[Trial]:
        self.evaluated += len(genomes)
        return [self._trial(problem, genome) for genome in genomes]

    def playoff(self, problem: Problem, genomes: Sequence[Genome], *, metered: bool = True) -> list[Trial]:
        return [self._trial(problem, genome) for genome in genomes]

    def start_cycle(self, cycle: int) -> None:
        self.changed = self.change_at is not None and cycle >= self.change_at

    def close(self) -> None:
        self.closed = True

    def _trial(self, problem: Problem, genome: Genome) -> Trial:
        if genome["tile"] == 16:
            return Trial(problem=problem, target=self.name, genome=genome, status=Status.CRASHED, detail="SIGSEGV")
        time_ns = true_ns(genome, self.changed)
        timing = Timing(time_ns, time_ns * 0.999, time_ns * 1.001, 9)
        return Trial(problem=problem, target=self.name, genome=genome, status=Status.OK, timing=timing)
