"""Pictures of the real pages for the docs: ``python -m tests.browser.screenshots`` makes a run and photographs it."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from cluster.ray_session import local_cluster
from cluster.run_folder import RunFolder
from cluster.session import run_fleet
from tests.browser.fleet import fleet, served
from tests.browser.viewer import Viewer
from tests.conftest import ROOT

IMAGES = ROOT / "docs" / "images"
CORES = 2
LARGEST = 150_000
"""Bytes of a picture: a clone of the repository carries them all."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture of a page, or of one of its cards, in a window of this size in pixels."""

    name: str
    page: str
    choices: str = ""
    width: int = 1200
    height: int = 820
    dark: bool = False
    card: str = ""


SHOTS = (
    Shot("fleet", "fleet"),
    Shot("search", "search", "?y=error"),
    Shot("genomes", "search", width=960, card="#search-genomes"),
    Shot("rounds", "rounds"),
    Shot("energy", "energy", dark=True),
    Shot("events", "events"),
    Shot("replay-phone", "rounds", "?until=2", width=390, height=760),
)


def photograph(browser: Browser, address: str, shot: Shot) -> None:
    """Write one picture.

    Raises:
        ValueError: it is larger than a picture may be.
    """
    with Viewer.opened(browser, address, width=shot.width, height=shot.height, dark=shot.dark) as viewer:
        viewer.sign_in()
        page = viewer.go(shot.page, shot.choices)
        path = IMAGES / f"dashboard-{shot.name}.png"
        if shot.card:
            # The bar of the replay would lie over it.
            page.evaluate("document.querySelector('.bottom').hidden = true")
            page.locator(shot.card).screenshot(path=path)
        else:
            page.screenshot(path=path)
        viewer.check_clean()
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path} has {path.stat().st_size} bytes: make the window of {shot} smaller")


def main() -> None:
    """Make a run, serve it, and photograph its pages."""
    chromium = shutil.which("chromium")
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["QUASIM_HOME"] = str(folder / "site")
        config = fleet(cycles=6, evaluations=12, agents=3)
        run = RunFolder.create(folder / "h100-recorded", config)
        run_fleet(config, run, local_cluster(CORES), print)
        key = folder / "site" / "site.key"
        with (
            served(folder / "token", str(run.path), "--site-key", str(key)) as address,
            sync_playwright() as playwright,
        ):
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            for shot in SHOTS:
                photograph(browser, address, shot)
            browser.close()


if __name__ == "__main__":
    main()
