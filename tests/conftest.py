"""Fixtures for all tests: recorded spaces, one Ray cluster for the session, folders of our own for keys and caches."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import cluster  # noqa: F401  turns Ray's token authentication on, before any test imports Ray

DATA = Path(__file__).parent / "data"
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session", autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keys, caches and locks of the tests stay away from the user's."""
    folder = tmp_path_factory.mktemp("quasim")
    names = {"QUASIM_HOME": "home", "QUASIM_CACHE_DIR": "cache", "QUASIM_RUNTIME_DIR": "runtime"}
    with pytest.MonkeyPatch.context() as patch:
        for variable, name in names.items():
            patch.setenv(variable, str(folder / name))
        for variable in [name for name in os.environ if name in ("QUASIM_SEED", "QUASIM_CYCLES", "QUASIM_OUT")]:
            patch.delenv(variable)
        before = set(ROOT.iterdir())
        yield
        # Of test runs side by side one may make hypothesis' folder while the other looks.
        assert set(ROOT.iterdir()) <= before | {ROOT / ".hypothesis"}, "a test left files in the checkout"
    assert _wait_for_none(str(folder).encode()) == {}, "a test left processes behind"


def _wait_for_none(mark: bytes) -> dict[int, str]:
    """Processes, orphans included, that inherited our folders in their environment and still live after a while."""
    for _ in range(100):
        found = dict(_processes(mark))
        if not found:
            break
        time.sleep(0.1)
    return found


def _processes(mark: bytes) -> Iterator[tuple[int, str]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            # A process may end while we look, and those of other users are closed to us.
            with suppress(OSError):
                if mark in (entry / "environ").read_bytes():
                    yield (
                        int(entry.name),
                        (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"),
                    )


@pytest.fixture(scope="session")
def recorded_space() -> Path:
    """A matmul that our C target recorded on two cores."""
    return DATA / "matmul-192-two-cores.json.gz"


@pytest.fixture(scope="session")
def slower_space() -> Path:
    """The same genomes, recorded on one core."""
    return DATA / "matmul-192-one-core.json.gz"


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One small Ray cluster for all tests that need one."""
    import ray

    from cluster.ray_session import local_cluster

    with pytest.MonkeyPatch.context() as patch:
        # By default every 10 s: too long for a test to wait for what is exported.
        patch.setenv("RAY_metrics_report_interval_ms", "500")
        patch.setenv("QUASIM_LOG", "json")  # of the actors alone
        with local_cluster(2):
            patch.delenv("QUASIM_LOG")
            processes = ray._private.worker._global_node.all_processes  # type: ignore[attr-defined]
            started = [info.process for group in processes.values() for info in group]
            yield
    # Ray ends its processes without reaping them, and Python would warn of each.
    for process in started:
        process.wait(30)
