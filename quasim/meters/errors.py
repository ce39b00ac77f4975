"""Why a meter gave nothing: one type for each cause that a caller can act on."""

from __future__ import annotations

from quasim.errors import ExitCode, QuasimError


class MeterError(QuasimError):
    """A meter could not be opened or read.

    Attributes:
        code: the number that the vendor's library returned; None where the error is ours.
    """

    def __init__(self, what: str, do: str = "", code: int | None = None) -> None:
        super().__init__(what, do)
        self.code = code

    def __reduce__(self) -> tuple[type[MeterError], tuple[str, str, int | None]]:  # type: ignore[override]
        return type(self), (self.what, self.do, self.code)


class DriverMissingError(MeterError):
    """The library, its Python package or the driver is not there, or the two do not fit each other."""

    exit_code = ExitCode.MISSING_TOOL


class NoDeviceError(MeterError):
    """No visible device goes by that index or UUID."""

    exit_code = ExitCode.CONFIG


class PermissionDeniedError(MeterError):
    """This user may not read the meter."""


class NotSupportedError(MeterError):
    """The device or its driver has no such reading."""


class MigError(MeterError):
    """The device is a slice of a GPU, and energy is counted for whole GPUs alone."""


class GpuLostError(MeterError):
    """The GPU fell off the bus or must be reset."""


class BusyError(MeterError):
    """The library had no answer this time; a later read may succeed."""


class CounterResetError(MeterError):
    """The energy counter started anew, or may have wrapped more than once, since it was last read."""


class UnknownCodeError(MeterError):
    """The library returned a code that means nothing to us; ``code`` holds it."""
