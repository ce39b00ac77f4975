"""What is expected of a variant's power."""

from __future__ import annotations

import math

import pytest

from quasim.energy.power_line import PowerLine
from quasim.trial import Trial
from tests.quasim.energy.test_objective import trial


def drawing(tile: int, time_ns: float, power_w: float) -> Trial:
    return trial(tile, time_ns, power_w * time_ns / 1e9)


def test_one_reading_is_expected_of_those_alike_and_less_of_slower_ones() -> None:
    line = PowerLine([drawing(1, 100.0, 400.0)])
    alike, near = line.log_power(100.0)
    slower, far = line.log_power(300.0)
    assert alike == pytest.approx(math.log(400.0))
    assert slower < alike
    assert far > near


def test_where_joules_are_all_the_same_it_is_learned_that_they_are() -> None:
    line = PowerLine([drawing(n, 100.0 * 1.2**n, 600.0 / 1.2**n) for n in range(8)])
    power, spread = line.log_power(200.0)
    assert 200.0 * math.exp(power) == pytest.approx(100.0 * 600.0, rel=0.05)
    assert spread < 0.1


def test_where_power_is_the_same_for_all_it_is_learned_that_it_is() -> None:
    line = PowerLine([drawing(n, 100.0 * 1.5**n, 500.0) for n in range(8)])
    assert math.exp(line.log_power(400.0)[0]) == pytest.approx(500.0, rel=0.05)


def test_unlike_variants_leave_more_doubt() -> None:
    alike, unlike = ([drawing(n, 100.0, 500.0 * f**n) for n in (-1, 0, 1)] for f in (1.0, 1.5))
    assert PowerLine(unlike).log_power(100.0)[1] > PowerLine(alike).log_power(100.0)[1]


def test_a_line_needs_a_reading() -> None:
    with pytest.raises(ValueError, match="metered"):
        PowerLine([trial(1, 100.0)])
