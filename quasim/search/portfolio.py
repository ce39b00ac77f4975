"""A portfolio: each evaluation goes to the member that has lately paid, and all members learn from all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from quasim.errors import DataError
from quasim.search._base import Prior
from quasim.search.evolution import Evolution
from quasim.search.first import FIRST
from quasim.search.gradient import Gradient
from quasim.search.improvement import Improvement
from quasim.search.ising import Ising
from quasim.search.ledger import Mask
from quasim.search.random import Random
from quasim.search.recording import RecordingStrategy
from quasim.search.saved import OwnState
from quasim.search.trace import Trace, Traced
from quasim.space import Floats, SearchSpace
from quasim.trial import Trial

MEMBERS: dict[type[RecordingStrategy], float] = {
    Improvement: 8.0,
    Evolution: 0.5,
    Ising: 0.5,
    Gradient: 0.5,
    Random: 0.1,
}
"""Who is asked, and the credit that each starts with: what it earned alone on recorded spaces, roughly."""

MEMORY = 0.95
"""What is left of all earned credit after a trial: the last twenty or so trials decide."""


class Portfolio(RecordingStrategy):
    """Draws a member for each evaluation with odds of its credit; who finds a new best earns one.

    The members share the notes, so that each knows what the others found, and the surrogate is fitted once. This is the
    adaptive operator selection by probability matching of Thierens (2005), with a start that is not even.
    """

    name = "portfolio"

    def __init__(self, space: SearchSpace, seed: int) -> None:
        super().__init__(space, seed)
        self._members = self._made()
        self._earned: Floats = np.zeros(len(self._members))
        self._asked: dict[int, int] = {}

    def _made(self) -> list[RecordingStrategy]:
        members = [kind(self._space, 0) for kind in MEMBERS]
        for member in members:
            member.share(self._notes)
        return members

    def _credit(self) -> Floats:
        """Odds of each member, shape (members,)."""
        return np.asarray(self._earned + np.array(list(MEMBERS.values())))

    def _propose(self, count: int, free: Mask) -> list[int]:
        odds = self._credit()
        known = len(self._ledger.trials) + len(self._ledger.pending)
        # The first member starts: with nothing known there is nothing to choose by.
        started = 0 if self._notes.prior is not None else min(count, max(0, FIRST - known))
        shares = self._rng.multinomial(count - started, odds / odds.sum())
        shares[0] += started
        proposed: list[int] = []
        for at in np.flatnonzero(shares):
            # A member may be unable to find so many; the first one never is.
            proposed += self._from(int(at), int(shares[at]), free)
        return proposed + self._from(0, count - len(proposed), free)

    def _from(self, at: int, count: int, free: Mask) -> list[int]:
        cells = self._members[at]._propose(count, free) if count else []
        free[cells] = False
        self._ledger.pending.update(dict.fromkeys(cells))
        self._asked.update(dict.fromkeys(cells, at))
        return cells

    def learned(self, trials: Sequence[Trial]) -> None:
        """Credit who asked for what became the best; every member learns."""
        cells = [self._space.cell(trial.genome) for trial in trials]
        best, _ = self._ledger.ranked()
        for cell in cells:
            asker = self._asked.pop(cell, None)
            self._earned *= MEMORY
            if asker is not None and len(best) and cell == best[0]:
                self._earned[asker] += 1
        for member in self._members:
            member.learned(trials)

    def adopted(self, prior: Prior) -> None:
        """Every member adopts."""
        for member in self._members:
            member.adopted(prior)

    def forgot(self) -> None:
        """Every member forgets; credit stays, because who is good at a space is not the device's doing."""
        self._asked.clear()
        for member in self._members:
            member.forgot()

    def entropy(self) -> float:
        """Mean entropy of the members, weighted by their credit."""
        credit = self._credit()
        return float(credit @ [member.entropy() for member in self._members] / credit.sum())

    def traces(self) -> dict[str, Trace]:
        """Those of the members."""
        traced = [member for member in self._members if isinstance(member, Traced)]
        return {name: trace for member in traced for name, trace in member.traces().items()}

    def _own_state(self) -> OwnState:
        members = {
            f"{member.name}.{name}": values for member in self._members for name, values in member._own_state().items()
        }
        asked = tuple(float(part) for pair in self._asked.items() for part in pair)
        return {"earned": tuple(self._earned.tolist()), "asked": asked, **members}

    def _restore_own(self, own: OwnState) -> None:
        members = self._made()
        names = {member.name for member in members}
        earned, asked = own.get("earned", ()), own.get("asked", ())
        unheard = [name for name in own if name not in ("earned", "asked") and name.split(".")[0] not in names]
        askers, cells = set(asked[1::2]), asked[::2]
        fit = len(earned) == len(members) and min(earned) >= 0 and askers <= set(range(len(members)))
        if unheard or not fit or len(asked) % 2 or not all(cell.is_integer() for cell in cells):
            raise DataError(f"state of {self.name} has parts that do not fit its members", "it is damaged; start anew")
        for member in members:
            prefix = f"{member.name}."
            member._restore_own({name[len(prefix) :]: part for name, part in own.items() if name.startswith(prefix)})
        self._members, self._earned = members, np.array(earned)
        self._asked = {int(cell): int(at) for cell, at in zip(cells, asked[1::2], strict=True)}
