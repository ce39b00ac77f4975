"""The seats of a run's agents: which machine each belongs to, kept in the folder of the run."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from actors.node_spec import NodeSnapshot
from cluster.run_folder import RunFolder
from quasim.codec import from_json, to_json
from quasim.errors import ConfigError, DataError
from storage.files import storage_errors, write_atomic


class Seat(msgspec.Struct, frozen=True):
    """An agent's own, for as long as the run: its state lies on that machine.

    Attributes:
        node: name of the agent.
        machine: name of the machine.
        share: which of the machine's, from 0.
        first_cycle: in which the agent joins.
        number: of the agent, from 0; its seed follows from it.
        left: where it stood when it was told to leave; None: it has not left.
        starts: how often the agent was started or found, counted before each, so that no two starts share a number.
    """

    node: str
    machine: str
    share: int
    first_cycle: int
    number: int
    left: NodeSnapshot | None = None
    starts: int = 0

    def __post_init__(self) -> None:
        if min(self.share, self.first_cycle, self.number, self.starts) < 0 or not self.node or not self.machine:
            raise DataError(f"no seat: {self}", "seats are made by the run")

    def meant_by(self, names: frozenset[str]) -> bool:
        """Whether the agent or its machine is among the names."""
        return not names.isdisjoint((self.node, self.machine))


def read_seats(folder: RunFolder) -> list[Seat]:
    """All seats so far; none before the run first found its machines.

    Raises:
        StorageError: the file cannot be read.
        DataError: it does not hold seats.
    """
    if not folder.seats.exists():
        return []
    with storage_errors("read", folder.seats):
        data = folder.seats.read_bytes()
    return list(from_json(data, tuple[Seat, ...], str(folder.seats)))


def write_seats(folder: RunFolder, seats: Sequence[Seat]) -> None:
    """Keep all seats.

    Raises:
        StorageError: the file cannot be written.
    """
    write_atomic(folder.seats, to_json(tuple(seats)))


def named(seats: Sequence[Seat], name: str) -> tuple[str, ...]:
    """Names of the agents that a name means: its own, or all of a machine.

    Raises:
        ConfigError: it means none.
    """
    found = tuple(seat.node for seat in seats if seat.meant_by(frozenset((name,))))
    if not found:
        known = sorted({name for seat in seats for name in (seat.node, seat.machine)})
        raise ConfigError(
            f"no node or machine {name!r} in this run", f"use one of {', '.join(known) or 'those to come'}"
        )
    return found
