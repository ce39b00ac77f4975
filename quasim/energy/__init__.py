"""Energy regulation: keeps a device within its limits, from samples alone; pure and free of clocks."""

from __future__ import annotations

from quasim.energy._base import Action, Caps, Observation, Regulator, RegulatorSnapshot, Wanted
from quasim.energy.power_model import ClockRun, PowerModel, Proposal, fit, next_clock, propose
from quasim.energy.regulator import LAWS, DeviceRegulator, prior_of
from quasim.energy.thermal import Prior, ThermalModel
from quasim.energy.tuning import Tuning

__all__ = [
    "LAWS",
    "Action",
    "Caps",
    "ClockRun",
    "DeviceRegulator",
    "Observation",
    "PowerModel",
    "Prior",
    "Proposal",
    "Regulator",
    "RegulatorSnapshot",
    "ThermalModel",
    "Tuning",
    "Wanted",
    "fit",
    "next_clock",
    "prior_of",
    "propose",
]
