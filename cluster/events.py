"""Events of a run: what a finished cycle and its round come to, and how they are read again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from actors.live import Event, Kind
from actors.live_file import EventLog
from cluster.run_log import FleetCycle, RoundLog
from quasim.codec import from_json
from storage.files import storage_errors


class Happened(NamedTuple):
    """An event before it has a time."""

    kind: Kind
    text: str
    node: str = ""


def of_round(log: RoundLog, policy_version: int) -> list[Happened]:
    """How a round ended.

    Args:
        policy_version: that is in force after it; 0 before the first.
    """
    held = [f"{topic.kernel} {topic.shape_class}" for topic in log.canaries if topic.held]
    found = [Happened("policy-held", f"canaries found these slower: {', '.join(held)}")] if held else []
    if log.abandoned:
        return [*found, Happened("round-abandoned", log.abandoned)]
    lost = sum(len(nodes) for _, nodes in log.dropouts)
    closed = f"{log.participants} of {log.asked} nodes in the sum, {lost} dropped out, {log.wall_s:.3g} s"
    return [*found, Happened("round-closed", closed), Happened("policy-released", f"policy {policy_version}")]


def of_cycle(done: FleetCycle) -> list[Happened]:
    """What a cycle came to, without its round."""
    found = [
        Happened(
            "regulator",
            f"wants {seen.last_cap_w:.0f} W ({seen.mode}; {seen.advices} changes, {seen.writes} set)",
            record.node,
        )
        for record in done.records
        if (seen := record.regulated).last_cap_w is not None and seen.advices
    ]
    for log in done.moves:
        if log.made:
            text = f"{log.move.task} from {log.move.source} to {log.move.target}"
            found.append(Happened("task-moved", text, log.move.target))
    return [*found, Happened("cycle-done", f"{len(done.records)} nodes measured a generation")]


def write(events: EventLog, happened: list[Happened], *, round: int, cycle: int) -> None:
    """Log what happened, now."""
    for kind, text, node in happened:
        events.note(kind, text, node=node, round=round, cycle=cycle)


def read_events(path: Path, offset: int = 0) -> Iterator[tuple[Event, int]]:
    """Events from a place of the file on, each with the place behind it; a line that is being written is left.

    Raises:
        StorageError: the file cannot be read.
        DataError: a line is no event.
    """
    for line, end in whole_lines(path, offset):
        yield from_json(line, Event, f"{path}"), end


def whole_lines(path: Path, offset: int = 0) -> Iterator[tuple[bytes, int]]:
    """Lines from a place of a growing file on, each with the place behind it; none where there is no file yet.

    Raises:
        StorageError: the file cannot be read.
    """
    if not path.exists():
        return
    with storage_errors("read", path), path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            yield line, offset
