"""What was tuned on this machine is kept, by problem, device and versions; when one of them changes, that is a miss.

A file for each combination, JSON, in a folder that its owner alone can read or write: what stands in it decides which
code runs. A result for other versions is never handed out as an answer, but a miss names what changed.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import msgspec

from quasim.codec import from_json, to_json
from quasim.errors import DataError, StorageError, TrustError
from quasim.standing import Standing
from quasim.targets._base import Target
from quasim.targets.c.device import cache_folder
from quasim.trial import Problem, Trial

FORMAT = 1

_ELSEWHERE = "give a folder of yours, or set QUASIM_CACHE_DIR to one"


class Conditions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """On what a tuned result depends, besides its problem.

    Attributes:
        device: model, as the vendor prints it.
        family: the cohort within which results transfer.
        versions: (component, version) pairs of compiler, driver and the like.
        space: digest of the search space.
        file: SHA-256 of the file that describes a foreign kernel; empty for our own.
    """

    target: str
    device: str
    family: str
    versions: tuple[tuple[str, str], ...]
    space: str
    file: str = ""

    @classmethod
    def of(cls, target: Target, problem: Problem, file: str = "") -> Conditions:
        """The present ones on an opened target.

        Raises:
            UnknownNameError, ShapeError: the target cannot run this problem.
        """
        device = target.device
        return cls(target.name, device.name, device.family, device.versions, target.space(problem).digest, file)

    def changes(self, then: Conditions) -> tuple[str, ...]:
        """What is different now from ``then``, such as ``compiler gcc 13 (was gcc 12)``; empty: nothing."""
        ours, theirs = self._parts(), then._parts()
        return tuple(
            f"{name} {ours.get(name, 'gone')} (was {theirs.get(name, 'not there')})"
            for name in dict.fromkeys((*ours, *theirs))
            if ours.get(name) != theirs.get(name)
        )

    def _parts(self) -> dict[str, str]:
        digests = {"search space": self.space[:12], "kernel file": self.file[:12]}
        whole = {"target": self.target, "device": self.device, "family": self.family}
        return {**whole, **dict(self.versions), **{name: digest for name, digest in digests.items() if digest}}


class Effort(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What finding a result took.

    Attributes:
        evaluations: genomes evaluated, those that failed included.
        tuned_at: when it was found, ISO 8601 in UTC.
    """

    evaluations: int
    strategy: str
    tuned_at: str

    @classmethod
    def at(cls, now_ns: int, evaluations: int, strategy: str) -> Effort:
        """An effort that ended now, in ns since 1970-01-01 in UTC."""
        moment = datetime.fromtimestamp(now_ns // 10**9, timezone.utc)
        return cls(evaluations, strategy, moment.isoformat())


class Tuned(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The best genome of a problem under some conditions.

    Attributes:
        standing: against its rivals, when it was tuned; None where nobody looked.

    Raises:
        ValueError: the genome failed, or is of another problem.
    """

    problem: Problem
    conditions: Conditions
    best: Trial
    effort: Effort
    standing: Standing | None = None
    format: int = FORMAT

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise ValueError(f"format {self.format} is not {FORMAT}")
        if self.best.timing is None or self.best.problem != self.problem:
            raise ValueError(f"a {self.best.status.value} trial of {self.best.problem} is no result for {self.problem}")


class Miss(msgspec.Struct, frozen=True):
    """Nothing is known under the present conditions.

    Attributes:
        changed: of the result that comes closest, what is different now; empty where there is none.
        nearest: that result, for the same shape class; a first guess at best.
    """

    changed: tuple[str, ...] = ()
    nearest: Tuned | None = None


def tuned_folder() -> Path:
    """Where results are kept for all processes of a user: ``tuned`` beside the compiled libraries."""
    return cache_folder() / "tuned"


class TunedCache:
    """The results in one folder. Safe between processes: files appear whole, and the last one counts.

    Raises:
        StorageError: the folder cannot be made or read.
        TrustError: others own it, or may read or write it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
            facts = folder.lstat()
        except OSError as error:
            raise StorageError(f"no cache folder {folder}: {error.strerror}", _ELSEWHERE) from error
        if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or stat.S_IMODE(facts.st_mode) & 0o077:
            raise TrustError(f"{folder} is a link or open to others", f"chmod 700 {folder}, or {_ELSEWHERE}")

    def look(self, problem: Problem, conditions: Conditions) -> Tuned | Miss:
        """What was tuned for a problem under exactly these conditions."""
        found = self._read(self._path(problem, conditions))
        if found is not None and (found.problem, found.conditions) == (problem, conditions):
            return found
        misses = [(_changed(problem, conditions, other), other) for other in self._class_of(problem)]
        changed, nearest = min(
            misses, key=lambda miss: (len(miss[0]), miss[1].effort.tuned_at, miss[0]), default=((), None)
        )
        return Miss(changed, nearest)

    def keep(self, tuned: Tuned) -> None:
        """Keep a result; it replaces what was known of this problem under these conditions.

        Raises:
            StorageError: the folder is unwritable or full.
        """
        path = self._path(tuned.problem, tuned.conditions)
        try:
            _replace(path, to_json(tuned))
        except OSError as error:
            raise StorageError(f"cannot write {path}: {error.strerror}", _ELSEWHERE) from error

    def drop(self, problem: Problem, conditions: Conditions) -> None:
        """Forget a result that no longer holds, though nothing that has a name changed.

        Raises:
            StorageError: the folder is unwritable.
        """
        path = self._path(problem, conditions)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"cannot remove {path}: {error.strerror}", _ELSEWHERE) from error

    def __iter__(self) -> Iterator[Tuned]:
        """All that is kept, by kernel; files that do not hold what they should are passed over."""
        for path in sorted(self._folder.glob("*.json")):
            if (tuned := self._read(path)) is not None:
                yield tuned

    def _class_of(self, problem: Problem) -> Iterator[Tuned]:
        for path in sorted(self._folder.glob(f"{_stem(problem)}-*.json")):
            if (tuned := self._read(path)) is not None:
                yield tuned

    def _path(self, problem: Problem, conditions: Conditions) -> Path:
        return self._folder / f"{_stem(problem)}-{_digest(problem, conditions)}.json"

    def _read(self, path: Path) -> Tuned | None:
        """None: there is no such file, or it cannot be used; a cache may lose what it likes."""
        try:
            return from_json(_own_bytes(path), Tuned, str(path))
        except (OSError, DataError, TrustError):
            return None


def _stem(problem: Problem) -> str:
    """The beginning of the names of all results for a kernel and shape class: kernels' names may hold anything."""
    name = re.sub(r"[^a-z0-9]+", "-", problem.kernel.lower()).strip("-")
    return f"{name[:40]}-{_digest(problem.kernel, problem.shape_class)}"


def _digest(*parts: object) -> str:
    return hashlib.sha256(to_json(parts)).hexdigest()[:16]


def _changed(problem: Problem, conditions: Conditions, other: Tuned) -> tuple[str, ...]:
    shape = (f"shape {problem.shape_text} (was {other.problem.shape_text})",) if problem != other.problem else ()
    return (*shape, *conditions.changes(other.conditions))


def _own_bytes(path: Path) -> bytes:
    """What a file holds that we alone can have written; others' may lie there from before the folder was ours.

    Raises:
        OSError: it cannot be read, or is a link.
        TrustError: it is somebody else's, others may write it, or it is no file.
    """
    # Not blocking: to open a pipe would wait for its writer.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o022:
            raise TrustError(f"{path} may be written by others", f"remove it, or chmod 600 {path}")
        return file.read()


def _replace(path: Path, data: bytes) -> None:
    """Write a file that appears whole or not at all, for its owner alone."""
    handle, made = tempfile.mkstemp(dir=path.parent, prefix=".making-")  # of mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(made).replace(path)
    finally:
        Path(made).unlink(missing_ok=True)
