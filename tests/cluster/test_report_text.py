from __future__ import annotations

import pytest

from cluster.campaign import Payback
from cluster.report_text import FRONT_ROWS, energy_text, front_text, introspection_text, joules_text, payback_text
from quasim.trial import Introspection
from tests.cluster.test_campaign import trial
from tests.quasim.search.test_pareto import tried


@pytest.mark.parametrize(
    ("joules", "text"), [(31_540.0, "31.5 kJ"), (0.486, "486 mJ"), (2.5, "2.5 J"), (3.2e-6, "3.2 µJ"), (0.0, "0 µJ")]
)
def test_joules_have_a_fitting_unit(joules: float, text: str) -> None:
    assert joules_text(joules) == text


def test_energy_of_a_launch_names_source_and_interval_or_why_there_is_none() -> None:
    assert energy_text(trial(0.5, half=0.25)) == "500 mJ (counter) [250 mJ, 750 mJ]"
    assert energy_text(trial(None)) == "unmetered"
    assert energy_text(trial(None, detail="window voided")) == "unmetered: window voided"
    assert energy_text(trial(None, detail="unmetered: window voided")) == "unmetered: window voided"


def test_introspection_says_of_each_figure_who_says_so() -> None:
    made = Introspection(registers=168, local_bytes=0, occupancy=0.25, flops_per_s=6.5e14)
    assert introspection_text(made) == (
        "168 registers (compiler), 0 B local (compiler), 25% occupancy (derived), 650 TFLOP/s (derived)"
    )
    assert introspection_text(Introspection()) == "not known"


def test_every_figure_of_an_introspection_is_written() -> None:
    fields = Introspection.__struct_fields__
    assert introspection_text(Introspection(**dict.fromkeys(fields, 1))).count("(") == len(fields)


def test_payback_is_a_number_of_launches_or_a_reason() -> None:
    assert payback_text(Payback(150.0, 0.5, 0.25, 600, "")).endswith("default 500 mJ; paid back after 600 launches")
    assert payback_text(Payback(150.0, 0.5, 0.5, None, "no gain")) == "150 J; a launch: 500 mJ, default 500 mJ; no gain"
    assert payback_text(Payback(None, None, None, None, "no meter")) == "unmetered: no meter"


def test_front_names_what_each_trial_is_best_at() -> None:
    trials = [tried(100.0, 4.0), tried(150.0, 2.0), tried(200.0, 1.9)]
    rows = dict(front_text(trials))
    assert list(rows) == ["front: fastest", "front: least energy-delay product", "front: fewest joules"]
    assert rows["front: fastest"] == "0.0001 ms [0.0001, 0.0001], 4 J, error 1.00e-07: at=0"


def test_long_front_is_cut_and_says_so() -> None:
    trials = [tried(100.0 + at, None, 1e-7 / (1 + at)) for at in range(FRONT_ROWS + 3)]
    rows = list(front_text(trials))
    assert len(rows) == FRONT_ROWS + 1
    assert rows[-1] == ("front", "and 3 more, see --json")
    assert all("unmetered" in text for _, text in rows[:-1])


def test_front_is_not_shown_where_it_says_nothing() -> None:
    assert list(front_text([tried(100.0, 1.0)])) == []
    assert list(front_text([tried(100.0, None, None), tried(101.0, None, None)])) == []
