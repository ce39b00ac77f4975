"""`quasim fleet status` and `quasim node drain` on the folder of a run, without Ray."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace
from rich.console import Console

from actors import drain
from actors.board import Board
from actors.live import FleetLive
from actors.live_file import LiveFile
from actors.pulse import Vitals, pulse_of
from cluster.cli.fleet import status_table
from cluster.config import FleetConfig
from cluster.run_folder import RunFolder
from cluster.seats import Seat, write_seats
from quasim.energy.loop import Gauges
from quasim.errors import ExitCode
from quasim.targets.spec import Recording, ReplaySpec
from quasim.trial import EnergySource
from tests.cluster.test_cli import Command, command

__all__ = ["command"]

METERED = Vitals("H100", 2, "matmul[m=8]", Gauges(312.4, 400.0, 61.2, EnergySource.COUNTER, ""), 40, 32, 99.0)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder.create(tmp_path / "run", FleetConfig(target=ReplaySpec((Recording("recorded"),))))
    write_seats(folder, [Seat("node-0", "rack-1", 0, 0, 0), Seat("node-1", "rack-1", 1, 0, 1)])
    return folder


def board() -> Board:
    made = Board()
    made.heard(pulse_of("node-0", "rack-1", "measuring", METERED, 99.0), 99.5)
    made.heard(pulse_of("node-1", "rack-1", "starting", None, 99.0), 97.0)
    return made


def shown(live: FleetLive, now: float) -> str:
    console = Console(width=200, markup=False)
    with console.capture() as captured:
        console.print(status_table(live, now))
    return captured.get()


def test_the_status_of_a_fleet_is_what_its_aggregator_wrote(run: RunFolder, command: Command) -> None:
    LiveFile(board(), run.fleet_now, lambda: 100.0).close()
    document = command.json("fleet", "status", str(run.path))
    assert [node["health"] for node in document["nodes"]] == ["ok", "late"]  # type: ignore[attr-defined]
    code, out, _ = command("fleet", "status", str(run.path))
    assert (code, "node-1" in out) == (ExitCode.OK, True)


def test_a_table_says_unmetered_and_never_zero() -> None:
    text = shown(board().live(100.0), 100.2)
    (metered,) = (line for line in text.splitlines() if "node-0" in line)
    (silent,) = (line for line in text.splitlines() if "node-1" in line)
    for words in ("ok", "measuring matmul[m=8]", "rack-1", "H100", "312 W / 400 W", "61 °C", "32 of 40", "0.5 s ago"):
        assert words in metered
    assert silent.count("unmetered") == 2
    assert " W" not in silent
    assert "not running" not in text


def test_a_table_says_what_is_a_models() -> None:
    simulated = replace(METERED, gauges=replace(METERED.gauges, source=EnergySource.MODEL))
    made = Board()
    made.heard(pulse_of("node-0", "rack-1", "idle", simulated, 99.0), 99.5)
    text = shown(made.live(100.0), 100.2)
    assert "312 W (model) / 400 W" in text
    assert "61 °C (model)" in text


def test_the_state_of_a_fleet_that_ended_says_how_old_it_is() -> None:
    assert "not running: as of 61 s ago" in shown(board().live(100.0), 161.0)


def test_a_fleet_that_has_not_shown_itself_is_bad_data(run: RunFolder, command: Command) -> None:
    assert "has not shown itself yet" in command.fails(ExitCode.BAD_DATA, "fleet", "status", str(run.path))


def test_watching_is_for_people(run: RunFolder, command: Command) -> None:
    command.fails(ExitCode.CONFIG, "fleet", "status", str(run.path), "--watch", "--json")


def test_a_node_is_told_to_leave_and_taken_back(run: RunFolder, command: Command) -> None:
    assert command.json("node", "drain", "node-1", "--run", str(run.path)) == {"nodes": ["node-1"], "leave": True}
    assert drain.requested(run.drained) == {"node-1"}
    code, out, err = command("node", "drain", "node-1", "--run", str(run.path))
    assert (code, out, err) == (ExitCode.OK, "", "node-1: nothing to change\n")
    assert command.json("node", "undrain", "node-1", "--run", str(run.path)) == {"nodes": ["node-1"], "leave": False}
    assert drain.requested(run.drained) == frozenset()


def test_a_machine_means_all_its_nodes(run: RunFolder, command: Command) -> None:
    _, _, err = command("node", "drain", "rack-1", "--run", str(run.path))
    assert err == "node-0, node-1: leave once their cycle is over\n"
    assert drain.requested(run.drained) == {"rack-1"}


def test_a_node_that_the_run_does_not_have_cannot_leave(run: RunFolder, command: Command) -> None:
    said = command.fails(ExitCode.CONFIG, "node", "drain", "node-7", "--run", str(run.path))
    assert "node-0, node-1, rack-1" in said
    assert drain.requested(run.drained) == frozenset()
