"""The meter of a device that has none: every reading is absent, and the reason is kept."""

from __future__ import annotations

import time
from collections.abc import Callable

from quasim.meters._base import Capabilities, PowerLimits, Sample
from quasim.trial import EnergySource


class NoMeter:
    """Stands where no meter could be opened, so that callers need no second path.

    Attributes:
        why: what was tried, and why it failed.
    """

    name = "none"
    source = EnergySource.UNMETERED

    def __init__(self, device: str, why: str, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self.device = device
        self.why = why
        self.capabilities = Capabilities.none(why)
        self.power_limits = PowerLimits(None, None, None)
        self._clock = clock

    def sample(self) -> Sample:
        """The time alone."""
        return Sample(self._clock(), 0)

    def close(self) -> None:
        """Nothing is held."""
