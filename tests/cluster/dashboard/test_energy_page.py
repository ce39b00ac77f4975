from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from actors.energy import Spent
from actors.node_events import CycleRecord
from cluster.dashboard.energy_page import energy_view
from cluster.dashboard.names import Names
from cluster.dashboard.run_reader import RunReader
from cluster.dashboard.telemetry import NOT_YET, KernelJoules, Telemetry
from cluster.run_folder import RunFolder
from cluster.run_log import FleetCycle, MoveLog
from quasim.codec import from_json, to_json
from quasim.energy.loop import Regulated
from quasim.energy.migration import Move
from quasim.trial import EnergySource, Genome, Status, Timing, Trial
from storage.files import write_atomic
from tests.cluster.dashboard.small_run import SmallRun, write_end


@pytest.fixture
def metered(small_run: SmallRun, tmp_path: Path) -> RunReader:
    """The small run, had its nodes had meters: 30 and 20 J in every cycle."""
    folder = RunFolder(shutil.copytree(small_run.folder.path, tmp_path / "run"))
    for path in folder.cycle_files():
        done = from_json(path.read_bytes(), FleetCycle)
        records = tuple(map(with_meter, done.records, (30.0, 20.0)))
        move = Move("node-0/0", "node-0", "node-1", 40.0, 0.5, 3.0, 1.0)
        moves = (MoveLog(move, False, "migration is set to advise"),)
        write_atomic(path, to_json(msgspec.structs.replace(done, records=records, moves=moves)))
    run = RunReader(folder.path)
    run.refresh({"live", "events", "log"})
    return run


def with_meter(record: CycleRecord, joules: float) -> CycleRecord:
    [part] = record.problems
    spent = Spent(
        device=f"GPU of {record.node}",
        joules=joules,
        above_idle_j=joules - 5,
        by_problem=((part.problem, joules - 1),),
        detail="",
        source=EnergySource.COUNTER,
    )
    seen = Regulated(
        device="GPU",
        source=EnergySource.COUNTER,
        samples=10,
        mean_power_w=200.0 + record.cycle,
        last_cap_w=300.0,
        top_temperature_c=60.0,
        reasons=(("power", 3),),
    )
    return msgspec.structs.replace(record, spent=spent, regulated=seen)


def test_joules_are_summed_by_kernel_over_nodes_and_cycles(metered: RunReader) -> None:
    energy = energy_view(metered, Names(), NOT_YET)
    assert (energy.joules, energy.above_idle_j, energy.source, energy.why) == (150.0, 120.0, "counter", "")
    assert {kernel.kernel: kernel.spent_j for kernel in energy.kernels} == {"matmul": 144.0}
    assert [node.joules for node in energy.nodes] == [90.0, 60.0]
    assert energy_view(metered, Names(), NOT_YET, until=0).joules == 50.0


def test_what_regulation_saw_stands_by_cycle(metered: RunReader) -> None:
    first, second = energy_view(metered, Names(), NOT_YET).regulation
    assert (first.node, second.node) == ("node-0", "node-1")
    assert first.mean_power_w == (200.0, 201.0, 202.0)
    assert (first.cap_w, first.top_temperature_c, first.cycle) == ((300.0,) * 3, (60.0,) * 3, (0, 1, 2))
    assert (first.mode, first.source, first.writes, first.reasons, first.why) == (
        "advise",
        "counter",
        0,
        (("power", 9),),
        "",
    )


def test_moves_say_what_became_of_them(metered: RunReader) -> None:
    moves = energy_view(metered, Names(), NOT_YET).moves
    assert [move.cycle for move in moves] == [0, 1, 2]
    assert (moves[0].task, moves[0].source, moves[0].target, moves[0].made) == ("node-0/0", "node-0", "node-1", False)
    assert moves[0].why == "migration is set to advise"


def test_joules_of_nodes_that_share_a_counter_are_not_added(metered: RunReader) -> None:
    for path in metered.folder.cycle_files():
        path.write_bytes(path.read_bytes().replace(b"GPU of node-1", b"GPU of node-0"))
    run = RunReader(metered.folder.path)
    run.refresh({"log"})
    energy = energy_view(run, Names(), NOT_YET)
    assert energy.joules is None
    assert "share" in energy.why
    assert [kernel.spent_j for kernel in energy.kernels] == [None]


def test_joules_of_a_kernel_that_no_finished_cycle_tuned_are_not_known(metered: RunReader) -> None:
    launched = KernelJoules("softmax", 3, 3, 0.1, 0.2, "counter")
    kernels = energy_view(metered, Names(), Telemetry(3, (), (launched,), ())).kernels
    assert [(kernel.kernel, kernel.spent_j) for kernel in kernels] == [("matmul", 144.0), ("softmax", None)]


def test_what_winners_save_names_the_source_of_each_joule(metered: RunReader, small_run: SmallRun) -> None:
    winner, default = (launch(small_run, time_ns) for time_ns in (1e6, 2e6))
    write_end(metered.folder, small_run.problem, (winner, default))
    run = RunReader(metered.folder.path)
    run.refresh({"log"})
    [saving] = energy_view(run, Names(), NOT_YET).savings
    assert (saving.spent_j, saving.source) == (144.0, "counter")
    assert (saving.default_j, saving.winner_j, saving.launch_source) == (0.2, 0.1, "model")


def launch(small_run: SmallRun, time_ns: float) -> Trial:
    """A launch of a simulated device of 100 W."""
    return Trial(
        problem=small_run.problem,
        target="replay",
        genome=Genome({"mr": 4}),
        status=Status.OK,
        timing=Timing(time_ns, time_ns, time_ns, 3),
        energy_j=time_ns / 1e7,
        energy_source=EnergySource.MODEL,
    )


def test_before_the_first_cycle_nothing_was_spent_and_nothing_is_claimed(small_run: SmallRun, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", small_run.folder.load_config())
    energy = energy_view(RunReader(folder.path), Names(), NOT_YET)
    assert (energy.joules, energy.kernels, energy.why) == (None, (), "no cycle is done yet")
