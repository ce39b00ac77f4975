"""One run, one server and one browser for all tests of the page."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from cluster.run_folder import RunFolder
from cluster.session import run_fleet
from storage.keys import site_folder
from tests.browser.fleet import fleet, served
from tests.browser.viewer import Viewer
from tests.cluster.dashboard.small_run import make_run

CYCLES = 3

# Of a machine that does much else at once.
expect.set_options(timeout=30_000)


@pytest.fixture(scope="package")
def chromium() -> str:
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("no chromium here: the dashboard's page is not looked at (apt-get install chromium)")
    return found


@pytest.fixture(scope="package")
def run(chromium: str, ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    config = fleet(CYCLES, evaluations=8)
    folder = RunFolder.create(tmp_path_factory.mktemp("browser") / "seen", config)
    run_fleet(config, folder, nullcontext(), lambda line: None)
    return folder


@pytest.fixture(scope="package")
def other(run: RunFolder, recorded_space: Path) -> Path:
    """An older run of another site beside it: unfinished, half of it unmetered, a round abandoned."""
    return make_run(run.path.parent / "20260101T000000Z-seed42", recorded_space).folder.path


@pytest.fixture(scope="package")
def address(other: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    key, token = site_folder(os.environ) / "site.key", tmp_path_factory.mktemp("token") / "token"
    with served(token, "--runs", str(other.parent), "--site-key", str(key)) as url:
        yield url


@pytest.fixture(scope="package")
def browser(chromium: str, run: RunFolder) -> Iterator[Browser]:
    # The sandbox needs privileges that a container does not give; the page is ours.
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def viewer(browser: Browser, address: str) -> Iterator[Viewer]:
    """Somebody who is signed in; afterwards nothing may have gone wrong or outside."""
    with Viewer.opened(browser, address) as someone:
        someone.sign_in()
        yield someone
        someone.check_clean()
