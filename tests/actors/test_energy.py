from __future__ import annotations

from collections.abc import Iterator

import pytest

from actors.energy import NodeMeter, Spent, Tally
from quasim.meters import BusyError, MeterError, NoMeter, Sample
from quasim.trial import EnergySource, Problem
from tests.actors.bench_device import TableDevice

ONE, TWO = Problem.of("one", n=1), Problem.of("two", n=1)


class Counter(NoMeter):
    """A meter whose counter stands where a list says."""

    source = EnergySource.COUNTER

    def __init__(self, *readings: float | MeterError) -> None:
        super().__init__("bench GPU-1", "")
        self._readings: Iterator[float | MeterError] = iter(readings)

    def sample(self) -> Sample:
        reading = next(self._readings)
        if isinstance(reading, MeterError):
            raise reading
        return Sample(0, 0, energy_j=reading)


def spend(meter: NoMeter, laps: list[Problem], idle_power_w: float | None = None) -> Spent:
    clock = iter(range(0, 100_000_000_000, 1_000_000_000))
    tally = Tally(meter, idle_power_w, lambda: next(clock))
    for problem in laps:
        tally.lap(problem)
    return tally.spent()


def test_each_lap_belongs_to_its_problem_and_nothing_is_lost_between() -> None:
    spent = spend(Counter(100.0, 130.0, 150.0, 155.0), [ONE, TWO, ONE])
    assert spent.by_problem == ((ONE, 35.0), (TWO, 20.0))
    assert (spent.joules, spent.device, spent.detail) == (55.0, "bench GPU-1", "")


def test_idle_energy_is_taken_off_where_idle_power_is_known() -> None:
    assert spend(Counter(0.0, 100.0, 300.0), [ONE, TWO], idle_power_w=70.0).above_idle_j == 300.0 - 2 * 70.0
    assert spend(Counter(0.0, 100.0), [ONE]).above_idle_j is None


def test_idle_energy_above_what_was_drawn_gives_no_second_figure() -> None:
    assert spend(Counter(0.0, 60.0), [ONE], idle_power_w=70.0).above_idle_j is None


def test_a_counter_that_goes_back_voids_the_cycle() -> None:
    spent = spend(Counter(100.0, 130.0, 2.0, 10.0), [ONE, TWO, ONE])
    assert (spent.joules, spent.by_problem) == (None, ())
    assert "went back by 128 J" in spent.detail


@pytest.mark.parametrize("reading", [float("nan"), float("inf")])
def test_a_counter_that_reads_no_number_voids_the_cycle(reading: float) -> None:
    spent = spend(Counter(100.0, reading, 300.0), [ONE, TWO])
    assert (spent.joules, spent.by_problem) == (None, ())
    assert "the counter read" in spent.detail


def test_a_counter_that_stands_still_is_no_free_cycle() -> None:
    spent = spend(Counter(100.0, 100.0, 100.0), [ONE, TWO])
    assert (spent.joules, spent.by_problem) == (None, ())
    assert "did not change" in spent.detail


def test_a_failed_read_voids_the_cycle_and_says_why() -> None:
    spent = spend(Counter(100.0, BusyError("nobody answered"), 300.0), [ONE, TWO])
    assert spent.joules is None
    assert "nobody answered" in spent.detail


def test_a_target_without_a_meter_is_unmetered() -> None:
    tally = NodeMeter.of(TableDevice(), alone=True).tally()
    tally.lap(ONE)
    assert tally.spent() == Spent(detail="the table target has no meter")


def test_a_figure_and_a_reason_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="either joules or why"):
        Spent(joules=3.0, detail="no")
    with pytest.raises(ValueError, match="either joules or why"):
        Spent(detail="")
    with pytest.raises(ValueError, match="joules have a source"):
        Spent(joules=3.0, detail="")
