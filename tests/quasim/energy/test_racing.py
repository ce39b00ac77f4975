"""Whose joules are read."""

from __future__ import annotations

from msgspec.structs import replace

from quasim.energy.objective import Objective
from quasim.energy.racing import AT_ONCE, next_reading
from quasim.meters import BRIEF_WORK_NS, MIN_WORK_NS
from tests.quasim.energy.test_objective import ENERGY, FAILED, trial


def test_the_fastest_is_metered_first_and_briefly() -> None:
    reading = next_reading([trial(1, 300.0), trial(2, 100.0), FAILED], ENERGY, {})
    assert reading is not None
    assert reading.genomes == (trial(2, 100.0).genome,)
    assert reading.window_ns == BRIEF_WORK_NS


STEADY = [trial(2, 100.0, 5e-5), trial(6, 200.0, 10e-5), trial(7, 400.0, 20e-5), trial(8, 800.0, 40e-5)]
"""Of the same power, however fast."""


def test_who_cannot_win_by_his_time_is_not_metered() -> None:
    assert next_reading([*STEADY, trial(3, 300.0)], ENERGY, {}) is None
    near = next_reading([*STEADY, trial(3, 300.0), trial(4, 105.0)], ENERGY, {})
    assert near is not None
    assert near.genomes == (trial(4, 105.0).genome,)


def test_where_slower_ones_draw_less_they_are_metered() -> None:
    same_joules = [trial(n, 100.0 * 1.5**n, 5e-5) for n in range(1, 5)]
    reading = next_reading([*same_joules, trial(9, 350.0)], ENERGY, {})
    assert reading is not None
    assert reading.genomes == (trial(9, 350.0).genome,)


def test_few_are_metered_before_it_is_asked_again() -> None:
    crowd = [trial(n, 100.0 + n) for n in range(3, 9)]
    reading = next_reading([trial(2, 100.0, 5e-5), *crowd], ENERGY, {})
    assert reading is not None
    assert len(reading.genomes) == AT_ONCE


def test_powers_that_differ_much_let_slower_ones_race() -> None:
    unlike = [STEADY[0], trial(6, 200.0, 7e-5), trial(7, 200.0, 14e-5), trial(8, 400.0, 14e-5), trial(5, 400.0, 28e-5)]
    assert next_reading([*STEADY, trial(9, 118.0)], ENERGY, {}) is None
    assert next_reading([*unlike, trial(9, 118.0)], ENERGY, {}) is not None


def test_now_and_then_an_unlikely_one_has_its_turn_but_no_hopeless_one() -> None:
    known = [*STEADY, trial(3, 300.0), trial(4, 120.0)]
    reading = next_reading(known, ENERGY, {}, patient=True)
    assert reading is not None
    assert reading.genomes == (trial(4, 120.0).genome,)
    assert next_reading(known, ENERGY, {}) is None


def test_the_less_joules_weigh_the_fewer_are_metered() -> None:
    known = [trial(2, 100.0, 5e-5), trial(3, 115.0)]
    assert next_reading(known, ENERGY, {}) is not None
    assert next_reading(known, Objective("weighted", 0.2), {}) is None


def test_who_was_tried_without_success_is_not_metered_again() -> None:
    one = trial(1, 100.0)
    assert next_reading([one], ENERGY, {one.genome: 1}) is None


def test_wide_intervals_about_the_best_are_read_once_more_and_longer() -> None:
    wide = replace(trial(1, 100.0, 5e-5), energy_low_j=4e-5, energy_high_j=6e-5)
    rival = replace(trial(2, 100.0, 5.5e-5), energy_low_j=4.5e-5, energy_high_j=6.5e-5)
    far = replace(trial(3, 100.0, 9e-5), energy_low_j=7e-5, energy_high_j=11e-5)
    reading = next_reading([wide, rival, far], ENERGY, {one.genome: 1 for one in (wide, rival, far)})
    assert reading is not None
    assert reading.genomes == (wide.genome, rival.genome)
    assert reading.window_ns == MIN_WORK_NS
    assert next_reading([wide, rival], ENERGY, {one.genome: 2 for one in (wide, rival)}) is None
