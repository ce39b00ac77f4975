"""The one tree of exceptions, and the exit code that each branch gives a command."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every command; documented in docs/exit-codes.md."""

    OK = 0
    FAILED = 1
    USAGE = 2
    CONFIG = 3
    MISSING_TOOL = 4
    BAD_DATA = 5
    UNTRUSTED = 6
    STORAGE = 7
    INTERRUPTED = 130


class QuasimError(Exception):
    """Base of all our errors.

    Attributes:
        what: what is wrong, with the bad value.
        do: what to do next.
    """

    exit_code = ExitCode.FAILED

    def __init__(self, what: str, do: str = "") -> None:
        super().__init__(f"{what}: {do}" if do else what)
        self.what = what
        self.do = do

    def __reduce__(self) -> tuple[type[QuasimError], tuple[str, str]]:
        return type(self), (self.what, self.do)


class ConfigError(QuasimError):
    """A config file, flag or environment variable is wrong."""

    exit_code = ExitCode.CONFIG


class UnknownNameError(ConfigError):
    """A kernel, target or strategy that is not registered."""


class ShapeError(ConfigError):
    """A shape outside the domain of a kernel."""


class SpaceError(ConfigError):
    """A search space or genome that is not valid."""


class MissingToolError(QuasimError):
    """A program that must be installed first, such as a C compiler."""

    exit_code = ExitCode.MISSING_TOOL


class DataError(QuasimError):
    """A file or message that does not hold what its format says."""

    exit_code = ExitCode.BAD_DATA


class TrustError(QuasimError):
    """A signature, version or federation that must not be accepted."""

    exit_code = ExitCode.UNTRUSTED


class StorageError(QuasimError):
    """A folder or file that cannot be read or written."""

    exit_code = ExitCode.STORAGE
