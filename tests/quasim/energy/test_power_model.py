from __future__ import annotations

import math

import numpy as np
import pytest

from quasim.energy import Caps, ClockRun, PowerModel, fit, next_clock, propose
from quasim.energy.power_model import LEAST_CLOCKS
from quasim.errors import DataError

CAPS = Caps(200.0, 700.0, 700.0, 345.0, 1980.0)
CLOCKS = [float(clock) for clock in range(345, 1981, 15)]
TRUE = PowerModel(
    still_w=120.0,
    dynamic_w_per_mhz=0.16,
    knee_mhz=1290.0,
    rise_per_mhz=0.0004,
    top_w=700.0,
    fixed_s=0.0,
    megacycles=2.0,
    error=0.0,
)
"""Made up, with an H100's clocks and limits."""


def _device(rng: np.random.Generator) -> PowerModel:
    """Any device and kernel that the model can describe: static power, knee, voltage and share of memory vary."""
    return PowerModel(
        still_w=rng.uniform(60, 180),
        dynamic_w_per_mhz=rng.uniform(0.08, 0.2),
        knee_mhz=rng.uniform(700, 1600),
        rise_per_mhz=rng.uniform(0.0003, 0.001),
        top_w=700.0,
        fixed_s=rng.uniform(0, 1e-3),
        megacycles=rng.uniform(0.5, 3.0),
        error=0.0,
    )


def _run(device: PowerModel, clock: float, rng: np.random.Generator | None = None, noise: float = 0.01) -> ClockRun:
    spread = 1.0 if rng is None else float(rng.normal(1.0, noise))
    return ClockRun(clock, min(device.top_w, device.power_w(clock) * spread), device.seconds(clock))


def _steered(device: PowerModel, rng: np.random.Generator | None) -> list[ClockRun]:
    runs: list[ClockRun] = []
    while (clock := next_clock(runs, CAPS, CLOCKS)) is not None:
        runs.append(_run(device, clock, rng))
    return runs


def test_the_curve_of_a_device_is_found_from_a_few_exact_runs() -> None:
    model = fit([_run(TRUE, clock) for clock in (345.0, 800.0, 1290.0, 1500.0, 1750.0, 1980.0)], 700.0)
    assert model.error < 0.002
    for clock in CLOCKS:
        assert model.power_w(clock) == pytest.approx(TRUE.power_w(clock), rel=0.02)
        assert model.seconds(clock) == pytest.approx(TRUE.seconds(clock), rel=1e-6)


def test_a_few_steered_runs_find_a_clock_that_mostly_costs_within_two_percent_of_the_best() -> None:
    rng = np.random.default_rng(11)
    needed, excess = [], []
    for _ in range(40):
        device = _device(rng)
        runs = _steered(device, rng)
        chosen = propose(fit(runs, CAPS.power_max_w), CAPS, CLOCKS).clock_cap_mhz
        needed.append(len(runs))
        excess.append(device.joules(chosen) / min(map(device.joules, CLOCKS)) - 1)
    assert float(np.median(needed)) <= 8
    assert max(needed) <= 14
    assert float(np.median(excess)) <= 0.005
    assert float(np.quantile(excess, 0.9)) <= 0.02
    assert max(excess) <= 0.06


def test_the_proposal_says_the_same_by_both_hands_and_what_it_costs() -> None:
    proposal = propose(TRUE, CAPS, CLOCKS)
    assert proposal.power_cap_w == pytest.approx(TRUE.power_w(proposal.clock_cap_mhz))
    assert proposal.saves == pytest.approx(1 - TRUE.joules(proposal.clock_cap_mhz) / TRUE.joules(1980.0))
    assert proposal.slows == pytest.approx(1980.0 / proposal.clock_cap_mhz - 1)
    assert proposal.saves > 0.1


def test_an_operation_is_not_made_slower_than_allowed() -> None:
    assert propose(TRUE, CAPS, CLOCKS, slowest=0.12).slows <= 0.12
    assert propose(TRUE, CAPS, CLOCKS, slowest=0.0).clock_cap_mhz == 1980.0


def test_a_proposed_power_cap_is_one_that_the_device_has() -> None:
    tight = Caps(500.0, 520.0, 510.0, 345.0, 1980.0)
    assert propose(TRUE, tight, CLOCKS).power_cap_w == 500.0


def test_a_kernel_that_waits_for_memory_gets_a_lower_clock() -> None:
    bound = [ClockRun(clock, TRUE.power_w(clock), 1e-3) for clock in (345.0, 890.0, 1435.0, 1980.0)]
    model = fit(bound, 700.0)
    assert model.megacycles == pytest.approx(0.0, abs=1e-9)
    assert propose(model, CAPS, CLOCKS).clock_cap_mhz == 345.0


def test_runs_at_the_power_limit_do_not_bend_the_curve() -> None:
    hungry = PowerModel(150.0, 0.35, 900.0, 0.0006, 700.0, 0.0, 2.0, 0.0)
    assert hungry.power_w(1980.0) == 700.0
    clocks = (345.0, 600.0, 900.0, 1100.0, 1250.0, 1600.0, 1980.0)
    model = fit([_run(hungry, clock) for clock in clocks], 700.0)
    for clock in clocks[:4]:
        assert model.power_w(clock) == pytest.approx(hungry.power_w(clock), rel=0.02)
    assert model.power_w(1980.0) == 700.0


def test_where_many_clocks_hit_the_power_limit_lower_ones_are_asked_for() -> None:
    hungry = PowerModel(150.0, 0.6, 700.0, 0.001, 700.0, 0.0, 2.0, 0.0)
    runs = _steered(hungry, None)
    assert sum(run.power_w < 0.99 * 700.0 for run in runs) >= LEAST_CLOCKS
    assert len(runs) <= 12


def test_a_device_that_is_held_at_every_clock_has_nothing_to_teach() -> None:
    low = Caps(20.0, 30.0, 30.0)
    assert next_clock([ClockRun(345.0, 30.0, 1.0)], low, CLOCKS) is None


def test_too_few_clocks_are_refused_with_what_to_do() -> None:
    with pytest.raises(DataError, match="4 different clocks"):
        fit([_run(TRUE, 1000.0)] * 5, 700.0)
    with pytest.raises(DataError, match="clocks"):
        propose(TRUE, CAPS, [])


@pytest.mark.parametrize("figures", [(0.0, 1.0, 1.0), (1.0, math.nan, 1.0), (1.0, 1.0, math.inf)])
def test_a_run_has_figures(figures: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="not a run"):
        ClockRun(*figures)
