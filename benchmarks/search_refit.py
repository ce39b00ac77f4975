"""What a refit of the surrogate costs: trials are told, then all cells of a space forecast, on one core.

Run it with one BLAS thread (``OPENBLAS_NUM_THREADS=1``): CPU time of all threads is counted.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

import numpy as np

from benchmarks.harness import Bar, Row, main
from quasim.search.surrogate import Surrogate
from quasim.space import Floats, Parameter, SearchSpace

TRIALS = 220

CELLS = 18_000

REFITS = 25
"""Of which the median counts, since other work on the machine slows some."""

REFIT_MS = 50.0
"""Most milliseconds of a median refit that learns its scales anew, where no trial failed."""

FAILED = 0.2
"""Share of failed trials where some failed: their feasibility is one more thing to learn."""

SPACE = SearchSpace(
    (
        Parameter("tile_m", (16, 32, 64, 128, 256)),
        Parameter("tile_n", (16, 32, 64, 128, 256)),
        Parameter("tile_k", (8, 16, 32, 64)),
        Parameter("unroll", (1, 2, 4, 8, 16)),
        Parameter("vector", (1, 2, 4)),
        Parameter("stages", (1, 2, 3)),
        Parameter("swizzle", (0, 1)),
        Parameter("pad", (0, 1)),
    )
)
"""A made space of ``CELLS`` configurations; what a refit costs depends on the shapes, hardly on the times."""

EVERY = np.arange(CELLS)


class Refits:
    """Refits of one surrogate with trials of a made space, each timed.

    Args:
        failing: share of the trials that failed.
    """

    def __init__(self, failing: float) -> None:
        rng = np.random.default_rng(0)
        self._surrogate = Surrogate(SPACE)
        self._cells = rng.choice(CELLS, size=TRIALS, replace=False)
        logs = SPACE.ordinal(SPACE.rows[self._cells]) @ rng.normal(size=8) + 0.1 * rng.normal(size=TRIALS)
        self._times_ns = 1e5 * np.exp(logs)
        self._times_ns[: round(failing * TRIALS)] = np.inf

    def forget(self) -> None:
        """Know no trial."""
        self._surrogate.expect(None)

    def learn_anew(self) -> None:
        """All trials at once, as in a search where its scales are due, or a node that says what it found."""
        self._fit(TRIALS)
        self._surrogate.predict_once(EVERY)

    def resume(self) -> None:
        """All trials after a restart, as a search had them: some joined after those that taught the scales."""
        self._fit(TRIALS)
        self._surrogate.predict(EVERY)

    def all_but_one(self) -> None:
        """All trials but the last."""
        self.forget()
        self._fit(TRIALS - 1)
        self._surrogate.predict(EVERY)

    def _fit(self, count: int) -> None:
        self._surrogate.fit(self._cells[:count], self._times_ns[:count])


def refit_rows(count: int = REFITS) -> Iterator[Row]:
    """Figures of each kind of refit, without and with failed trials."""
    for failing in (0.0, FAILED):
        refits = Refits(failing)
        kinds = {
            "learned anew": (refits.forget, refits.learn_anew),
            "resumed": (refits.forget, refits.resume),
            "one more": (refits.all_but_one, refits.resume),
        }
        for name, (before, refit) in kinds.items():
            found = _cpu_ms(before, refit, count)
            yield {
                "refit": f"{TRIALS} trials, {CELLS:,} candidates, {name}",
                "failed trials": failing,
                "refits": count,
                "median CPU ms": float(np.median(found)),
                "fastest CPU ms": float(found.min()),
                "slowest CPU ms": float(found.max()),
            }


def _cpu_ms(before: Callable[[], None], refit: Callable[[], None], count: int) -> Floats:
    """CPU time of refits after one that warms up, all cores counted as one, shape (count,)."""
    found = []
    for _ in range(count + 1):
        before()
        start = time.process_time()
        refit()
        found.append(1e3 * (time.process_time() - start))
    return np.array(found[1:])


def options(parser: argparse.ArgumentParser) -> None:
    """How many."""
    parser.add_argument("--refits", type=int, default=REFITS, help="of each kind")


def measure(given: argparse.Namespace) -> tuple[list[Row], list[Bar]]:
    """All kinds of refit; the bar is on the first."""
    rows = list(refit_rows(given.refits))
    return rows, [refit_bar(rows[0])]


def refit_bar(row: Row) -> Bar:
    """The bar on the median of a row of ``refit_rows``."""
    return Bar.at_most(f"refit of {row['refit']}: median CPU ms", float(row["median CPU ms"] or 0), REFIT_MS)


if __name__ == "__main__":
    main("search_refit", __doc__ or "", measure, options)
