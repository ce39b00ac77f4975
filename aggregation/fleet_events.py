"""What happens to an aggregator's learning, and what it asks of whoever runs it."""

from __future__ import annotations

from dataclasses import dataclass

from aggregation.canary import Tally
from aggregation.rounds import Abandoned, Broadcast, Dropouts, MessageArrived, Refused, Send
from quasim.policy import Policy


@dataclass(frozen=True, slots=True)
class CycleOpened:
    """A fleet cycle asks these nodes for their knowledge; an unfinished round before it is dropped."""

    cycle: int
    roster: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RoundDeadlinePassed:
    """The wait of this round is over; one of a round that has ended is ignored."""

    number: int


@dataclass(frozen=True, slots=True)
class PolicyStored:
    """A policy is durable: the one just asked for or, where the state was lost, the newest of the registry."""

    policy: Policy


FleetEvent = CycleOpened | MessageArrived | RoundDeadlinePassed | PolicyStored


@dataclass(frozen=True, slots=True)
class StorePolicy:
    """Sign the policy, make it durable, then report ``PolicyStored``. Asked twice, it is the same to the bit."""

    policy: Policy


@dataclass(frozen=True, slots=True)
class BroadcastPolicy:
    """Give the signed policy to all nodes of the fleet; the cycle is over."""

    policy: Policy


@dataclass(frozen=True, slots=True)
class RoundEnded:
    """What may be shown of a round that has just ended, with a sum or without.

    Attributes:
        participants: nodes in the sum; empty without one.
        dropouts: by step, in order.
    """

    participants: tuple[str, ...]
    dropouts: tuple[Dropouts, ...]


@dataclass(frozen=True, slots=True)
class Tried:
    """What the canaries found, topic by topic."""

    tallies: tuple[Tally, ...]


@dataclass(frozen=True, slots=True)
class Log:
    """A line for the log."""

    text: str


FleetInstruction = Send | Broadcast | Refused | Abandoned | RoundEnded | Tried | StorePolicy | BroadcastPolicy | Log
