"""What a look at a run sees of a run that ends meanwhile."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace

from cluster.dashboard.run_reader import RunReader
from cluster.run_folder import RunFolder
from cluster.run_log import FleetCycle
from quasim.codec import from_json, to_json
from storage.files import write_atomic


@pytest.mark.ray
def test_what_a_late_node_measured_is_seen_when_the_run_ends(replayed_run: Path, tmp_path: Path) -> None:
    shutil.copytree(replayed_run, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    end, last = folder.end.read_bytes(), folder.cycle_files()[-1]
    complete = last.read_bytes()
    cycle = from_json(complete, FleetCycle, str(last))
    write_atomic(last, to_json(replace(cycle, records=cycle.records[:-1])))
    folder.end.unlink()
    reader = RunReader(folder.path)
    reader.refresh(["log"])
    before = len(reader.records())
    write_atomic(last, complete)
    write_atomic(folder.end, end)
    reader.refresh(["log"])
    assert (reader.end is not None, len(reader.records())) == (True, before + 1)
