"""One small run for all tests of the dashboard; who writes to it copies it first."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.dashboard.small_run import SmallRun, make_run


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory, recorded_space: Path) -> SmallRun:
    """Read only."""
    return make_run(tmp_path_factory.mktemp("dashboard") / "20260101T000000Z-seed42", recorded_space)
