"""A node's loop where joules count: who is metered, what is learned, and who wins."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from actors.drive import drive
from actors.node_loop import NodeLoop, Plan
from cluster.config import ProblemConfig
from cluster.finale import finalists
from quasim.energy.aimed import aimed
from quasim.energy.objective import LATENCY, Objective
from quasim.errors import ConfigError
from quasim.search import strategy
from quasim.trial import EnergySource, Genome, Problem, Trial
from storage.schemas import Stage
from tests.actors.bench_device import PROBLEM, SPACE, TableDevice

ENERGY = Objective("energy")


class MeteredTable(TableDevice):
    """A table of times whose packed variants draw twice the power: the fastest is not the one of fewest joules."""

    def __init__(self, change_at: int | None = None) -> None:
        super().__init__(change_at)
        self.read: list[Genome] = []

    def meter(self, problem: Problem, genomes: Sequence[Genome], window_ns: int) -> list[Trial]:
        self.read += genomes
        return [self._metered(trial) for trial in self.evaluate(problem, genomes)]

    def _metered(self, trial: Trial) -> Trial:
        joules = trial.time_ns / 1e9 * (600.0 if trial.genome["pack"] else 300.0)
        source = EnergySource.COUNTER
        return msgspec.structs.replace(trial, energy_j=joules, energy_source=source) if trial.timing else trial


def loop(objective: Objective = ENERGY, seed: int = 1) -> NodeLoop:
    search = aimed(strategy("evolution", SPACE, seed), objective)
    return NodeLoop("node-0", "table", [Plan(PROBLEM, SPACE, search, "node-0/0", objective)], 8, recheck=2)


def test_the_variant_of_fewest_joules_wins_though_another_is_faster() -> None:
    node, device = loop(), MeteredTable()
    for cycle in range(5):
        drive(node, device, cycle)
    (best,) = node.best(PROBLEM, 1)
    assert best.genome == Genome({"tile": 8, "unroll": 3, "pack": False})
    assert best.energy_j == pytest.approx(1050e-9 * 300)
    assert min(trial.time_ns for trial in node.known(PROBLEM)) == 1000.0


def test_joules_are_read_of_few_and_of_none_twice_in_vain() -> None:
    node, device = loop(), MeteredTable()
    records = [drive(node, device, cycle) for cycle in range(4)]
    searched = sum(len(record.problems[0].searched) for record in records)
    assert 0 < len(device.read) < searched
    assert len(set(device.read)) == len(device.read)
    metered = [trial for record in records for trial in record.problems[0].metered]
    assert [trial.genome for trial in metered] == device.read
    stages = [stage for record in records for stage, trial in record.stages() if trial in metered]
    assert set(stages) == {Stage.PLAYOFF}


def test_a_recheck_does_not_wipe_out_joules() -> None:
    node, device = loop(), MeteredTable()
    for cycle in range(3):
        drive(node, device, cycle)
    rechecked = drive(node, device, 3).problems[0].rechecked
    assert rechecked
    assert all(trial.energy_j is None for trial in rechecked)
    known = {trial.genome: trial for trial in node.known(PROBLEM)}
    assert known[rechecked[0].genome].energy_j is not None


def test_a_device_without_a_meter_is_tuned_by_time_and_shows_no_joules() -> None:
    node, device = loop(), TableDevice()
    records = [drive(node, device, cycle) for cycle in range(5)]
    assert all(not record.problems[0].metered for record in records)
    assert all(trial.energy_j is None for trial in node.known(PROBLEM))
    assert node.best(PROBLEM, 1)[0].time_ns == min(trial.time_ns for trial in node.known(PROBLEM))


def test_where_time_alone_counts_nothing_is_metered() -> None:
    device = MeteredTable()
    drive(loop(LATENCY), device, 0)
    assert device.read == []


def test_a_restored_loop_goes_on_as_if_never_stopped() -> None:
    node = loop()
    for cycle in range(2):
        drive(node, MeteredTable(), cycle)
    again = loop(seed=7)
    again.restore(node.state())
    expected = [part.searched for part in drive(node, MeteredTable(), 2).problems]
    assert [part.searched for part in drive(again, MeteredTable(), 2).problems] == expected


def test_finalists_of_several_devices_take_turns_where_joules_count() -> None:
    device = MeteredTable()
    genomes = [SPACE.genome_at(cell) for cell in range(6)]
    slow, fast = device.evaluate(PROBLEM, genomes[:2]), device.evaluate(PROBLEM, genomes[2:])
    assert finalists([slow, fast], ENERGY)[:3] == [genomes[0], genomes[2], genomes[1]]
    times = {trial.genome: trial.time_ns for trial in [*slow, *fast]}
    by_time = [times[genome] for genome in finalists([slow, fast], LATENCY)]
    assert by_time == sorted(by_time)


def test_a_problem_says_what_it_is_tuned_for() -> None:
    assert ProblemConfig("softmax", "rows=8,cols=8").aim == LATENCY
    assert ProblemConfig("softmax", "rows=8,cols=8", "weighted", 0.5).aim == Objective("weighted", 0.5)
    with pytest.raises(ConfigError, match="energy_weight"):
        ProblemConfig("softmax", "rows=8,cols=8", "energy", 0.5)
