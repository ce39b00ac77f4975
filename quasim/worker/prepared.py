"""A problem made ready in a worker: seeded inputs, the float64 reference, and the sets that launches rotate through."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from quasim.kernels import Arrays, family
from quasim.kernels.accuracy import Errors, worst_errors, yardsticks
from quasim.trial import Problem, Status
from quasim.worker.arena import Arena
from quasim.worker.protocol import Outcome

Launch = Callable[[], object]
"""Runs a competitor once on arrays fixed before."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether one answer is right.

    Attributes:
        errors: None when the answer is wrong beyond measure.
        wrong: in one line, what is wrong; empty for a right answer.
    """

    errors: Errors | None
    wrong: str

    @property
    def outcome(self) -> Outcome:
        """As the worker tells it."""
        return Outcome(
            status=Status.WRONG_RESULT if self.wrong else Status.OK,
            error_frobenius=self.errors.frobenius if self.errors else None,
            error_componentwise=self.errors.componentwise if self.errors else None,
            detail=self.wrong,
        )


class Bench:
    """One prepared problem.

    Args:
        seed: of the inputs; the same seed gives the same bytes.
        total_bytes: the sets together take at least this much.
    """

    def __init__(self, problem: Problem, seed: int, total_bytes: int) -> None:
        self.problem = problem
        self.family = family(problem.kernel)
        inputs = self.family.inputs(problem.dims, np.random.default_rng(seed))
        self.arena = Arena(self.family.kernel, problem.dims, inputs, total_bytes)
        self._yardsticks = yardsticks(self.family.kernel, self.family.reference(problem.dims, inputs))
        self._position = 0

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        return self.arena.bytes + sum(yardstick.bytes for yardstick in self._yardsticks)

    @property
    def set_count(self) -> int:
        """How many sets of arrays there are."""
        return len(self.arena.sets)

    @property
    def set_bytes(self) -> int:
        """Bytes of the arrays of one set."""
        return self.arena.set_bytes

    def next_set(self) -> int:
        """The set that was used longest ago; shared by all competitors, so that none finds its data in a cache."""
        self._position = (self._position + 1) % len(self.arena.sets)
        return self._position

    def check(self, prepare: Callable[[Arrays], Launch]) -> Verdict:
        """Run once on outputs that were filled with ``UNTOUCHED``, and compare with the reference.

        Raises:
            Exception: whatever the launch raises.
        """
        self.arena.clear_outputs(0)
        prepare(self.arena.sets[0])()
        trespass = self.arena.trespass(0)
        outputs = self.arena.outputs(0)
        errors = worst_errors(self._yardsticks, outputs)
        return judge(errors, trespass, self.family.tolerance, lambda: _special(outputs))


def judge(errors: Errors, trespass: str, tolerance: float, special: Callable[[], tuple[bool, bool]]) -> Verdict:
    """The verdict on an answer, whoever computed its errors.

    Args:
        trespass: what was written that must not be; empty for nothing.
        special: asked where an error is not finite: whether the answer holds NaN, and whether it holds infinities.
    """
    if trespass:
        return Verdict(None, trespass)
    if not math.isfinite(errors.frobenius) or not math.isfinite(errors.componentwise):
        return Verdict(None, _why_infinite(*special()))
    if errors.frobenius > tolerance:
        return Verdict(errors, f"error {errors.frobenius:.3g} is above the tolerance {tolerance:.3g}")
    return Verdict(errors, "")


def _why_infinite(nan: bool, infinity: bool) -> str:
    if nan:
        return "the answer holds NaN"
    return "the answer holds infinities" if infinity else "wrote outside the elements that the kernel covers"


def _special(outputs: Arrays) -> tuple[bool, bool]:
    arrays = outputs.values()
    return any(np.isnan(array).any() for array in arrays), any(np.isinf(array).any() for array in arrays)
