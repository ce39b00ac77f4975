"""Hands of a regulator: what may be set on a device, what is set, and setting it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from quasim.codec import from_json, to_json
from quasim.errors import StorageError
from quasim.meters import PermissionDeniedError


class Setting(msgspec.Struct, frozen=True):
    """Caps of a device; None: its default power, its top clock.

    Raises:
        ValueError: a cap that is not positive.
    """

    power_cap_w: float | None = None
    clock_cap_mhz: float | None = None

    def __post_init__(self) -> None:
        if any(cap is not None and not cap > 0 for cap in (self.power_cap_w, self.clock_cap_mhz)):
            raise ValueError(f"not a cap: {self}")


class Permissions(msgspec.Struct, frozen=True):
    """What may be set: "" where it may, and else why not."""

    power: str = ""
    clock: str = ""


ALL = Permissions()


class Actuator(Protocol):
    """Sets caps of one device. Permissions are found out by asking, never by setting.

    Attributes:
        writes: calls of setters so far.
    """

    writes: int

    @property
    def device(self) -> str:
        """Model and UUID, as the meter of the device says."""

    @property
    def permissions(self) -> Permissions:
        """As found when it was opened."""

    def setting(self) -> Setting:
        """What is in force now, as far as the device tells: the snapshot to come back to."""

    def apply(self, setting: Setting) -> None:
        """Put caps in force; a permitted one that is None goes back to the device's default.

        Raises:
            PermissionDeniedError: a cap that may not be set.
            MeterError: the device refused, or is lost.
        """

    def close(self) -> None:
        """Let go of the device. Changes nothing on it."""


class SimulatedActuator:
    """Caps of a simulated device, kept in a file so that a watchdog in another process can put them back.

    Args:
        path: of the device's settings; made at the first write.
        permissions: tests take some away.
        moved: told each setting; this is how a plant in the same process hears of it.
    """

    def __init__(
        self,
        path: Path,
        permissions: Permissions = ALL,
        moved: Callable[[Setting], None] = lambda _: None,
    ) -> None:
        self.device = f"simulated {path.stem}"
        self.permissions = permissions
        self.writes = 0
        self._path = path
        self._moved = moved

    def setting(self) -> Setting:
        """As in the file; the defaults before there is one.

        Raises:
            DataError: the file holds no setting.
        """
        return from_json(self._path.read_bytes(), Setting, str(self._path)) if self._path.exists() else Setting()

    def apply(self, setting: Setting) -> None:
        """Write the file at once, so that a reader finds the old caps or the new.

        Raises:
            PermissionDeniedError: a cap that may not be set.
            StorageError: the file cannot be written.
        """
        refuse(self.permissions, setting)
        self.writes += 1
        part = self._path.with_suffix(f".{os.getpid()}.part")
        try:
            part.write_bytes(to_json(setting))
            part.replace(self._path)
        except OSError as error:
            raise StorageError(f"settings {self._path} cannot be written: {error}", "check the folder") from error
        self._moved(setting)

    def close(self) -> None:
        """Nothing is held."""


def refuse(permissions: Permissions, setting: Setting) -> None:
    """Raise where a setting asks for a cap that may not be set.

    Raises:
        PermissionDeniedError: with the reason.
    """
    for what, cap, why in (
        ("power", setting.power_cap_w, permissions.power),
        ("clock", setting.clock_cap_mhz, permissions.clock),
    ):
        if cap is not None and why:
            raise PermissionDeniedError(f"the {what} of this device may not be capped: {why}", "regulate by duty")
