from __future__ import annotations

from pathlib import Path

import pytest

from quasim.energy.actuators import SimulatedActuator
from quasim.energy.hands import Hands, NvmlHands, SimulatedHands
from quasim.meters import DriverMissingError, MeterError


def test_hands_open_as_what_they_name(tmp_path: Path) -> None:
    hands: Hands = SimulatedHands(str(tmp_path / "gpu.json"))
    assert isinstance(hands.open(), SimulatedActuator)
    with pytest.raises((DriverMissingError, MeterError)):
        NvmlHands("GPU-nobody").open()
