"""Telemetry files of regulation."""

from __future__ import annotations

from pathlib import Path

import pytest

from quasim.energy import Action, Observation
from quasim.energy.trace import Turn, read_turns, samples, write_turns
from quasim.errors import DataError, StorageError
from quasim.meters import VOIDING

TURNS = (
    Turn(Observation(1, 300.5, 60.0, 1500.0, False), Action(500.0, reasons=("temperature",))),
    Turn(None, Action(200.0, reasons=("missing",), safe=True)),
    Turn(Observation(3, None, 61.0, None, True), Action(480.0)),
)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_turns(tmp_path / "t.jsonl", TURNS)
    assert read_turns(tmp_path / "t.jsonl") == TURNS


def test_samples_are_what_was_seen() -> None:
    first, last = samples(TURNS)
    assert (first.ts_ns, first.power_w, first.temperature_c, first.clock_mhz) == (1, 300.5, 60.0, 1500.0)
    assert (last.power_w, last.clock_mhz) == (None, None)
    assert not first.clock_events & VOIDING
    assert last.clock_events & VOIDING


def test_files_that_are_none_say_where(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_turns(tmp_path / "none.jsonl")
    write_turns(tmp_path / "t.jsonl", TURNS)
    (tmp_path / "t.jsonl").write_bytes((tmp_path / "t.jsonl").read_bytes() + b"{}\n")
    with pytest.raises(DataError, match="line 4"):
        read_turns(tmp_path / "t.jsonl")
    with pytest.raises(StorageError, match="cannot be written"):
        write_turns(tmp_path / "no" / "t.jsonl", TURNS)
