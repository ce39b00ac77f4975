from __future__ import annotations

import math

import pytest

from quasim.energy import Action, Caps, Wanted
from quasim.energy.tuning import Tuning


@pytest.mark.parametrize(
    "limits", [(300, 200, 250), (200, 700, 100), (200, 700, 800), (0, 700, 700), (200, math.inf, 700)]
)
def test_power_limits_out_of_order_are_no_device(limits: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="order of power limits"):
        Caps(*limits)


def test_a_clock_has_both_limits_in_order_or_neither() -> None:
    assert Caps(200, 700, 700, 345, 1980).clock_max_mhz == 1980
    for low, high in ((345, None), (None, 1980), (1980, 345), (0, 1980)):
        with pytest.raises(ValueError, match="clock"):
            Caps(200, 700, 700, low, high)


def test_a_slowdown_temperature_is_a_number_or_unknown() -> None:
    assert Caps(200, 700, 700).slowdown_c is None
    with pytest.raises(ValueError, match="temperature"):
        Caps(200, 700, 700, slowdown_c=math.nan)


@pytest.mark.parametrize("wanted", [{"power_w": 0.0}, {"power_w": math.nan}, {"temperature_c": math.inf}])
def test_an_operators_limit_is_a_limit(wanted: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="limit"):
        Wanted(**wanted)


@pytest.mark.parametrize(
    "action",
    [{"power_cap_w": -1.0}, {"clock_cap_mhz": math.inf}, {"duty": 1.5}, {"duty": math.nan}],
)
def test_an_action_that_no_hand_could_take_cannot_be_built(action: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"not a|duty"):
        Action(**action)  # type: ignore[arg-type]


def test_a_deadband_wider_than_one_write_would_freeze_the_cap_and_is_refused() -> None:
    with pytest.raises(ValueError, match="deadband"):
        Tuning(deadband_w=30, ramp_w_per_s=20)
    with pytest.raises(ValueError, match="positive"):
        Tuning(settle_s=0)
