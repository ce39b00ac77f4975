"""A fresh start where the fleet's scores were dropped: goes by what was told since, as if nothing had been known.

What was asked under a prior tells of the places that the prior likes. Where these are a trap, a model of them sees
nothing to gain elsewhere; one that starts anew does.
"""

from __future__ import annotations

from quasim.errors import DataError
from quasim.search._base import Prior
from quasim.search.first import FIRST
from quasim.search.improvement import Improvement
from quasim.search.ledger import Mask
from quasim.search.saved import OwnState
from quasim.search.surrogate import Surrogate
from quasim.space import SearchSpace


class Renewal(Improvement):
    """Expected improvement on the best told since a prior was dropped, from a spread start of its own.

    While a prior is believed, and where there never was one, it goes by everything.
    """

    name = "renewal"

    def __init__(self, space: SearchSpace, seed: int) -> None:
        super().__init__(space, seed)
        self._model = Surrogate(space)
        self._led = False
        self._since = self._spread = 0

    @property
    def has_begun(self) -> bool:
        """Whether a prior was dropped."""
        return self._since > 0

    def _propose(self, count: int, free: Mask) -> list[int]:
        proposed = super()._propose(count, free)
        if self.has_begun:
            self._spread = min(FIRST, self._spread + len(proposed))
        return proposed

    def _first_missing(self) -> int:
        return FIRST - self._spread if self.has_begun else super()._first_missing()

    def _gone_by(self) -> list[int]:
        return super()._gone_by()[self._since :]

    def _surrogate(self) -> Surrogate:
        if not self.has_begun:
            return super()._surrogate()
        cells, times_ns = self._ledger.told()
        self._model.fit(cells[self._since :], times_ns[self._since :])
        return self._model

    def adopted(self, prior: Prior) -> None:
        """Begin where scores that were believed are dropped; a policy that brings scores again ends that."""
        led = self._notes.prior is not None
        if led:
            self._since = self._spread = 0
        elif self._led:
            self._since = len(self._ledger.trials)
        self._led = led

    def forgot(self) -> None:
        """What was told is gone."""
        self._led, self._since, self._spread = False, 0, 0

    def _own_state(self) -> OwnState:
        return {"start": (float(self._led), float(self._since), float(self._spread))}

    def _restore_own(self, own: OwnState) -> None:
        numbers = own.get("start", ())
        if len(own) != 1 or len(numbers) != 3 or not all(number.is_integer() and number >= 0 for number in numbers):
            raise DataError(f"state of {self.name} is {own}", "it is damaged; start anew")
        self._led, self._since, self._spread = bool(numbers[0]), int(numbers[1]), int(numbers[2])
