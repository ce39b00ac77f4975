"""What the aggregator answers to whoever drives a round: what to deliver, and how things stand."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from aggregation.canary import Tally
from aggregation.fleet_events import FleetInstruction, RoundEnded, Tried
from aggregation.rounds import Abandoned, Broadcast, Refused, Send


class RoundStep(msgspec.Struct, frozen=True):
    """What a round wants next.

    Attributes:
        number: of the newest round; −1 before the first.
        messages: (node, message) pairs to deliver; answers come back by ``answer``.
        trial: the messages ask canaries to measure, which takes longer than an answer.
        policy: envelope of the policy that the cycle ended with.
        abandoned: why the round ended without one.
        refused: (node, reason) of messages that did not count.
        participants: nodes in the sum, once there is one.
        dropouts: (step, nodes) that the round went on without, once it has ended.
        tallies: what the canaries found, once they have.
        cpu_s: seconds of CPU that the round's server took for this.
    """

    number: int = -1
    messages: tuple[tuple[str, bytes], ...] = ()
    trial: bool = False
    policy: bytes | None = None
    abandoned: str | None = None
    refused: tuple[tuple[str, str], ...] = ()
    participants: tuple[str, ...] = ()
    dropouts: tuple[tuple[str, tuple[str, ...]], ...] = ()
    tallies: tuple[Tally, ...] = ()
    cpu_s: float = 0.0

    @property
    def over(self) -> bool:
        """Whether the round has ended."""
        return self.policy is not None or self.abandoned is not None


@dataclass(slots=True)
class Outcome:
    """A step in the making; see ``RoundStep``."""

    messages: list[tuple[str, bytes]] = field(default_factory=list)
    policy: bytes | None = None
    abandoned: str | None = None
    refused: list[tuple[str, str]] = field(default_factory=list)
    participants: tuple[str, ...] = ()
    dropouts: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    tallies: tuple[Tally, ...] = ()
    cpu_s: float = 0.0

    def step(self, number: int, trial: bool) -> RoundStep:
        """What became of it."""
        return RoundStep(
            number=number,
            messages=tuple(self.messages),
            trial=trial,
            policy=self.policy,
            abandoned=self.abandoned,
            refused=tuple(self.refused),
            participants=self.participants,
            dropouts=tuple(self.dropouts),
            tallies=self.tallies,
            cpu_s=self.cpu_s,
        )

    def note(self, instruction: FleetInstruction) -> None:
        """Keep for the driver what it has to deliver or to write down."""
        if isinstance(instruction, Send):
            self.messages.append((instruction.node, instruction.data))
        elif isinstance(instruction, Broadcast):
            self.messages += [(node, instruction.data) for node in instruction.nodes]
        elif isinstance(instruction, Refused):
            self.refused.append((instruction.node, f"{instruction.reason.value}: {instruction.detail}"))
        elif isinstance(instruction, Abandoned):
            self.abandoned = instruction.reason
        elif isinstance(instruction, RoundEnded):
            self.participants = instruction.participants
            self.dropouts = [(dropped.step, dropped.nodes) for dropped in instruction.dropouts]
        elif isinstance(instruction, Tried):
            self.tallies = instruction.tallies
