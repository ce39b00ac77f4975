"""A recorded space as it stands in memory, and what readers of every form of file share."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from quasim.errors import DataError, StorageError
from quasim.space import Kind, Parameter, Rows
from quasim.targets.replay.facts import Facts
from quasim.trial import Genome, Problem, Trial, Value

GZIP_MAGIC = b"\x1f\x8b"

ADVICE = "record it again, or fetch it anew"


@dataclass(frozen=True, slots=True)
class Recording:
    """One recorded space.

    Attributes:
        digest: SHA-256 of the file's content, in hex.
        device_name: empty where the file names none.
        parameters: in the file's order, values in listed order; categorical where text is among them.
        rows: value indices of each recorded configuration, shape (n, parameters), in the file's order.
        facts: what was recorded of each row.
        default: what the kernel runs with untuned; None where the file does not say, or did not record it.
    """

    path: Path
    digest: str
    device_name: str
    problem: Problem
    parameters: tuple[Parameter, ...]
    rows: Rows
    facts: tuple[Facts, ...]
    default: Genome | None = None

    def trials(self, target: str) -> list[Trial]:
        """Every recorded trial, in the file's order."""
        genomes = (
            Genome({p.name: p.values[int(i)] for p, i in zip(self.parameters, row, strict=True)}) for row in self.rows
        )
        return [facts.trial(self.problem, target, genome) for facts, genome in zip(self.facts, genomes, strict=True)]


def read_content(path: Path) -> bytes:
    """Content of a recording, unpacked.

    Raises:
        DataError: missing, unreadable or damaged.
    """
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if data.startswith(GZIP_MAGIC) else data
    except FileNotFoundError as error:
        raise DataError(
            f"recording {path} cannot be read: it is not there",
            f"record it where the device is, from a checkout: python -m benchmarks.record_spaces --device-name NAME "
            f"--out {path.parent}",
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"recording {path} cannot be read: {error}", ADVICE) from error


def write_content(path: Path, data: bytes) -> None:
    """Write a recording whole or not at all, gzipped where the name ends in ``.gz``; equal data, equal bytes.

    Raises:
        StorageError: the file cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StorageError(f"recording {path} cannot be written: {error}", "choose a writable place") from error


def parameter(name: str, values: Sequence[Value]) -> Parameter:
    """A parameter of a file that says nothing of kinds: categorical where text is among its values."""
    text = any(isinstance(value, str) for value in values)
    return Parameter(name, tuple(values), Kind.CATEGORICAL if text else Kind.ORDINAL)


def check_distinct(path: Path, rows: Rows) -> Rows:
    """The rows, if none stands twice.

    Raises:
        DataError: one does.
    """
    if len(np.unique(rows, axis=0)) < len(rows):
        raise DataError(f"recording {path}: two entries are of one configuration", ADVICE)
    return rows
