"""The aggregator: stores telemetry and runs rounds. Executes what the pure ``AggregatorCore`` decides.

What must survive lies in the folder of the run: sealed segments, signed policies, and the core's state. A restarted
aggregator runs its constructor again and goes on from there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

import msgspec

from aggregation.catalogue import Catalogue
from aggregation.fleet_state import (
    AggregatorCore,
    BroadcastPolicy,
    CycleOpened,
    FleetEvent,
    FleetInstruction,
    FleetSnapshot,
    Log,
    PolicyStored,
    RoundDeadlinePassed,
    StorePolicy,
)
from aggregation.plain import PlainServer
from aggregation.rounds import Abandoned, Broadcast, MessageArrived, Refused, Send
from aggregation.signing import PolicySigner, verify
from quasim.policy import Policy
from storage.files import make_folder, write_atomic
from storage.keys import load_or_create_key
from storage.ownership import HANDOVER_S
from storage.registry import PolicyRegistry
from storage.segments import Ack, Refusal, SegmentStore, StoreSnapshot

LOG = logging.getLogger(__name__)

COMPACT_AT = 64
"""Segments at which small ones are merged: each group of batches makes one, and a restart looks into all."""


class AggregatorSpec(msgspec.Struct, frozen=True):
    """What the aggregator is told once.

    Attributes:
        folder: its state; telemetry, policies: what it stores. All on the machine that it is pinned to.
        signing_key: file of the Ed25519 seed that policies are signed with.
        floor: fewest nodes that a policy may come from.
    """

    folder: Path
    telemetry: Path
    policies: Path
    signing_key: Path
    federation: str
    catalogue: Catalogue
    floor: int


class RoundStep(msgspec.Struct, frozen=True):
    """What a round wants next.

    Attributes:
        messages: (node, message) pairs to deliver; answers come back by ``answer``.
        policy: envelope of the policy that the cycle ended with.
        abandoned: why the round ended without one.
        refused: (node, reason) of messages that did not count.
    """

    messages: tuple[tuple[str, bytes], ...] = ()
    policy: bytes | None = None
    abandoned: str | None = None
    refused: tuple[tuple[str, str], ...] = ()

    @property
    def over(self) -> bool:
        """Whether the round has ended."""
        return self.policy is not None or self.abandoned is not None


class AggregatorSnapshot(msgspec.Struct, frozen=True):
    """What may be shown of an aggregator."""

    fleet: FleetSnapshot
    store: StoreSnapshot


class Aggregator:
    """The aggregator of one federation; one instance owns its folders."""

    def __init__(self, spec: AggregatorSpec) -> None:
        self._spec = spec
        self._store = SegmentStore(spec.telemetry, wait_s=HANDOVER_S)
        try:
            self._open(spec)
        except BaseException:
            self.close()  # or whoever tries again finds the folders in use
            raise

    def _open(self, spec: AggregatorSpec) -> None:
        self._registry = PolicyRegistry(spec.policies)
        self._signer = PolicySigner(load_or_create_key(spec.signing_key))
        self._core = AggregatorCore(spec.federation, spec.catalogue, spec.floor, PlainServer)
        self._state = make_folder(spec.folder) / "state"
        self._waiting: list[tuple[bytes, asyncio.Future[Ack | Refusal]]] = []
        self._committer: asyncio.Task[None] | None = None
        self._storing = asyncio.Lock()
        self._recover()

    def _recover(self) -> None:
        newest = self._newest()
        if self._state.exists():
            # A round in flight died with the process that held it; whoever drives the cycle opens it again.
            instructions = self._core.restore(self._state.read_bytes(), newest)
            write_atomic(self._state, self._core.state())
            self._execute(instructions)
        elif newest is not None:
            self._step(PolicyStored(newest))

    def _newest(self) -> Policy | None:
        envelope = self._envelope()
        if envelope is None:
            return None
        return verify(envelope, trusted_key=self._signer.public_key, federation=self._spec.federation, newer_than=0)

    async def submit(self, batch: bytes) -> Ack | Refusal:
        """Store one telemetry batch; the answer comes once it is durable, together with all that came meanwhile."""
        answer: asyncio.Future[Ack | Refusal] = asyncio.get_running_loop().create_future()
        self._waiting.append((batch, answer))
        if self._committer is None or self._committer.done():
            self._committer = asyncio.create_task(self._commit())
        return await answer

    async def _commit(self) -> None:
        """Group commit: one sealed segment for all that waits, while the next group gathers."""
        while self._waiting:
            group, self._waiting = self._waiting, []
            try:
                async with self._storing:
                    replies = await asyncio.to_thread(self._append, [batch for batch, _ in group])
            except Exception as error:  # whoever waits must hear of it; the nodes keep their batches
                for _, answer in group:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            for (_, answer), reply in zip(group, replies, strict=True):
                if not answer.done():
                    answer.set_result(reply)

    def _append(self, batches: Sequence[bytes]) -> list[Ack | Refusal]:
        replies = self._store.append(batches)
        if self._store.snapshot().segments >= COMPACT_AT:
            self._store.compact()
        return replies

    async def open_round(self, cycle: int, roster: Sequence[str]) -> RoundStep:
        """Begin the round of a cycle; a cycle whose policy is already stored answers with it."""
        policy = self._core.policy
        if policy is not None and policy.cycle >= cycle:
            return RoundStep(policy=self._envelope())
        return self._step(CycleOpened(cycle, tuple(sorted(roster))))

    async def answer(self, messages: Sequence[tuple[str, bytes]]) -> RoundStep:
        """Take the nodes' messages, in the order given."""
        steps = [self._step(MessageArrived(node, data)) for node, data in messages]
        return RoundStep(
            messages=tuple(message for step in steps for message in step.messages),
            policy=next((step.policy for step in steps if step.policy), None),
            abandoned=next((step.abandoned for step in steps if step.abandoned), None),
            refused=tuple(refusal for step in steps for refusal in step.refused),
        )

    async def deadline(self) -> RoundStep:
        """The wait for the round's messages is over.

        A call repeated after a restart finds no round any more: it answers with what became of the cycle, so that
        whoever drives it never waits for a round that is not there.
        """
        fleet = self._core.snapshot()
        step = self._step(RoundDeadlinePassed(fleet.round))
        if step.over or step.messages:
            return step
        policy = self._core.policy
        if policy is not None and policy.cycle >= fleet.cycle:
            return RoundStep(policy=self._envelope())
        return RoundStep(abandoned="the round was lost in a restart of the aggregator")

    async def policy(self) -> bytes | None:
        """The newest signed policy; None before the first."""
        return self._envelope()

    async def public_key(self) -> bytes:
        """Raw Ed25519 key that nodes pin."""
        return self._signer.public_key

    async def snapshot(self) -> AggregatorSnapshot:
        """Where things stand."""
        async with self._storing:
            return AggregatorSnapshot(self._core.snapshot(), self._store.snapshot())

    def close(self) -> None:
        """Give the folders back."""
        self._store.close()

    def _envelope(self) -> bytes | None:
        newest = self._registry.latest()
        return newest[1] if newest else None

    def _step(self, event: FleetEvent) -> RoundStep:
        instructions = self._core.handle(event)
        write_atomic(self._state, self._core.state())
        return self._execute(instructions)

    def _execute(self, instructions: Sequence[FleetInstruction]) -> RoundStep:
        messages: list[tuple[str, bytes]] = []
        refused: list[tuple[str, str]] = []
        policy, abandoned = None, None
        for instruction in instructions:
            if isinstance(instruction, Send):
                messages.append((instruction.node, instruction.data))
            elif isinstance(instruction, Broadcast):
                messages += [(node, instruction.data) for node in instruction.nodes]
            elif isinstance(instruction, Refused):
                refused.append((instruction.node, f"{instruction.reason.value}: {instruction.detail}"))
            elif isinstance(instruction, Abandoned):
                abandoned = instruction.reason
            elif isinstance(instruction, StorePolicy):
                self._registry.put(instruction.policy.version, self._signer.sign(instruction.policy))
                policy = self._step(PolicyStored(instruction.policy)).policy
            elif isinstance(instruction, BroadcastPolicy):
                policy = self._envelope()
            elif isinstance(instruction, Log):
                LOG.info(instruction.text)
        return RoundStep(tuple(messages), policy, abandoned, tuple(refused))
