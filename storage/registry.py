"""Signed policies on disk, by strictly increasing version. The envelopes are opaque here: readers verify them."""

from __future__ import annotations

import re
from pathlib import Path

from quasim.errors import DataError, TrustError
from storage.files import create_atomic, make_folder, storage_errors

_NAME = re.compile(r"(\d{12})\.policy")


class PolicyRegistry:
    """One durable file a version. Any process may read, and a version exists once even if several put at once.

    Raises:
        StorageError: the folder cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = make_folder(folder)

    def versions(self) -> list[int]:
        """All versions, oldest first."""
        with storage_errors("read the policies", self._folder):
            matches = [_NAME.fullmatch(path.name) for path in self._folder.iterdir()]
        return sorted(int(match[1]) for match in matches if match)

    def latest(self) -> tuple[int, bytes] | None:
        """The newest version and its envelope; None before the first."""
        versions = self.versions()
        return (versions[-1], self.get(versions[-1])) if versions else None

    def get(self, version: int) -> bytes:
        """The envelope of a version.

        Raises:
            DataError: there is no such version.
            StorageError: it cannot be read.
        """
        path = self._path(version)
        if not path.exists():
            raise DataError(f"policy version {version} is not in {self._folder}", f"choose from {self.versions()}")
        with storage_errors("read the policy", path):
            return path.read_bytes()

    def put(self, version: int, envelope: bytes) -> None:
        """Add a version; durable on return.

        Raises:
            TrustError: it is not newer than every known one.
            StorageError: it cannot be written.
        """
        newest = max(self.versions(), default=-1)
        if version <= newest or not create_atomic(self._path(version), envelope):
            raise TrustError(f"policy version {version} is not newer than {newest}", "number versions upwards")

    def _path(self, version: int) -> Path:
        return self._folder / f"{version:012d}.policy"
