"""Images that tests have in common are compiled once."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="package")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where whoever does not ask how images are kept keeps them."""
    return tmp_path_factory.mktemp("images")
