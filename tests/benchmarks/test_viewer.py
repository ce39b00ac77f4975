from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from actors.live import FleetLive
from actors.live_file import EventLog
from benchmarks.dashboard import serving
from benchmarks.viewer import Viewer
from cluster.run_folder import RunFolder
from quasim.codec import from_json, to_json
from storage.files import write_atomic
from tests.cluster.dashboard.conftest import small_run
from tests.cluster.dashboard.small_run import NOW, SmallRun

__all__ = ["small_run"]

MACHINE = "127.0.0.1"
"""Of both nodes of the small run."""


def test_a_viewer_of_a_served_dashboard_sees_a_node_lost_and_reads_of_it(small_run: SmallRun, tmp_path: Path) -> None:
    folder = RunFolder(shutil.copytree(small_run.folder.path, tmp_path / "run"))
    with serving(folder.path, tmp_path / "site") as (server, _), Viewer.of(server) as viewer:
        assert viewer.health(MACHINE, ("ok",), 20.0) is not None
        assert viewer.health(MACHINE, ("lost",), 0.0) is None
        assert viewer.event(MACHINE, ("node-lost",), NOW, 0.0) is None
        live = from_json(folder.fleet_now.read_bytes(), FleetLive)
        lost = tuple(msgspec.structs.replace(node, health="lost") for node in live.nodes)
        write_atomic(folder.fleet_now, to_json(msgspec.structs.replace(live, at=NOW + 5, nodes=lost)))
        log = EventLog(folder.events, lambda: NOW + 5)
        log.note("node-lost", f"node-0: machine {MACHINE} is gone", node="node-0")
        log.close()
        seen = viewer.health(MACHINE, ("lost",), 20.0)
        assert seen is not None
        assert seen[1] == NOW + 5
        assert viewer.event(MACHINE, ("node-lost",), NOW, 20.0) is not None
        assert viewer.event(MACHINE, ("node-lost",), NOW + 6, 0.0) is None
