from __future__ import annotations

from pathlib import Path

import pytest

from quasim.errors import DataError, TrustError
from storage.registry import PolicyRegistry


def test_empty_registry_has_no_latest(tmp_path: Path) -> None:
    assert PolicyRegistry(tmp_path / "policies").latest() is None


def test_latest_and_every_version_are_read_back(tmp_path: Path) -> None:
    registry = PolicyRegistry(tmp_path / "policies")
    registry.put(1, b"one")
    registry.put(12, b"twelve")
    again = PolicyRegistry(tmp_path / "policies")
    assert again.latest() == (12, b"twelve")
    assert again.get(1) == b"one"
    assert again.versions() == [1, 12]


@pytest.mark.parametrize("version", [0, 4, 5])
def test_version_that_is_not_newer_is_refused(tmp_path: Path, version: int) -> None:
    registry = PolicyRegistry(tmp_path / "policies")
    registry.put(5, b"five")
    with pytest.raises(TrustError, match="not newer than 5"):
        registry.put(version, b"rollback")
    assert registry.latest() == (5, b"five")


def test_torn_and_foreign_files_are_ignored(tmp_path: Path) -> None:
    registry = PolicyRegistry(tmp_path / "policies")
    registry.put(1, b"one")
    (tmp_path / "policies" / ".000000000002.policy.0123.tmp").write_bytes(b"tw")
    (tmp_path / "policies" / "notes.txt").touch()
    assert registry.versions() == [1]
    registry.put(2, b"two")
    assert registry.latest() == (2, b"two")


def test_unknown_version_names_the_known_ones(tmp_path: Path) -> None:
    registry = PolicyRegistry(tmp_path / "policies")
    registry.put(3, b"three")
    with pytest.raises(DataError, match=r"choose from \[3\]"):
        registry.get(2)
