"""Which device a regulator sets, as plain data that travels to the watchdog and opens the actuator there."""

from __future__ import annotations

from pathlib import Path

import msgspec

from quasim.energy.actuators import Actuator, SimulatedActuator
from quasim.energy.nvml_actuator import NvmlActuator


class SimulatedHands(msgspec.Struct, frozen=True, tag="simulated", tag_field="kind"):
    """A simulated device whose settings lie in a file."""

    path: str

    def open(self) -> Actuator:
        """The actuator."""
        return SimulatedActuator(Path(self.path))


class NvmlHands(msgspec.Struct, frozen=True, tag="nvml", tag_field="kind"):
    """An NVIDIA GPU, by its UUID: it means the same in every process."""

    uuid: str

    def open(self) -> Actuator:
        """The actuator.

        Raises:
            MeterError: there is no such GPU, or no driver.
        """
        return NvmlActuator(self.uuid)


Hands = SimulatedHands | NvmlHands
"""Told apart by ``kind``."""
