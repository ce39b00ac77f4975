from __future__ import annotations

import msgspec
import pytest

from actors.drive import drive
from actors.node_events import CycleStarted, Measure, Measured
from actors.node_loop import NodeLoop, Plan
from aggregation.catalogue import Catalogue
from aggregation.distill import local_update, refine
from quasim.errors import DataError
from quasim.policy import Policy
from quasim.prior import VETERAN
from quasim.search import strategy
from quasim.trial import Status, Trial
from tests.actors.bench_device import PROBLEM, SPACE, TableDevice, true_ns

SPACES = {("table", PROBLEM): SPACE}


def make_loop(seed: int = 1, evaluations: int = 5, name: str = "evolution") -> NodeLoop:
    return NodeLoop("node-0", "table", [Plan(PROBLEM, SPACE, strategy(name, SPACE, seed))], evaluations, recheck=2)


def fleet_policy(trials: list[Trial]) -> Policy:
    catalogue = Catalogue.of(SPACES)
    vector = local_update(catalogue, SPACES, trials)
    return refine(None, catalogue, vector, federation="f", cycle=0, participants=1, protocol="plain")


def test_first_cycle_searches_and_later_ones_recheck_the_elites_first() -> None:
    loop, device = make_loop(), TableDevice()
    first = drive(loop, device, 0)
    second = drive(loop, device, 1)
    assert first.problems[0].rechecked == ()
    assert len(first.problems[0].searched) == 5
    assert [t.genome for t in second.problems[0].rechecked] == [
        t.genome for t in sorted(first.problems[0].searched, key=lambda t: t.time_ns)[:2]
    ]


def test_same_seed_and_same_times_give_the_same_records() -> None:
    runs = []
    for _ in range(2):
        loop, device = make_loop(), TableDevice()
        runs.append([drive(loop, device, cycle) for cycle in range(6)])
    assert runs[0] == runs[1]


def test_a_restored_loop_goes_on_as_if_never_stopped() -> None:
    loop, device = make_loop(), TableDevice()
    for cycle in range(3):
        drive(loop, device, cycle)
    saved = loop.state()
    expected = [drive(loop, device, cycle) for cycle in range(3, 6)]
    again = make_loop(seed=99)
    again.restore(saved)
    assert [drive(again, TableDevice(), cycle) for cycle in range(3, 6)] == expected


def test_a_changed_device_is_noticed_and_the_new_optimum_found() -> None:
    loop, device = make_loop(evaluations=8), TableDevice(change_at=3)
    records = [drive(loop, device, cycle) for cycle in range(8)]
    assert [r.problems[0].drifted for r in records[:3]] == [False] * 3
    assert records[3].problems[0].drifted
    assert not any(r.problems[0].drifted for r in records[4:])
    best = loop.best(PROBLEM, 1)[0].genome
    assert true_ns(best, changed=True) <= 1.05 * 1000.0


def test_failed_trials_are_kept_as_data_and_never_chosen() -> None:
    loop, device = make_loop(evaluations=40), TableDevice()
    record = drive(loop, device, 0)
    assert any(t.status is Status.CRASHED for t in record.problems[0].searched)
    assert record.problems[0].best is not None
    assert record.problems[0].best["tile"] != 16


def test_an_exhausted_space_finishes_its_cycles_without_new_genomes() -> None:
    loop, device = make_loop(evaluations=SPACE.size), TableDevice()
    drive(loop, device, 0)
    assert drive(loop, device, 1).problems[0].searched == ()


def test_a_joining_node_tries_the_fleets_candidates_first() -> None:
    veteran, device = make_loop(evaluations=30), TableDevice()
    drive(veteran, device, 0)
    policy = fleet_policy(veteran.all_known())
    joiner = make_loop(seed=7)
    joiner.cycle = 4
    joiner.adopt(policy)
    record = drive(joiner, device, 5)
    best = min(true_ns(t.genome, False) for t in veteran.all_known() if t.status is Status.OK)
    assert record.problems[0].searched[0].time_ns == best
    assert record.policy_version == policy.version


def test_a_node_with_trials_takes_one_candidate_and_searches_on() -> None:
    veteran, device = make_loop(evaluations=30), TableDevice()
    drive(veteran, device, 0)
    other = make_loop(seed=5)
    drive(other, device, 0)
    known = {t.genome for t in other.all_known()}
    other.adopt(fleet_policy(veteran.all_known()))
    asked = [t.genome for t in drive(other, device, 1).problems[0].searched]
    untried = [t.genome for t in veteran.best(PROBLEM, 40) if t.genome not in known]
    assert asked[0] == untried[0]
    assert len(asked) == 5


@pytest.mark.parametrize(("searched", "leans"), [(VETERAN - 1, True), (VETERAN, False)])
def test_a_node_that_has_searched_a_generation_of_its_own_leans_on_scores_no_more(searched: int, leans: bool) -> None:
    other, device = make_loop(evaluations=30), TableDevice()
    drive(other, device, 0)
    node = make_loop(seed=5, evaluations=searched)
    drive(node, device, 0)
    node.adopt(fleet_policy(other.all_known()))
    assert (msgspec.json.decode(node.plans[0].strategy.state())["prior"] is not None) == leans


def test_events_that_do_not_fit_are_refused() -> None:
    loop = make_loop()
    with pytest.raises(DataError, match="no cycle runs"):
        loop.handle(Measured(()))
    [instruction] = loop.handle(CycleStarted(0))
    assert isinstance(instruction, Measure)
    with pytest.raises(DataError, match="cannot start"):
        loop.handle(CycleStarted(1))


def test_a_state_of_another_config_is_refused() -> None:
    loop = make_loop()
    empty = NodeLoop("node-0", "table", [], 5, recheck=2)
    with pytest.raises(DataError, match="problems"):
        empty.restore(loop.state())
