"""Telemetry with the advice beside it, as a file: one JSON document a line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from quasim.codec import from_json, to_json
from quasim.energy._base import Action, Observation
from quasim.errors import DataError, StorageError
from quasim.meters import ClockEvent, Sample


class Turn(msgspec.Struct, frozen=True):
    """One turn of a regulator: what it saw, None where the sample was missing, and what it wanted then."""

    seen: Observation | None
    action: Action


def write_turns(path: Path, turns: Iterable[Turn]) -> None:
    """Write turns in their order.

    Raises:
        StorageError: the file cannot be written.
    """
    try:
        path.write_bytes(b"".join(to_json(turn) + b"\n" for turn in turns))
    except OSError as error:
        raise StorageError(f"telemetry {path} cannot be written: {error}", "check the folder") from error


def read_turns(path: Path) -> tuple[Turn, ...]:
    """Read what ``write_turns`` wrote.

    Raises:
        DataError: missing, or a line that is no turn.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise DataError(f"telemetry {path} cannot be read: {error}", "record it with benchmarks.gpu_advise") from error
    return tuple(from_json(line, Turn, f"{path}, line {number}") for number, line in enumerate(lines, 1))


def samples(turns: Sequence[Turn]) -> tuple[Sample, ...]:
    """What was seen, as a meter gives it; missing samples are left out, so that a replay repeats the one before."""
    return tuple(
        Sample(
            ts_ns=seen.ts_ns,
            read_ns=0,
            power_w=seen.power_w,
            temperature_c=seen.temperature_c,
            clock_mhz=seen.clock_mhz,
            clock_events=frozenset((ClockEvent.SW_THERMAL,)) if seen.throttled else frozenset(),
        )
        for seen in (turn.seen for turn in turns)
        if seen is not None
    )
