"""What an operator says of regulation: whether it advises or acts, its limits, its law; and a simulated device."""

from __future__ import annotations

from typing import Literal

import msgspec

from quasim.energy._base import Wanted
from quasim.energy.lease import SILENCE_S
from quasim.energy.loop import Mode
from quasim.energy.plant import Physics
from quasim.errors import ConfigError

SHORTEST_S, LONGEST_S = 0.1, SILENCE_S / 2
"""Reading NVML takes some milliseconds; and a holder of caps that says nothing for longer might be taken for dead."""


class RegulationSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The section ``energy`` of a fleet's configuration.

    Attributes:
        mode: ``advise``: watch, say what should be done, set nothing; ``enforce``: do it where that is allowed.
        law: ``predictive``, or ``pi``, the simple alternative.
        power_w: most that a device may draw; None: what its board allows.
        temperature_c: how hot it may become; None: some kelvin below where it slows itself down.
        period_s: between two samples.
        simulated: regulate a simulated device of this kind, which the recorded work of a replay target heats; its
            joules are a model's and say so. None: the target's own device, by its meter.

    Raises:
        ConfigError: limits or a period that cannot be.
    """

    mode: Mode = "advise"
    law: Literal["predictive", "pi"] = "predictive"
    power_w: float | None = None
    temperature_c: float | None = None
    period_s: float = 1.0
    simulated: Physics | None = None

    def __post_init__(self) -> None:
        try:
            self.wanted  # noqa: B018  its limits must be limits
        except ValueError as error:
            raise ConfigError(f"energy: {error}", "give watts above 0 and degrees Celsius, or null") from error
        if not SHORTEST_S <= self.period_s <= LONGEST_S:
            raise ConfigError(
                f"energy: period_s={self.period_s}",
                f"sample every {SHORTEST_S:g} to {LONGEST_S:g} s: heat moves within seconds, and so does the watchdog",
            )

    @property
    def wanted(self) -> Wanted:
        """The operator's limits."""
        return Wanted(self.power_w, self.temperature_c)
