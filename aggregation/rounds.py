"""A round of aggregation, sans IO: the interface behind which every protocol stands, secure or plain.

A server and one client per node exchange opaque messages, as many as the protocol needs; whoever runs them
moves bytes and keeps the clock. A server starts a new wait whenever it sends, so the deadline runs anew after each
list of instructions that sends anything, and the ones before it no longer count::

    Opened ──► Broadcast ──► (MessageArrived | DeadlinePassed)* ──► Finished | Abandoned
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeVar

import msgspec
import numpy as np

from quasim.codec import from_msgpack, to_msgpack
from quasim.errors import DataError
from quasim.space import Floats

M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class RoundSpec:
    """What a round is about.

    Attributes:
        number: never used twice by an aggregator.
        roster: nodes that may take part, in ascending order; sums are formed in it.
        policy: digest of the policy that the nodes hold; empty before the first. It is bound into their answers.
        length: entries of each node's vector.
        floor: fewest vectors that a sum may be made of, at least 1.
    """

    number: int
    roster: tuple[str, ...]
    policy: str
    length: int
    floor: int

    def __post_init__(self) -> None:
        if list(self.roster) != sorted(set(self.roster)):
            raise DataError(f"roster {self.roster} repeats a node or is not sorted", "sort the set of node ids")
        if self.number < 0 or self.length < 0 or self.floor < 1:
            raise DataError(
                f"round {self.number} of length {self.length} with floor {self.floor}", "use a floor of 1 or more"
            )


class Refusal(str, Enum):
    """Why a message did not count."""

    LATE = "late"
    DUPLICATE = "duplicate"
    FOREIGN = "foreign"
    MALFORMED = "malformed"
    OTHER_ROUND = "other_round"
    OTHER_POLICY = "other_policy"
    WRONG_LENGTH = "wrong_length"
    OUT_OF_RANGE = "out_of_range"
    BAD_SIGNATURE = "bad_signature"
    BAD_KEY = "bad_key"
    BAD_SHARE = "bad_share"


@dataclass(frozen=True, slots=True)
class Opened:
    """Begin; the first event of every round."""


@dataclass(frozen=True, slots=True)
class MessageArrived:
    """A message came in; ``node`` is who the transport says sent it."""

    node: str
    data: bytes


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """The wait since the last send is over."""


Event = Opened | MessageArrived | DeadlinePassed


@dataclass(frozen=True, slots=True)
class Send:
    """Bring a message to one node."""

    node: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Bring one message to each of these nodes."""

    nodes: tuple[str, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Refused:
    """A message that did not count; nobody else's is touched by it, and its sender may try again."""

    node: str
    reason: Refusal
    detail: str


@dataclass(frozen=True, slots=True)
class Dropouts:
    """Nodes that a round went on without from one of its steps."""

    step: str
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class RoundResult:
    """What a round gave.

    Attributes:
        protocol: who could see what, in words.
        participants: nodes in the sum, ascending.
        sums: float64 sum of their vectors, shape (length,), read-only.
        refused: messages that did not count, in order of arrival.
        weight: sum of their weights; None where the protocol has none.
        dropouts: by step, in order; only steps that lost a node.
        received_bytes: of all messages that the server took; None where it was not counted.
        sent_bytes: of all messages that it sent, once for each receiver; None where it was not counted.
    """

    number: int
    protocol: str
    participants: tuple[str, ...]
    sums: Floats
    refused: tuple[Refused, ...]
    weight: float | None = None
    dropouts: tuple[Dropouts, ...] = ()
    received_bytes: int | None = None
    sent_bytes: int | None = None

    def __post_init__(self) -> None:
        if not np.isfinite(self.sums).all():
            raise DataError(f"the sum of round {self.number} is not finite", "refuse such vectors on arrival")
        self.sums.setflags(write=False)


@dataclass(frozen=True, slots=True)
class Finished:
    """The round is over and has a sum."""

    result: RoundResult


@dataclass(frozen=True, slots=True)
class Abandoned:
    """The round is over without a sum, and nothing of any vector leaves the server."""

    number: int
    reason: str
    refused: tuple[Refused, ...] = ()
    dropouts: tuple[Dropouts, ...] = ()


Instruction = Send | Broadcast | Refused | Finished | Abandoned


class RoundServer(Protocol):
    """The aggregator's side of one round, built from a ``RoundSpec``."""

    def handle(self, event: Event) -> Sequence[Instruction]:
        """What to do about an event. No message makes it raise; after the end, every message is late."""
        ...


class RoundClient(Protocol):
    """One node's side of one round, built from its id, its vector and the digest of the policy it holds."""

    def handle(self, data: bytes) -> list[bytes]:
        """Answers to a message of the server: none, one or several.

        Raises:
            DataError: not a message of this protocol, or one that this node must not answer.
        """
        ...


class Invitation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="invitation"):
    """First message of every protocol: the server asks a node to take part."""

    round: int
    protocol: str
    policy: str
    length: int


def to_message(message: object) -> bytes:
    """Canonical MessagePack of a message struct."""
    return to_msgpack(message)


def from_message(data: bytes, kind: type[M]) -> M:
    """Read a message of the given kind.

    Raises:
        DataError: another kind, malformed, or not in canonical form.
    """
    message = from_msgpack(data, kind, "round message")
    if to_msgpack(message) != data:
        raise DataError("a round message is not in canonical form", "encode it by to_message")
    return message
