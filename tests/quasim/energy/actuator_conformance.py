"""What every actuator must do. An actuator's test inherits ``ActuatorConformance`` and gives an open one."""

from __future__ import annotations

import pytest

from quasim.energy.actuators import Actuator, Setting


class ActuatorConformance:
    @pytest.fixture
    def actuator(self) -> Actuator:
        raise NotImplementedError

    def test_opening_and_asking_writes_nothing(self, actuator: Actuator) -> None:
        assert actuator.device
        assert not actuator.permissions.power
        actuator.setting()
        assert actuator.writes == 0

    def test_what_was_applied_is_in_force_and_counted(self, actuator: Actuator) -> None:
        actuator.apply(Setting(400.0))
        assert actuator.setting().power_cap_w == 400.0
        assert actuator.writes == 1

    def test_what_was_found_can_be_put_back(self, actuator: Actuator) -> None:
        before = actuator.setting()
        actuator.apply(Setting(300.0))
        assert actuator.setting() != before
        actuator.apply(before)
        assert actuator.setting() == before
