"""One head for all tests of clusters that are started by commands, and one finished run to look at."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from actors.log_lines import log_json
from benchmarks.ray_head import Head, running_head
from cluster.config import FleetConfig
from cluster.run_folder import RunFolder
from cluster.session import run_fleet
from quasim.targets.spec import Recording, ReplaySpec


@pytest.fixture(scope="package")
def ray_head() -> Iterator[Head]:
    with tempfile.TemporaryDirectory(prefix="q", ignore_cleanup_errors=True) as name, running_head(Path(name)) as head:
        yield head


@pytest.fixture(scope="session")
def replayed_run(tmp_path_factory: pytest.TempPathFactory, recorded_space: Path, ray_cluster: None) -> Path:
    """The folder of a small finished run, three agents and two cycles on a replayed device; its log lies beside it."""
    config = FleetConfig(target=ReplaySpec((Recording(str(recorded_space)),)), agents=3, cycles=2, evaluations=6)
    folder = RunFolder.create(tmp_path_factory.mktemp("runs") / "replayed", config)
    root, said = logging.getLogger(), logging.getLogger("quasim.replayed")
    with pytest.MonkeyPatch.context() as patch, folder.path.with_suffix(".log").open("w") as stream:
        patch.setattr(root, "handlers", [])
        level = root.level
        log_json({"QUASIM_LOG": "json"}, stream, run=folder.path.name)
        root.setLevel(logging.DEBUG)
        run_fleet(config, folder, nullcontext(), said.info)
        root.setLevel(level)
    return folder.path
