"""Fixtures for all tests: recorded spaces, one Ray cluster for the session, folders of our own for keys and caches."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import cluster  # noqa: F401  turns Ray's token authentication on, before any test imports Ray

DATA = Path(__file__).parent / "data"


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
        yield


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

    with local_cluster(2):
        started = [info.process for group in ray._private.worker._global_node.all_processes.values() for info in group]  # type: ignore[attr-defined]
        yield
    # Ray ends its processes without reaping them, and Python would warn of each.
    for process in started:
        process.wait(30)
