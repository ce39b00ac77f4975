"""The parts of the advise benchmark that need no GPU: savings, and the simulated half of its ablation."""

from __future__ import annotations

import pytest

from benchmarks.gpu_advise import (
    DEFAULT,
    FUNCTION,
    OURS,
    PRIMITIVES,
    PROBLEMS,
    Found,
    Noting,
    _ablation,
    _bars,
    _middle,
)
from quasim.energy import Caps, Observation, Wanted
from quasim.energy.loop import Regulated
from quasim.energy.plant import Physics
from quasim.energy.regulator import DeviceRegulator
from quasim.meters import Energy
from quasim.trial import EnergySource, Genome

CAPS = Physics().caps


def energy(joules: float, watts: float = 500.0) -> Energy:
    return Energy(j_per_op=joules, low=0.98 * joules, high=1.02 * joules, source=EnergySource.COUNTER, power_w=watts)


def found(ours: float, function: float | None, primitives: float) -> Found:
    none = Energy(voided="no library computes it")
    energies = {
        OURS: energy(ours),
        DEFAULT: energy(1.1 * ours),
        FUNCTION: none if function is None else energy(function),
        PRIMITIVES: energy(primitives),
    }
    return Found(PROBLEMS["softmax"], Genome({"a": 1}), energies, 1.0, 3, Regulated(detail="not asked"))


def test_pytorchs_own_operation_is_its_function_where_it_has_one() -> None:
    assert found(1.0, 1.3, 5.0).own == FUNCTION
    assert found(1.0, None, 5.0).own == PRIMITIVES


def test_a_saving_counts_by_its_lower_end() -> None:
    saved = found(1.0, 2.0, 5.0).saving(FUNCTION)
    assert saved is not None
    assert saved[0] == 0.5
    assert saved[1] == pytest.approx(1 - 1.02 / 1.96)
    assert found(1.0, None, 5.0).saving(FUNCTION) is None


def test_three_families_must_save_enough() -> None:
    good, poor = found(1.0, None, 5.0), found(1.0, 1.3, 5.0)
    assert _bars([good, good, good, poor])[0].ok
    assert not _bars([good, good, poor, poor])[0].ok


def test_the_middle_window_stands_for_all_with_an_interval_that_holds_them() -> None:
    middle = _middle([energy(1.0), energy(3.0), energy(2.0), Energy(voided="the counter did not change")])
    assert (middle.j_per_op, middle.low) == (2.0, 0.98)
    assert middle.high == pytest.approx(3.06)
    assert _middle([Energy(voided="no")]).voided == "no"
    assert _middle([]).voided


def test_a_cap_saves_by_the_model_and_what_was_not_measured_has_no_figure() -> None:
    caps, learned = CAPS, DeviceRegulator(CAPS, Wanted()).snapshot()
    row = _ablation(found(1.0, 2.0, 5.0), caps, learned, 70.0)
    measured, capped, both = (row[f"{name}"] for name in _columns(row))
    assert isinstance(capped, float)
    assert isinstance(both, float)
    assert measured == 1.0
    assert 1.0 < capped < 2.0
    assert both <= 1.0
    unknown = _ablation(found(1.0, 2.0, 5.0), caps, learned, None)
    assert [unknown[name] for name in _columns(unknown)][1:] == [None, None]


def _columns(row: object) -> list[str]:
    assert isinstance(row, dict)
    return [name for name in row if "only" in name or "both" in name]


def test_turns_are_kept_with_what_was_seen() -> None:
    noting = Noting(DeviceRegulator(Caps(200.0, 700.0, 700.0, slowdown_c=87.0), Wanted()))
    seen = Observation(1, 300.5, 50.0, 1500.0, False)
    action = noting.step(seen, 1)
    noting.step(None, 2)
    assert (noting.turns[0].seen, noting.turns[0].action) == (seen, action)
    assert noting.turns[1].seen is None
    noting.restore(noting.state())
    assert noting.snapshot().law == "predictive"
