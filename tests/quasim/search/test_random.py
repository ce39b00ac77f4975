from __future__ import annotations

import numpy as np

from tests.quasim.search.conformance import SPACE, StrategyConformance


class TestRandom(StrategyConformance):
    name = "random"

    def test_every_configuration_is_as_likely(self) -> None:
        counts = np.zeros(SPACE.size)
        for seed in range(400):
            counts[[SPACE.cell(genome) for genome in self.make(seed).ask(16)]] += 1
        expected = 400 * 16 / SPACE.size
        # Chi-square with 63 degrees of freedom: 99.9 % of fair draws stay below 104.
        assert ((counts - expected) ** 2 / expected).sum() < 104
