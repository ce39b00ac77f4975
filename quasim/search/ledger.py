"""What a strategy knows: the trials it was told, the genomes it has handed out, and those that come next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from quasim.space import Floats, SearchSpace
from quasim.trial import Trial

Cells = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class Ledger:
    """Book of one space, by cell.

    Attributes:
        trials: latest trial of each told cell, in the order first told.
        pending: cells handed out and not told yet, oldest first.
        queue: cells to hand out before any other, in order.
        version: grows with each change of what was told.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self._times_ns = np.full(space.size, np.nan)
        self.trials: dict[int, Trial] = {}
        self.pending: dict[int, None] = {}
        self.queue: list[int] = []
        self.version = 0

    def record(self, trials: Sequence[Trial]) -> None:
        """Note trials; one of a genome told before replaces it.

        Raises:
            SpaceError: a genome is not of this space; nothing is noted then.
        """
        cells = [self._space.cell(trial.genome) for trial in trials]
        for cell, trial in zip(cells, trials, strict=True):
            self.trials[cell] = trial
            self._times_ns[cell] = trial.time_ns
            self.pending.pop(cell, None)
        self.version += 1

    def enqueue(self, cells: Iterable[int]) -> None:
        """Hand these out first, those told before or waiting already left out."""
        self.queue += [cell for cell in dict.fromkeys(cells) if cell not in self.trials and cell not in self.queue]

    def take_queued(self, count: int) -> list[int]:
        """Up to ``count`` cells from the front of the queue; they are pending now."""
        taken: list[int] = []
        while self.queue and len(taken) < count:
            cell = self.queue.pop(0)
            if cell not in self.trials and cell not in self.pending:
                taken.append(cell)
                self.pending[cell] = None
        return taken

    def free(self) -> Mask:
        """Which cells were neither told nor handed out, shape (size,)."""
        free: Mask = np.isnan(self._times_ns)
        free[list(self.pending)] = False
        return free

    def told(self) -> tuple[Cells, Floats]:
        """Told cells in the order first told and their times in ns (infinity: failed), each shape (n,)."""
        cells = np.fromiter(self.trials, dtype=np.int64, count=len(self.trials))
        return cells, self._times_ns[cells]

    def ranked(self) -> tuple[Cells, Floats]:
        """Cells of the ok trials and their times in ns, fastest first; ties go to the lower cell."""
        cells, times_ns = self.told()
        cells, times_ns = cells[np.isfinite(times_ns)], times_ns[np.isfinite(times_ns)]
        order = np.lexsort((cells, times_ns))
        return cells[order], times_ns[order]

    def best(self, count: int) -> list[Trial]:
        """The fastest ok trials, best first."""
        return [self.trials[int(cell)] for cell in self.ranked()[0][:count]]

    def forget(self) -> None:
        """Drop every trial and all that was handed out."""
        self._times_ns[:] = np.nan
        self.trials.clear()
        self.pending.clear()
        self.queue.clear()
        self.version += 1
