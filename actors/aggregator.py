"""The aggregator: stores telemetry and runs rounds. Executes what the pure ``AggregatorCore`` decides.

What must survive lies in the folder of the run: sealed segments, signed policies, and the core's state. A restarted
aggregator runs its constructor again and goes on from there.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from actors.board import Board, Mark
from actors.live import FleetLive, NodePulse
from actors.live_file import EventLog, LiveFile, last_live
from actors.round_step import Outcome, RoundStep
from actors.table_commits import TableCommits
from aggregation.agreement import Agreement
from aggregation.canary import choose_canaries
from aggregation.catalogue import Catalogue
from aggregation.envelope import signing_key
from aggregation.fleet_events import (
    BroadcastPolicy,
    CycleOpened,
    FleetEvent,
    FleetInstruction,
    Log,
    PolicyStored,
    RoundDeadlinePassed,
    StorePolicy,
)
from aggregation.fleet_server import round_server
from aggregation.fleet_state import AggregatorCore, FleetSnapshot, Phase
from aggregation.roster import Roster, verify_roster
from aggregation.rounds import MessageArrived, RoundServer, RoundSpec
from aggregation.signing import PolicySigner, verify
from quasim.energy.migration import HeatReport, Move, MoveCost, advise
from quasim.policy import Policy
from storage.files import make_folder, write_atomic
from storage.keys import load_or_create_key
from storage.ownership import HANDOVER_S
from storage.registry import PolicyRegistry
from storage.segments import Ack, Refusal, SegmentStore, StoreSnapshot, Stream

LOG = logging.getLogger(__name__)

COMPACT_AT = 64
"""Segments at which small ones are merged: each group of batches makes one, and a restart looks into all."""


ASSUMED_MOVE_S = 5.0
"""Seconds of work that a task loses by moving, until the first one did: state, two commits, inputs made anew."""


class Watched(msgspec.Struct, frozen=True):
    """Where the aggregator shows what is so now.

    Attributes:
        fleet: file of the fleet's state; events: file that they are appended to.
    """

    fleet: Path
    events: Path


class AggregatorSpec(msgspec.Struct, frozen=True):
    """What the aggregator is told once.

    Attributes:
        folder: its state; telemetry, policies: what it stores. All on the machine that it is pinned to.
        signing_key: file of the Ed25519 seed that policies are signed with.
        floor: fewest nodes that a policy may come from.
        root: raw public key that rosters are verified with; empty where rounds are plain.
        canaries: nodes of each cohort that try a policy before it is released; 0: none does.
        watched: None: nobody looks on.
        table: the Delta table that follows the telemetry; None: none does.
    """

    folder: Path
    telemetry: Path
    policies: Path
    signing_key: Path
    federation: str
    catalogue: Catalogue
    floor: int
    agreement: Agreement
    root: bytes = b""
    canaries: int = 0
    watched: Watched | None = None
    table: Path | None = None


class AggregatorSnapshot(msgspec.Struct, frozen=True):
    """What may be shown of an aggregator.

    Attributes:
        streams: whose the rows in the store are.
    """

    fleet: FleetSnapshot
    store: StoreSnapshot
    streams: tuple[Stream, ...] = ()


class Aggregator:
    """The aggregator of one federation; one instance owns its folders.

    Args:
        entropy: gives so many unpredictable bytes, for the keys of its rounds.
        clock: seconds of CPU of the calling thread.
        now: unix seconds.
        told: hears twice a second how the fleet stands, where somebody looks on; from a thread of its own.
    """

    def __init__(
        self,
        spec: AggregatorSpec,
        entropy: Callable[[int], bytes] = os.urandom,
        clock: Callable[[], float] = time.thread_time,
        now: Callable[[], float] = time.time,
        told: Callable[[FleetLive], None] = lambda fleet: None,
    ) -> None:
        self._spec, self._entropy, self._clock, self._now, self._told = spec, entropy, clock, now, told
        self._board = Board(None if spec.watched is None else last_live(spec.watched.fleet))
        self._live: LiveFile | None = None
        self._events: EventLog | None = None
        self._table: TableCommits | None = None
        self._move_cost = MoveCost(ASSUMED_MOVE_S)
        self._store = SegmentStore(spec.telemetry, wait_s=HANDOVER_S)
        try:
            self._open(spec)
        except BaseException:
            self.close()  # or whoever tries again finds the folders in use
            raise

    def _open(self, spec: AggregatorSpec) -> None:
        self._registry = PolicyRegistry(spec.policies)
        self._seed = load_or_create_key(spec.signing_key)
        self._signer = PolicySigner(self._seed)
        self._core = AggregatorCore(spec.federation, spec.catalogue, spec.floor, self._server, self._choose)
        folder = make_folder(spec.folder)
        self._state, self._roster_file = folder / "state", folder / "roster"
        self._roster: Roster | None = None
        self._waiting: list[tuple[bytes, asyncio.Future[Ack | Refusal]]] = []
        self._committer: asyncio.Task[None] | None = None
        self._storing = asyncio.Lock()
        self._reopened = RoundStep()
        self._board.stored(self._store.snapshot().rows)
        self._recover()
        self._board.learned(self._core.snapshot())
        if spec.table is not None:
            self._table = TableCommits(spec.telemetry, spec.table)
        if spec.watched is not None:
            self._events = EventLog(spec.watched.events, self._now)
            self._live = LiveFile(self._board, spec.watched.fleet, self._now, self._told)

    def _recover(self) -> None:
        if self._roster_file.exists():
            self._roster = self._verified(self._roster_file.read_bytes(), 0)
        newest = self._newest()
        if self._state.exists():
            # A round in flight died with the process that held it; it goes on under a new number.
            instructions = self._core.restore(self._state.read_bytes(), newest)
            write_atomic(self._state, self._core.state())
            self._reopened = self._executed(instructions)
        elif newest is not None:
            self._step(PolicyStored(newest))

    def _server(self, spec: RoundSpec) -> RoundServer:
        return round_server(spec, self._spec.agreement, self._roster, signing_key(self._seed), self._entropy)

    def _choose(self, cycle: int, participants: Sequence[str]) -> Sequence[str]:
        """Canaries that nobody without the signing key foresees, and that a repeated run chooses alike.

        A node alone has measured all that its policy comes from.
        """
        if len(participants) < 2:
            return ()
        cohorts = {"": participants}
        if self._roster is not None:
            cohorts = {
                name: [node for node in nodes if node in participants] for name, nodes in self._roster.cohorts.items()
            }
        secret = hmac.digest(self._seed, f"canaries {self._spec.federation} {cycle}".encode(), "sha256")
        return choose_canaries(cohorts, self._spec.canaries, secret)

    def _newest(self) -> Policy | None:
        envelope = self._envelope()
        if envelope is None:
            return None
        return verify(envelope, trusted_key=self._signer.public_key, federation=self._spec.federation, newer_than=0)

    def _verified(self, envelope: bytes, newer_than: int) -> Roster:
        return verify_roster(envelope, root=self._spec.root, federation=self._spec.federation, newer_than=newer_than)

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
        # Not what was learned: by the time that this thread showed it, something newer might have been shown.
        self._board.stored(self._store.snapshot().rows)
        if self._table is not None:
            self._table.stored()
        for reply in replies:
            if isinstance(reply, Refusal) and self._events is not None:
                self._events.note("batch-refused", f"{reply.reason.value}: {reply.detail}")
        return replies

    async def pulse(self, pulse: NodePulse) -> None:
        """What a node says of itself; the last word of each is shown."""
        self._board.heard(pulse, self._now())
        if pulse.state == "starting":
            self._show_now()

    async def mark(self, marks: Mapping[str, Mark]) -> None:
        """What the driver knows of nodes; it says so again and again, see ``Board.mark``."""
        if self._board.mark(marks):
            self._show_now()

    def _show_now(self) -> None:
        """Who comes or goes is not kept from those who look on until the next tick."""
        if self._live is not None:
            self._live.news()

    async def live(self) -> FleetLive:
        """The fleet now; whoever looks at the file sees no less."""
        if self._live is not None:
            await asyncio.to_thread(self._live.write)
        return self._board.live(self._now())

    async def open_round(self, cycle: int, nodes: Sequence[str], roster: bytes | None = None) -> RoundStep:
        """Begin the round of a cycle; a cycle whose policy is already stored answers with it.

        Args:
            roster: the signed roster of the current epoch; None where rounds are plain.

        Raises:
            TrustError: the roster is not of the pinned root.
            DataError: a node that is not in the roster, or an agreement that its limits do not allow.
        """
        self._reopened = RoundStep()
        if roster is not None:
            self._accept(roster)
        policy = self._core.policy
        if policy is not None and policy.cycle >= cycle:
            return RoundStep(self._core.snapshot().round, policy=self._envelope())
        return self._step(CycleOpened(cycle, tuple(sorted(nodes))))

    def _accept(self, envelope: bytes) -> None:
        if self._roster_file.exists() and self._roster_file.read_bytes() == envelope:
            return
        self._roster = self._verified(envelope, self._roster.epoch if self._roster else 0)
        write_atomic(self._roster_file, envelope)

    async def answer(self, messages: Sequence[tuple[str, bytes]]) -> RoundStep:
        """Take the nodes' messages, in the order given; after a restart, what the reopened round wants instead."""
        reopened, self._reopened = self._reopened, RoundStep()
        if reopened.over or reopened.messages:
            return reopened
        outcome = Outcome()
        for node, data in messages:
            self._run(MessageArrived(node, data), outcome)
        return self._made(outcome)

    async def deadline(self) -> RoundStep:
        """The wait for the round's messages is over; after a restart, what the reopened round wants instead.

        A call repeated after a restart may find no round any more: it answers with what became of the cycle, so that
        whoever drives it never waits for a round that is not there.
        """
        reopened, self._reopened = self._reopened, RoundStep()
        if reopened.over or reopened.messages:
            return reopened
        fleet = self._core.snapshot()
        step = self._step(RoundDeadlinePassed(fleet.round))
        if step.over or step.messages or fleet.phase in (Phase.COLLECTING, Phase.TRYING):
            return step
        policy = self._core.policy
        if policy is not None and policy.cycle >= fleet.cycle:
            return RoundStep(fleet.round, policy=self._envelope())
        return RoundStep(fleet.round, abandoned="the round ended as the aggregator restarted")

    def advise(self, reports: Sequence[HeatReport]) -> Move | None:
        """The task that had better leave a hot node, if any; nodes decide."""
        return advise(reports, self._move_cost.seconds)

    def moved(self, took_s: float) -> None:
        """A move was made, and its task did not work for so long."""
        self._move_cost.took(took_s)

    async def policy(self) -> bytes | None:
        """The newest signed policy; None before the first."""
        return self._envelope()

    async def public_key(self) -> bytes:
        """Raw Ed25519 key that nodes pin."""
        return self._signer.public_key

    async def tabulate(self) -> bool:
        """Commit what is stored to the table now; whether all of it is there."""
        return self._table is None or await asyncio.to_thread(self._table.settle)

    async def snapshot(self) -> AggregatorSnapshot:
        """Where things stand."""
        async with self._storing:
            return AggregatorSnapshot(self._core.snapshot(), self._store.snapshot(), self._store.streams())

    def close(self) -> None:
        """Give the folders back."""
        for shown in (self._table, self._live, self._events):
            if shown is not None:
                shown.close()
        self._store.close()

    def _envelope(self) -> bytes | None:
        newest = self._registry.latest()
        return newest[1] if newest else None

    def _step(self, event: FleetEvent) -> RoundStep:
        outcome = Outcome()
        self._run(event, outcome)
        return self._made(outcome)

    def _made(self, outcome: Outcome) -> RoundStep:
        fleet = self._core.snapshot()
        return outcome.step(fleet.round, fleet.phase is Phase.TRYING)

    def _executed(self, instructions: Sequence[FleetInstruction]) -> RoundStep:
        outcome = Outcome()
        self._execute(instructions, outcome)
        return self._made(outcome)

    def _run(self, event: FleetEvent, outcome: Outcome) -> None:
        """Let the core decide, make that durable, then do it."""
        started = self._clock()
        instructions = self._core.handle(event)
        outcome.cpu_s += self._clock() - started
        if instructions:  # an event that returned nothing changed nothing that survives
            write_atomic(self._state, self._core.state())
        self._execute(instructions, outcome)
        self._board.learned(self._core.snapshot())

    def _execute(self, instructions: Sequence[FleetInstruction], outcome: Outcome) -> None:
        for instruction in instructions:
            if isinstance(instruction, StorePolicy):
                self._registry.put(instruction.policy.version, self._signer.sign(instruction.policy))
                self._run(PolicyStored(instruction.policy), outcome)
            elif isinstance(instruction, BroadcastPolicy):
                outcome.policy = self._envelope()
            elif isinstance(instruction, Log):
                LOG.info(instruction.text, extra={"round": self._core.snapshot().round})
            else:
                outcome.note(instruction)
