"""What a search goes by: ledger, generator, the fleet's word and a surrogate; a portfolio's members share one."""

from __future__ import annotations

import numpy as np

from quasim.search._base import Prior
from quasim.search.ledger import Ledger
from quasim.search.surrogate import Surrogate
from quasim.space import SearchSpace


class Notes:
    """Notes on one space.

    Attributes:
        rng: the one source of chance.
        ledger: what was told and handed out.
        prior: what the fleet knows, once that was adopted.
    """

    def __init__(self, space: SearchSpace, seed: int) -> None:
        self._space = space
        self.rng = np.random.Generator(np.random.PCG64(seed))
        self.ledger = Ledger(space)
        self.prior: Prior | None = None
        self._surrogate: Surrogate | None = None
        self._read: tuple[Ledger, int] | None = None

    def believe(self, prior: Prior | None) -> None:
        """Go by a prior from now on, or by none."""
        self.prior = prior
        self._surrogate = None

    def surrogate(self) -> Surrogate:
        """The surrogate of everything told so far; fitted when it is first asked for after a change."""
        if self._surrogate is None:
            self._surrogate, self._read = Surrogate(self._space), None
            self._surrogate.expect(self.prior)
        now = (self.ledger, self.ledger.version)
        if self._read != now:
            self._surrogate.fit(*self.ledger.told())
            self._read = now
        return self._surrogate
