"""`quasim report --html`: the pages as one file, opened from disk with no network at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from cluster.cli.report import write_html
from cluster.run_folder import RunFolder
from storage.keys import site_folder
from tests.browser.conftest import CYCLES
from tests.browser.test_page import DRAWN
from tests.browser.viewer import PAGES, Viewer

pytestmark = [pytest.mark.browser, pytest.mark.ray]

SHAPE = "cols=4096"
"""Of the run's softmax."""


def test_the_file_shows_every_page_and_replays_with_no_network(
    browser: Browser, run: RunFolder, tmp_path: Path
) -> None:
    file = tmp_path / "report.html"
    write_html(run, file, site_folder(os.environ) / "site.key")
    with Viewer.opened(browser, file.as_uri()) as viewer:
        viewer.context.set_offline(True)
        for name in PAGES:
            page = viewer.go(name)
            drawn = {card for card, state in viewer.cards().items() if state == "drawn"}
            assert drawn >= DRAWN[name]
            assert all(viewer.inked(card) for card in drawn)
        viewer.go("search")
        assert SHAPE in page.locator("#search-facts").inner_text() + page.get_by_label("Problem").inner_text()
        viewer.go("rounds", "?until=0")
        expect(page.locator("#rounds-log tbody tr")).to_have_count(1)
        page.click("#replay-end")
        expect(page.locator("#rounds-log tbody tr")).to_have_count(CYCLES)
        assert viewer.violations() == []
        viewer.check_clean()
