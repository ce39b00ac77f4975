from __future__ import annotations

from actors.energy import Spent
from actors.node_events import CycleRecord
from cluster.campaign import campaign_energy, payback
from quasim.trial import EnergySource, Genome, Problem, Status, Timing, Trial

A, B = Problem.of("a", n=1), Problem.of("b", n=1)


def record(node: str, cycle: int, a: float, b: float, above: float | None = None, device: str = "") -> CycleRecord:
    spent = Spent(device or f"GPU of {node}", a + b, above, ((A, a), (B, b)), "", EnergySource.COUNTER)
    return CycleRecord(node, cycle, 0, (), spent)


def trial(energy_j: float | None, half: float = 0.0, detail: str = "") -> Trial:
    source = EnergySource.UNMETERED if energy_j is None else EnergySource.COUNTER
    low, high = (None, None) if energy_j is None else (energy_j - half, energy_j + half)
    return Trial(
        problem=A,
        target="t",
        genome=Genome({}),
        status=Status.OK,
        timing=Timing(1.0, 1.0, 1.0, 1),
        energy_j=energy_j,
        energy_source=source,
        energy_low_j=low,
        energy_high_j=high,
        detail=detail,
    )


RECORDS = [record("x", 0, 100.0, 50.0, 60.0), record("x", 1, 10.0, 5.0, 6.0), record("y", 0, 40.0, 2.0, 3.0)]


def test_joules_add_up_over_cycles_and_nodes() -> None:
    campaign = campaign_energy(RECORDS)
    assert [(n.node, n.joules, n.above_idle_j) for n in campaign.nodes] == [("x", 165.0, 66.0), ("y", 42.0, 3.0)]
    assert (campaign.joules, campaign.above_idle_j, campaign.detail) == (207.0, 69.0, "")


def test_one_cycle_without_a_figure_leaves_no_sum_but_says_which() -> None:
    campaign = campaign_energy([*RECORDS, CycleRecord("y", 1, 0, (), Spent(detail="GPU lost"))])
    assert campaign.joules is None
    assert campaign.detail == "y: cycle 1: GPU lost"
    assert campaign.nodes[0].joules == 165.0


def test_an_unknown_idle_power_leaves_the_gross_sum_alone() -> None:
    campaign = campaign_energy([*RECORDS, record("y", 1, 1.0, 1.0)])
    assert (campaign.joules, campaign.above_idle_j) == (209.0, None)


def test_nodes_that_share_a_counter_are_not_added_up() -> None:
    campaign = campaign_energy([record("x", 0, 1.0, 1.0, device="GPU-7"), record("y", 0, 1.0, 1.0, device="GPU-7")])
    assert campaign.joules is None
    assert "share GPU-7" in campaign.detail


def test_the_winner_pays_back_what_all_nodes_spent_on_its_problem() -> None:
    paid = payback(RECORDS, A, trial(0.25), trial(0.5))
    assert (paid.spent_j, paid.winner_j, paid.default_j) == (150.0, 0.25, 0.5)
    assert paid.runs == 600
    assert paid.detail == ""


def test_a_started_launch_counts_whole() -> None:
    assert payback(RECORDS, A, trial(1.0), trial(8.0)).runs == 22


def test_a_winner_that_saves_nothing_never_pays_back() -> None:
    paid = payback(RECORDS, A, trial(0.5), trial(0.5))
    assert (paid.runs, paid.spent_j) == (None, 150.0)
    assert "saves nothing" in paid.detail


def test_a_saving_within_the_meters_intervals_is_no_saving() -> None:
    assert payback(RECORDS, A, trial(0.25, half=0.15), trial(0.5, half=0.15)).runs is None
    assert payback(RECORDS, A, trial(0.25, half=0.1), trial(0.5, half=0.1)).runs == 600
    assert payback(RECORDS, A, trial(0.25, half=0.1), trial(0.5, half=0.5)).runs is None


def test_what_is_not_metered_is_said() -> None:
    unmetered = [CycleRecord("x", 0, 0, (), Spent(detail="the c target has no meter"))]
    assert "no meter" in payback(unmetered, A, trial(0.25), trial(0.5)).detail
    assert (
        "default was not metered: window voided"
        in payback(RECORDS, A, trial(0.25), trial(None, detail="unmetered: window voided")).detail
    )
    assert "winner was not metered" in payback(RECORDS, A, trial(None), trial(0.5)).detail
    assert payback(RECORDS, A, None, trial(0.5)).detail == "there is no winner"
    assert payback(RECORDS, A, trial(0.25), None).detail == "there is no default"


def test_a_sum_is_worth_no_more_than_its_weakest_part() -> None:
    integrated = Spent("GPU of y", 5.0, None, ((A, 5.0),), "", EnergySource.INTEGRATED)
    campaign = campaign_energy([record("x", 0, 1.0, 1.0), CycleRecord("y", 0, 0, (), integrated)])
    assert campaign.source is EnergySource.INTEGRATED
