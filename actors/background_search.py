"""The idle search of one problem: its strategy, how far it is, and its best in the cache of tuned results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from actors.background import Progress
from actors.drive import drive
from actors.node_events import ProblemCycle
from actors.node_loop import NodeLoop, Plan
from quasim.errors import DataError
from quasim.measure import fastest
from quasim.search import strategy
from quasim.targets import Target
from quasim.trial import Genome, Problem, Trial
from quasim.tuned import Conditions, Effort, Tuned, TunedCache

FINALISTS = 3
"""Of a search, measured again in interleaved windows when it has found something better."""

ELITES = 5
"""Of a search, measured again when a node retrains."""

Measured = Callable[[Problem], None]
"""Told the problem after each measurement."""


class SavedSearch(msgspec.Struct, frozen=True):
    """A search between two turns.

    Attributes:
        conditions: under which its times were measured; they hold under no others.
        strategy: name of the strategy whose state is in ``loop``.
    """

    conditions: Conditions
    strategy: str
    progress: Progress
    loop: str


@dataclass(frozen=True, slots=True)
class Aim:
    """What is searched, and by whom.

    Attributes:
        launches: of the kernel a day.
    """

    problem: Problem
    launches: float
    strategy: str
    seed: int


class BackgroundSearch:
    """One problem on an opened target.

    Args:
        saved: where it stopped; None: it begins.

    Raises:
        DataError: what was saved cannot be read by this version of the strategy.
        UnknownNameError, ShapeError: the target cannot run this problem.
    """

    def __init__(self, aim: Aim, target: Target, cache: TunedCache, saved: SavedSearch | None = None) -> None:
        self._aim, self._target, self._cache = aim, target, cache
        self._space = target.space(aim.problem)
        plan = Plan(aim.problem, self._space, strategy(aim.strategy, self._space, aim.seed))
        self._loop = NodeLoop("background", target.name, [plan], evaluations=0, recheck=0)
        self.conditions = Conditions.of(target, aim.problem)
        self.progress = Progress(aim.problem, aim.launches, self._space.size)
        if saved is not None:
            self._loop.restore(saved.loop.encode())
            self.progress = msgspec.structs.replace(saved.progress, launches=aim.launches)

    def outdated(self, saved: SavedSearch) -> str:
        """Why a saved search must begin anew here; empty: it goes on."""
        if saved.strategy != self._aim.strategy:
            return f"strategy {self._aim.strategy} (was {saved.strategy})"
        return "; ".join(self.conditions.changes(saved.conditions))

    def saved(self) -> SavedSearch:
        """As it stands between two turns."""
        return SavedSearch(self.conditions, self._aim.strategy, self.progress, self._loop.state().decode())

    def evolve(self, genomes: int, now_ns: int, measured: Measured) -> None:
        """Search for so many genomes; what is better than before goes into a playoff, and its winner into the cache."""
        before = self.progress
        cycle = self._drive(measured, evaluations=genomes)
        count = before.evaluations + len(cycle.searched)
        # A strategy that gives fewer than it was asked for has none left.
        size = before.size if len(cycle.searched) == genomes else count
        curve = (*before.curve, (count, cycle.best_ns))
        paid = before.paid + len(cycle.searched)
        self.progress = msgspec.structs.replace(before, curve=curve, size=size, paid=paid)
        known = self._cache.look(self._aim.problem, self.conditions)
        if not isinstance(known, Tuned) or cycle.best_ns != before.best_ns:
            self._keep(self._playoff(measured), now_ns)

    def retrain(self, now_ns: int, measured: Measured) -> bool:
        """Measure the best again and learn from it; whether the device turned out to have changed."""
        if not self.progress.curve:
            return False
        cycle = self._drive(measured, recheck=ELITES)
        count = len(self._loop.known(self._aim.problem))
        # After a change only what was measured again is known; else the last point takes its new time.
        earlier = () if cycle.drifted else self.progress.curve[:-1]
        self.progress = msgspec.structs.replace(self.progress, curve=(*earlier, (count, cycle.best_ns)))
        if cycle.drifted:
            self._cache.drop(self._aim.problem, self.conditions)
            self._keep(fastest(cycle.rechecked), now_ns)
        return cycle.drifted

    def charge(self, seconds: float, joules: float) -> None:
        """Note what a turn of evolving took."""
        spent = self.progress.seconds + seconds, self.progress.joules + joules
        self.progress = msgspec.structs.replace(self.progress, seconds=spent[0], joules=spent[1])

    def _drive(self, measured: Measured, *, evaluations: int = 0, recheck: int = 0) -> ProblemCycle:
        self._loop.evaluations, self._loop.recheck = evaluations, recheck
        record = drive(self._loop, self._target, self._loop.cycle + 1, lambda problem, _: measured(problem))
        return record.problems[0]

    def _playoff(self, measured: Measured) -> Trial | None:
        """The winner among the search's best and what the cache has, which others may have found."""
        known = self._cache.look(self._aim.problem, self.conditions)
        rival = known if isinstance(known, Tuned) else known.nearest
        finalists: dict[Genome, None] = dict.fromkeys(t.genome for t in self._loop.best(self._aim.problem, FINALISTS))
        if rival is not None and self._space.contains(rival.best.genome):
            finalists[rival.best.genome] = None
        if not finalists:
            return None
        trials = self._target.playoff(self._aim.problem, list(finalists), metered=False)
        measured(self._aim.problem)
        return fastest(trials)

    def _keep(self, best: Trial | None, now_ns: int) -> None:
        if best is None:
            return
        known = self._cache.look(self._aim.problem, self.conditions)
        evaluations = max(self.progress.evaluations, known.effort.evaluations if isinstance(known, Tuned) else 0)
        effort = Effort.at(now_ns, evaluations, self._aim.strategy)
        self._cache.keep(Tuned(self._aim.problem, self.conditions, best, effort))


def resumed(
    aim: Aim, target: Target, cache: TunedCache, saved: SavedSearch | None, say: Callable[[str], None]
) -> BackgroundSearch:
    """The search where it stopped, or a new one, saying why, where what was saved does not hold any more."""
    fresh = BackgroundSearch(aim, target, cache)
    if saved is None:
        return fresh
    outdated = fresh.outdated(saved)
    if not outdated:
        try:
            return BackgroundSearch(aim, target, cache, saved)
        except DataError as error:
            outdated = str(error)
    say(f"{aim.problem} begins anew: {outdated}")
    return fresh
