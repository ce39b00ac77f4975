"""Rows and bars of the headline, from figures that stand for measurements; what runs is in the target's space."""

from __future__ import annotations

import argparse
import math
from dataclasses import replace

import pytest

from benchmarks.gpu_headline import (
    BASE,
    OURS,
    SIDES,
    UNTUNED,
    Judged,
    Shown,
    class_bars,
    class_rows,
    contestant_rows,
    genomes,
    headline_bars,
    joules,
    options,
    saving,
    untuned,
)
from quasim.kernels.accuracy import Errors
from quasim.meters import Energy
from quasim.targets.triton.space import space
from quasim.trial import EnergySource, Problem

GOOD = Errors(3e-7, 1e-7)


def energy(j: float, spread: float = 0.02) -> Energy:
    return Energy(j_per_op=j, low=j * (1 - spread), high=j * (1 + spread), source=EnergySource.COUNTER, power_w=500.0)


def shown(ns: int, j: float | None) -> Shown:
    return Shown(tuple((ns, ns + 1) for _ in range(7)), GOOD, None if j is None else energy(j), "genome")


def judged(ours: Errors, base: Errors, data: str = "normal") -> Judged:
    return Judged(data, ours, base, 800_000.0, 2_600_000.0, refused="")


def test_bars_are_reached_by_three_times_the_speed_at_half_the_joules() -> None:
    found = {BASE: shown(2_660_000, 1.78), OURS: shown(850_000, 0.6)}
    assert [bar.ok for bar in headline_bars(4096, found)] == [True, True, True]


def test_bars_are_missed_by_less() -> None:
    found = {BASE: shown(2_660_000, 1.78), OURS: shown(900_000, 1.1)}
    assert [bar.ok for bar in headline_bars(4096, found)] == [False, False, False]


@pytest.mark.parametrize("ours", [None, shown(850_000, None)])
def test_what_was_not_measured_is_missed(ours: Shown | None) -> None:
    found = {BASE: shown(2_660_000, 1.78)} | ({OURS: ours} if ours else {})
    assert [bar.ok for bar in headline_bars(4096, found)] == [ours is not None, False, False]


def test_saving_is_held_against_the_unfavourable_ends() -> None:
    assert saving(energy(0.5, 0.1), energy(1.0, 0.1)) == pytest.approx(1 - 0.55 / 0.9)
    assert joules(energy(0.5), energy(1.0)) == pytest.approx(0.5)
    assert saving(Energy(voided="throttled"), energy(1.0)) is None
    assert joules(None, energy(1.0)) is None


def test_errors_are_held_against_cublas_and_against_a_millionth() -> None:
    assert all(bar.ok for bar in class_bars(4096, [judged(GOOD, Errors(1.1e-6, 2e-7))]))
    worse = judged(Errors(2e-6, 3e-7), Errors(1e-7, 2e-7))
    assert not any(bar.ok for bar in class_bars(4096, [worse]))


def test_the_bar_of_a_millionth_is_the_same_on_every_class() -> None:
    cancelling = judged(Errors(1e-3, 1e-7), Errors(4e-3, 2e-7), "cancelling")
    assert [bar.ok for bar in class_bars(4096, [cancelling])] == [False, True]


def test_no_class_judged_is_a_bar_missed() -> None:
    assert [bar.ok for bar in class_bars(4096, [])] == [False]


def test_rows_hold_what_was_measured_and_none_for_what_was_not() -> None:
    base, ours = contestant_rows(4096, {BASE: shown(2_660_000, 1.78), OURS: shown(850_000, None)})
    assert base["speed"] == 1.0
    assert ours["J"] is None
    assert ours["joules"] is None
    assert ours["energy"] is None
    (row,) = class_rows(4096, [judged(Errors(math.inf, math.inf), GOOD)])
    assert row["error (Frobenius)"] is None
    assert row["speed"] == pytest.approx(3.25)
    assert (row["plan"], row["refused by"]) == ("fp16x2", None)
    (row,) = class_rows(4096, [replace(judged(GOOD, GOOD), refused="verification")])
    assert (row["plan"], row["refused by"]) == ("fp64", "verification")


@pytest.mark.parametrize("side", SIDES)
def test_every_schedule_that_is_tried_is_in_the_space(side: int) -> None:
    known = space(Problem.of("matmul", m=side, n=side, k=side), "sm_90")
    for name, tried in (genomes() | {UNTUNED: [untuned()]}).items():
        assert tried, name
        assert all(known.contains(genome) for genome in tried), name


def test_command_line_takes_sides() -> None:
    parser = argparse.ArgumentParser()
    options(parser)
    assert parser.parse_args(["--side", "4096", "--side", "512"]).side == [4096, 512]
