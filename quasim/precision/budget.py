"""What a kernel may be off by, and what was measured: the inputs of a plan's choice."""

from __future__ import annotations

import math

import msgspec

from quasim.errors import ConfigError
from quasim.precision.check import ProductErrors
from quasim.precision.classes import CLASSES, data_class
from quasim.precision.plan import plan_named
from quasim.precision.probe import Refusal

DEFAULT_BUDGET = 1e-5
"""Relative Frobenius error of one kernel's output; ten times what float32 itself shows at K = 4096."""


class Budget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a kernel's output may be off by, over which data.

    Attributes:
        kernel: whose output.
        frobenius: largest relative Frobenius error.
        classes: data classes that the kernel declares to meet.

    Raises:
        ConfigError: a budget that is not positive and finite, no class, or one twice.
        UnknownNameError: a class that does not exist.
    """

    kernel: str
    frobenius: float = DEFAULT_BUDGET
    classes: tuple[str, ...] = tuple(CLASSES)

    def __post_init__(self) -> None:
        if not 0 < self.frobenius < math.inf:
            raise ConfigError(f"error budget {self.frobenius} of {self.kernel!r}", "give a positive number")
        if not self.classes or len(set(self.classes)) < len(self.classes):
            raise ConfigError(f"data classes {self.classes} of {self.kernel!r}", "name at least one, each once")
        for name in self.classes:
            data_class(name)


class Measured(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One plan on one data class, everything included: splitting, checks, and the safe plan where it was taken.

    Attributes:
        plan: name of the plan.
        data: name of the data class.
        frobenius: relative Frobenius error of what was returned, against float64; None: not finite.
        componentwise: its largest error relative to |A||B|; None: not finite.
        time_ns: median time of the whole product.
        refused: which check let the safe plan answer; empty: none.

    Raises:
        ConfigError: a negative error or a time that is not positive.
        UnknownNameError: an unknown plan or class.
    """

    plan: str
    data: str
    frobenius: float | None
    componentwise: float | None
    time_ns: float
    refused: Refusal = ""

    def __post_init__(self) -> None:
        plan_named(self.plan)
        data_class(self.data)
        errors = [e for e in (self.frobenius, self.componentwise) if e is not None]
        if not all(0 <= e < math.inf for e in errors) or not 0 < self.time_ns < math.inf:
            raise ConfigError(f"{self.plan} on {self.data}: errors {errors}, {self.time_ns} ns", "measure it again")

    @property
    def errors(self) -> ProductErrors:
        """Both errors as numbers; infinite where nothing finite came out."""
        return ProductErrors(*(math.inf if e is None else e for e in (self.frobenius, self.componentwise)))
