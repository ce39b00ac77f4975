"""The aggregator's side of a fleet's round: one secure server a group, side by side, and one sum of theirs."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aggregation.agreement import Agreement, rotation_seed
from aggregation.groups import GroupSum, combine
from aggregation.plain import PlainServer
from aggregation.privacy import unflatten
from aggregation.roster import Roster
from aggregation.rounds import (
    Abandoned,
    Dropouts,
    Event,
    Finished,
    Instruction,
    MessageArrived,
    Refused,
    RoundResult,
    RoundServer,
    RoundSpec,
)
from aggregation.secure import LABEL, Members, SecureServer
from quasim.errors import DataError
from quasim.space import Floats

Entropy = Callable[[int], bytes]


def round_server(
    spec: RoundSpec,
    agreement: Agreement,
    roster: Roster | None,
    identity: Ed25519PrivateKey,
    entropy: Entropy = os.urandom,
) -> RoundServer:
    """The server of one round as the fleet agreed; plain where a roster of one leaves nothing to hide.

    Args:
        roster: that the nodes verified; None: the sums are plain.
        identity: of the aggregator, which the roster pins.

    Raises:
        DataError: a node that is no member, or an identity that is not pinned.
    """
    if roster is None or not agreement.hides(roster):
        return PlainServer(spec)
    return FleetServer(spec, agreement, agreement.members(roster), identity, entropy)


class FleetServer:
    """Sums each group by itself and takes the median of their means, where there are several. A ``RoundServer``.

    A group below its floor is left out; with none left the round is abandoned.

    Raises:
        DataError: a node that is in no group, or an identity that is not pinned.
    """

    def __init__(
        self,
        spec: RoundSpec,
        agreement: Agreement,
        groups: Sequence[Members],
        identity: Ed25519PrivateKey,
        entropy: Entropy,
    ) -> None:
        self._spec, self._agreement, self._groups = spec, agreement, groups
        self._servers = [
            SecureServer(self._part(group), group, agreement.encoding(group), identity, entropy=entropy)
            for group in groups
        ]
        self._group_of = {node: at for at, group in enumerate(groups) for node in group.ids}
        if strangers := set(spec.roster) - self._group_of.keys():
            raise DataError(f"{', '.join(sorted(strangers))} asked, and not in the roster", "enrol them first")
        self._ends: dict[int, Finished | Abandoned] = {}

    def handle(self, event: Event) -> Sequence[Instruction]:
        """See ``RoundServer.handle``."""
        if isinstance(event, MessageArrived):
            # A stranger is refused by whichever group.
            return self._run(self._group_of.get(event.node, 0), event)
        return [one for at in range(len(self._servers)) for one in self._run(at, event)]

    def _part(self, group: Members) -> RoundSpec:
        """The round of one group."""
        noise = self._agreement.noise
        length = noise.privacy.padded if noise else self._spec.length
        nodes = tuple(node for node in self._spec.roster if node in group.keys)
        return replace(self._spec, roster=nodes, length=length)

    def _run(self, at: int, event: Event) -> list[Instruction]:
        passed: list[Instruction] = []
        for instruction in self._servers[at].handle(event):
            if isinstance(instruction, (Finished, Abandoned)):
                self._ends[at] = instruction
                passed += [self._end()] if len(self._ends) == len(self._servers) else []
            else:
                passed.append(instruction)
        return passed

    def _end(self) -> Finished | Abandoned:
        ends = [self._ends[at] for at in range(len(self._servers))]
        done = [(at, end.result) for at, end in enumerate(ends) if isinstance(end, Finished)]
        lost = [end for end in ends if isinstance(end, Abandoned)]
        told = [end.result if isinstance(end, Finished) else end for end in ends]
        refused = tuple(one for part in told for one in part.refused)
        dropouts = merged([step for part in told for step in part.dropouts])
        if not done:
            reason = "; ".join(dict.fromkeys(end.reason for end in lost))
            return Abandoned(self._spec.number, reason, refused, dropouts)
        return Finished(self._combined(done, refused, dropouts))

    def _combined(
        self, done: Sequence[tuple[int, RoundResult]], refused: tuple[Refused, ...], dropouts: tuple[Dropouts, ...]
    ) -> RoundResult:
        results = [result for _, result in done]
        combined = combine([GroupSum(len(result.participants), self._values(at, result)) for at, result in done])
        noise = self._agreement.noise
        return RoundResult(
            number=self._spec.number,
            protocol="; ".join([LABEL, combined.label, *([noise.label] if noise else [])]),
            participants=tuple(sorted(node for result in results for node in result.participants)),
            sums=combined.values,
            refused=refused,
            weight=sum(result.weight or 0.0 for result in results),
            dropouts=dropouts,
            received_bytes=sum(result.received_bytes or 0 for result in results),
            sent_bytes=sum(result.sent_bytes or 0 for result in results),
        )

    def _values(self, at: int, result: RoundResult) -> Floats:
        noise = self._agreement.noise
        if noise is None:
            return result.sums
        return unflatten(result.sums, noise.privacy, rotation_seed(self._groups[at], self._spec.policy))


def merged(dropouts: Sequence[Dropouts]) -> tuple[Dropouts, ...]:
    """Dropouts of several groups as those of one, in the order of the steps."""
    steps = dict.fromkeys(one.step for one in dropouts)
    return tuple(
        Dropouts(step, tuple(sorted(node for one in dropouts if one.step == step for node in one.nodes)))
        for step in steps
    )
