"""A tuning task as it travels between nodes: plain data that is validated on arrival, never unpickled."""

from __future__ import annotations

import msgspec

from quasim.codec import from_json, to_json
from quasim.errors import DataError
from quasim.targets import DeviceFacts
from quasim.trial import Problem, Trial


class TaskState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One problem that is being tuned, with all that was learned of it.

    Attributes:
        task: its name, the same wherever it runs, and of no other task of the fleet.
        strategy: the strategy's own state, as JSON text.
        known: latest trial of each genome.
        searched: genomes searched so far.

    Raises:
        ValueError: a trial of another problem, or a negative count.
    """

    task: str
    problem: Problem
    strategy: str
    known: tuple[Trial, ...]
    searched: int

    def __post_init__(self) -> None:
        if self.searched < 0 or any(trial.problem != self.problem for trial in self.known):
            raise ValueError(f"{self.task} is no task of {self.problem}")


class Parcel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A task on its way.

    Attributes:
        device: on which its trials were measured: what holds there need not hold on another.
    """

    state: TaskState
    device: DeviceFacts

    def to_bytes(self) -> bytes:
        """As it travels."""
        return to_json(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> Parcel:
        """A parcel that arrived.

        Raises:
            DataError: it is none.
        """
        return from_json(data, cls, "a task")


class Tasks(msgspec.Struct, frozen=True):
    """Which tasks a node has.

    Attributes:
        held: it works on these.
        leaving: given away, and kept, idle, until it is known that they have arrived.
    """

    held: tuple[str, ...]
    leaving: tuple[str, ...]


class Leaving:
    """Tasks that were given away and have not arrived yet as far as this node knows; pure."""

    def __init__(self, parcels: tuple[Parcel, ...] = ()) -> None:
        self._parcels = {parcel.state.task: parcel for parcel in parcels}

    @property
    def parcels(self) -> tuple[Parcel, ...]:
        """To be kept through a restart."""
        return tuple(self._parcels.values())

    def __contains__(self, task: str) -> bool:
        return task in self._parcels

    def add(self, parcel: Parcel) -> None:
        """One sets out."""
        self._parcels[parcel.state.task] = parcel

    def get(self, task: str) -> Parcel:
        """One that has set out.

        Raises:
            DataError: it has not.
        """
        if task not in self._parcels:
            raise DataError(f"task {task} is not leaving", "ask the node which are")
        return self._parcels[task]

    def drop(self, task: str) -> None:
        """It has arrived, or is back."""
        del self._parcels[task]
