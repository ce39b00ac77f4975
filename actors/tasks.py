"""A tuning task as it travels between nodes: plain data that is validated on arrival, never unpickled."""

from __future__ import annotations

import msgspec

from quasim.codec import from_json, to_json
from quasim.errors import DataError
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

    def to_bytes(self) -> bytes:
        """As it travels."""
        return to_json(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> TaskState:
        """A task that arrived.

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

    def __init__(self, tasks: tuple[TaskState, ...] = ()) -> None:
        self._tasks = {state.task: state for state in tasks}

    @property
    def tasks(self) -> tuple[TaskState, ...]:
        """To be kept through a restart."""
        return tuple(self._tasks.values())

    def __contains__(self, task: str) -> bool:
        return task in self._tasks

    def add(self, state: TaskState) -> None:
        """One sets out."""
        self._tasks[state.task] = state

    def get(self, task: str) -> TaskState:
        """One that has set out.

        Raises:
            DataError: it has not.
        """
        if task not in self._tasks:
            raise DataError(f"task {task} is not leaving", "ask the node which are")
        return self._tasks[task]

    def drop(self, task: str) -> None:
        """It has arrived, or is back."""
        del self._tasks[task]
