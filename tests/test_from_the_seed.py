"""Every Python block of docs/from-the-seed.md runs, in order, as it stands on the page."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "from-the-seed.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
TITLES = re.findall(r"^## (.*)$", PAGE.read_text(), re.MULTILINE)


def test_the_page_has_its_blocks() -> None:
    assert len(BLOCKS) == 3


@pytest.mark.parametrize("block", BLOCKS, ids=[title.lower().replace(" ", "-")[:40] for title in TITLES[: len(BLOCKS)]])
def test_a_block_runs(block: str, tmp_path: Path) -> None:
    # In a folder of its own that looks like the root: a page's files must not land in the checkout.
    (tmp_path / "tests").symlink_to(Path(__file__).parent)
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        exec(compile(block, str(PAGE), "exec"), {"__name__": "page"})  # noqa: S102  our own page
    finally:
        os.chdir(before)
