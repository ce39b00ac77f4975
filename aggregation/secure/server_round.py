"""What all steps of the server share: the round's terms, its participants in ring order, and how a step is written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from aggregation.rounds import Instruction, Refusal, Refused
from aggregation.secure.graph import Graph
from aggregation.secure.members import Members
from aggregation.secure.messages import Advertisement, ClientMessage
from aggregation.secure.terms import Terms


class UnfitError(Exception):
    """A message that does not count.

    Attributes:
        reason: of the refusal.
    """

    def __init__(self, reason: Refusal, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class HopelessError(Exception):
    """The round cannot have a sum any more."""


@dataclass(slots=True)
class ServerRound:
    """One round, as long as it lasts.

    Attributes:
        invited: nodes that were asked, ascending.
        refused: messages and participants that did not count, in order.
    """

    terms: Terms
    session: bytes
    members: Members
    invited: tuple[str, ...]
    round_key: X25519PrivateKey
    refused: list[Refused] = field(default_factory=list)

    def refuse(self, node: str, reason: Refusal, detail: str) -> None:
        """Note why something of a node does not count."""
        self.refused.append(Refused(node, reason, detail))

    def check_floor(self, count: int, what: str) -> None:
        """End the round where too few are left."""
        if count < self.terms.floor:
            raise HopelessError(f"{count} {what} are below the floor of {self.terms.floor}")


@dataclass(frozen=True, slots=True)
class Circle:
    """The participants in ring order.

    Attributes:
        fixed_root: over the advertisements; empty in the complete graph.
        root: over the ring.
    """

    ads: tuple[Advertisement, ...]
    graph: Graph
    fixed_root: bytes
    root: bytes
    index: dict[str, int]

    def nodes(self, indices: Iterable[int]) -> tuple[str, ...]:
        """Ids at these ring indices."""
        return tuple(self.ads[i].node for i in indices)


class Step(ABC):
    """The server waits for one kind of message, one from each of some nodes.

    Attributes:
        kind: of the message.
        name: of what is lost with a node that drops out here.
        waiting: nodes that have not answered.
        answered: nodes that have.
    """

    kind: ClassVar[type[ClientMessage]]
    name: ClassVar[str]

    def __init__(self, nodes: Iterable[str]) -> None:
        self.waiting = set(nodes)
        self.answered: set[str] = set()

    def accept(self, node: str, message: ClientMessage, payload: memoryview) -> None:
        """Take a node's message, once.

        Raises:
            UnfitError, DataError: it does not count; the node may try again.
        """
        self.take(node, message, payload)
        self.waiting.discard(node)
        self.answered.add(node)

    @abstractmethod
    def take(self, node: str, message: ClientMessage, payload: memoryview) -> None:
        """Verify and keep a message of this step's kind."""

    @abstractmethod
    def close(self) -> Turn:
        """Go on with those who answered.

        Raises:
            HopelessError: they are too few.
        """


@dataclass(frozen=True, slots=True)
class Turn:
    """The next step, None after the last, and what to send for it."""

    step: Step | None
    instructions: Sequence[Instruction]
