"""What a control law sees, and what it answers: watts that would keep the set point."""

from __future__ import annotations

from typing import Protocol

import msgspec

from quasim.energy.thermal import ThermalModel


class Situation(msgspec.Struct, frozen=True):
    """One good sample, and the room there is to act.

    Attributes:
        set_point_c: to be kept.
        temperature_c: as the sensor says.
        power_w: drawn now.
        cap_w: in force, as far as was commanded.
        low_w, high_w: no cap may lie outside of these.
        dt_s: since the step before; 0 at the first.
        model: of the device, up to this sample.
    """

    set_point_c: float
    temperature_c: float
    power_w: float
    cap_w: float
    low_w: float
    high_w: float
    dt_s: float
    model: ThermalModel


class Law(Protocol):
    """Turns a situation into the power that it would allow."""

    name: str

    def power_w(self, now: Situation) -> float:
        """Watts that the device may draw from now on; not yet clipped, slewed or rounded."""

    def state(self) -> float | None:
        """What must survive a restart; None where there is nothing yet."""

    def restore(self, state: float | None) -> None:
        """Go on from a state."""
