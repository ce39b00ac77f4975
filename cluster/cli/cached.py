"""What `quasim tune` finds in the cache of tuned results, and keeps there."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from cluster.cli.output import log
from quasim.standing import Standing
from quasim.targets import Target
from quasim.targets.replay import ReplayTarget
from quasim.trial import Problem
from quasim.tune import TuneResult
from quasim.tuned import Conditions, Effort, Miss, Tuned, TunedCache, tuned_folder


@dataclass(frozen=True, slots=True)
class Shelf:
    """The place of one problem under the present conditions in the cache.

    Attributes:
        cache: None: nothing is looked up or kept.
    """

    cache: TunedCache | None
    problem: Problem
    conditions: Conditions

    @classmethod
    def of(cls, device: Target, problem: Problem, file: str | None, folder: Path | None) -> Shelf:
        """Where a problem's result stands.

        Args:
            file: SHA-256 of the file that describes a foreign kernel.
            folder: of the cache; None: the user's own, and none for a recording, which is quick to ask again.

        Raises:
            StorageError, TrustError: the folder cannot be used, or is open to others.
        """
        wanted = folder is not None or not isinstance(device, ReplayTarget)
        cache = TunedCache(folder or tuned_folder()) if wanted else None
        return cls(cache, problem, Conditions.of(device, problem, file or ""))

    def look(self, evaluations: int) -> Tuned | None:
        """A result that took at least so many evaluations; of one for other conditions, says what changed."""
        known = Miss() if self.cache is None else self.cache.look(self.problem, self.conditions)
        if isinstance(known, Miss):
            if known.changed:
                log().print(f"{self.problem} is not in the cache: {'; '.join(known.changed)}")
            return None
        return known if known.effort.evaluations >= evaluations else None

    def keep(self, result: TuneResult, standing: Standing | None, strategy: str, *, replace: bool) -> None:
        """Keep a result, unless one that took more evaluations is there and must not be replaced.

        Raises:
            StorageError: the cache cannot be written.
        """
        if self.cache is None or result.best is None or not (replace or self._is_most(result.evaluations)):
            return
        effort = Effort.at(time.time_ns(), result.evaluations, strategy)
        self.cache.keep(Tuned(self.problem, self.conditions, result.best, effort, standing))

    def _is_most(self, evaluations: int) -> bool:
        assert self.cache is not None
        known = self.cache.look(self.problem, self.conditions)
        return isinstance(known, Miss) or known.effort.evaluations <= evaluations


def cached_text(effort: Effort) -> str:
    """``40 evaluations by evolution, tuned on 2026-11-22 at 20:51 UTC``."""
    day, _, clock = effort.tuned_at.partition("T")
    return f"{effort.evaluations} evaluations by {effort.strategy}, tuned on {day} at {clock[:5]} UTC"
