"""The aggregator's learning as one pure state machine: cycles become rounds, and rounds become policies.

    IDLE ─CycleOpened─► COLLECTING ─sum─► TRYING ─not slower─► STORING ─PolicyStored─► IDLE (policy broadcast)
                            │                └──slower: held back──► IDLE (Abandoned, no new policy)
                            └──below the floor──► IDLE (Abandoned, no new policy)

Whoever runs it saves ``state()`` after ``handle`` and ``restore`` *before* executing what came back (an event that
returned nothing changed nothing that survives); then no round number is used twice and no version is signed with two
contents, whenever it is killed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum

import msgspec

from aggregation.canary import Canary, Held, Released
from aggregation.catalogue import Catalogue
from aggregation.distill import refine
from aggregation.fleet_events import (
    BroadcastPolicy,
    CycleOpened,
    FleetEvent,
    FleetInstruction,
    Log,
    RoundDeadlinePassed,
    RoundEnded,
    StorePolicy,
    Tried,
)
from aggregation.rounds import (
    Abandoned,
    DeadlinePassed,
    Event,
    Finished,
    MessageArrived,
    Opened,
    Refusal,
    Refused,
    RoundResult,
    RoundServer,
    RoundSpec,
)
from quasim.codec import from_msgpack, to_msgpack
from quasim.errors import DataError
from quasim.policy import Policy

Canaries = Callable[[int, Sequence[str]], Sequence[str]]
"""Chooses who tries the policy of a cycle, out of the participants of its round; nobody: it is released untried."""


def nobody(cycle: int, participants: Sequence[str]) -> Sequence[str]:
    """No canaries."""
    return ()


class Phase(str, Enum):
    """What the aggregator waits for."""

    IDLE = "idle"
    COLLECTING = "collecting"
    TRYING = "trying"
    STORING = "storing"


class FleetSnapshot(msgspec.Struct, frozen=True):
    """What may be shown of the aggregator.

    Attributes:
        cycle: the newest that was opened; −1 before the first.
        round: number of the newest round; −1 before the first.
        roster: nodes of that cycle.
        version: newest stored policy; 0 before the first.
    """

    phase: Phase
    cycle: int
    round: int
    roster: tuple[str, ...]
    version: int


class _State(msgspec.Struct, forbid_unknown_fields=True):
    """All that survives; the vectors of a round in flight do not.

    Attributes:
        trial: a policy that the canaries try; pending: one that is being stored.
    """

    federation: str
    cycle: int = -1
    round: int = -1
    roster: tuple[str, ...] = ()
    collecting: bool = False
    policy: Policy | None = None
    trial: Policy | None = None
    canaries: tuple[str, ...] = ()
    pending: Policy | None = None


class AggregatorCore:
    """One federation's aggregator, without IO.

    Args:
        federation: id that its policies carry.
        catalogue: topics that the fleet agreed on.
        floor: fewest nodes that a policy may come from.
        protocol: builds the server of a round, such as ``PlainServer``.
        canaries: who tries a new policy before it is released.
    """

    def __init__(
        self,
        federation: str,
        catalogue: Catalogue,
        floor: int,
        protocol: Callable[[RoundSpec], RoundServer],
        canaries: Canaries = nobody,
    ) -> None:
        self._catalogue = catalogue
        self._floor = floor
        self._protocol = protocol
        self._canaries = canaries
        self._state = _State(federation)
        self._server: RoundServer | None = None
        self._canary: Canary | None = None

    @property
    def policy(self) -> Policy | None:
        """The newest stored policy; what a node that joins starts from."""
        return self._state.policy

    def snapshot(self) -> FleetSnapshot:
        """Where things stand."""
        state = self._state
        return FleetSnapshot(_phase(state), state.cycle, state.round, state.roster, _version(state.policy))

    def handle(self, event: FleetEvent) -> list[FleetInstruction]:
        """What to do about an event.

        Raises:
            DataError: the runner's mistake: a cycle that is not newer than the policy or opened while one is being
                stored, or a stored policy of another federation. Nothing that a node sends raises.
        """
        if isinstance(event, CycleOpened):
            return self._open_cycle(event)
        if isinstance(event, MessageArrived):
            return self._take(event)
        if isinstance(event, RoundDeadlinePassed):
            return self._expire(event)
        return self._stored(event.policy)

    def state(self) -> bytes:
        """All that a restarted aggregator needs, as canonical MessagePack."""
        return to_msgpack(self._state)

    def restore(self, data: bytes, newest: Policy | None = None) -> list[FleetInstruction]:
        """Continue from ``state()``: a round in flight is opened again under a new number, and a policy on trial is
        tried again; one that was being stored counts as stored if the registry has it, else it is asked for again.

        Args:
            newest: newest policy of the registry; None where it is empty.

        Raises:
            DataError: not such a state, or a state or policy of another federation.
        """
        state = from_msgpack(data, _State, "aggregator state")
        if state.federation != self._state.federation:
            raise DataError(
                f"the state is of federation {state.federation!r}, not {self._state.federation!r}",
                "use the folder of this fleet",
            )
        self._state, self._server, self._canary = state, None, None
        instructions = self._stored(newest) if newest else []
        if state.pending:
            instructions.append(StorePolicy(state.pending))
        elif state.trial:
            instructions += self._try(state.trial, state.canaries)
        elif state.collecting:
            instructions += self._open_round(f"restarted during round {state.round}")
        return instructions

    def _open_cycle(self, event: CycleOpened) -> list[FleetInstruction]:
        state = self._state
        if state.pending:
            raise DataError(
                f"cycle {event.cycle} opened while policy {state.pending.version} is being stored",
                "report PolicyStored first",
            )
        if state.policy and event.cycle <= state.policy.cycle:
            raise DataError(
                f"cycle {event.cycle} is not newer than {state.policy.cycle}, of policy {state.policy.version}",
                "open the next cycle",
            )
        if state.trial and event.cycle == state.cycle:
            # Its sum is known: another round of the same vectors, less those who left, would tell theirs.
            return self._try(state.trial, state.canaries)
        state.cycle, state.roster = event.cycle, tuple(sorted(set(event.roster)))
        return self._open_round(f"cycle {event.cycle}")

    def _open_round(self, why: str) -> list[FleetInstruction]:
        state = self._state
        state.round += 1
        state.collecting, state.trial, self._canary = True, None, None
        held = state.policy.digest if state.policy else ""
        spec = RoundSpec(state.round, state.roster, held, self._catalogue.length, self._floor)
        self._server = server = self._protocol(spec)
        return [Log(f"{why}: round {spec.number} asks {len(spec.roster)} nodes"), *self._run(server, Opened())]

    def _expire(self, event: RoundDeadlinePassed) -> list[FleetInstruction]:
        if event.number != self._state.round:
            return []
        if self._canary is not None:
            return self._run_canary(self._canary, DeadlinePassed())
        if self._server is None or not self._state.collecting:
            return []
        return self._run(self._server, DeadlinePassed())

    def _take(self, event: MessageArrived) -> list[FleetInstruction]:
        if self._canary is not None:
            return self._run_canary(self._canary, event)
        if self._server is None:
            return [Refused(event.node, Refusal.LATE, "no round was opened since the start")]
        return self._run(self._server, event)

    def _run(self, server: RoundServer, event: Event) -> list[FleetInstruction]:
        """Let the round's server handle an event; its end becomes the fleet's next step."""
        instructions: list[FleetInstruction] = []
        for instruction in server.handle(event):
            if isinstance(instruction, Finished):
                instructions += self._learn(instruction.result)
            elif isinstance(instruction, Abandoned):
                self._state.collecting = False
                instructions += [RoundEnded((), instruction.dropouts), instruction]
            else:
                instructions.append(instruction)
        return instructions

    def _learn(self, result: RoundResult) -> list[FleetInstruction]:
        state = self._state
        state.collecting = False
        policy = refine(
            state.policy,
            self._catalogue,
            result.sums,
            federation=state.federation,
            cycle=state.cycle,
            participants=len(result.participants),
            protocol=result.protocol,
        )
        given = f"{len(result.participants)} of {len(state.roster)} nodes, {len(result.refused)} messages refused"
        ended = RoundEnded(result.participants, result.dropouts)
        log = Log(f"round {result.number}: {given} ({result.protocol})")
        return [log, ended, *self._try(policy, self._canaries(state.cycle, result.participants))]

    def _try(self, policy: Policy, nodes: Sequence[str]) -> list[FleetInstruction]:
        if not nodes:
            return self._release(policy)
        state = self._state
        state.trial, state.canaries = policy, tuple(nodes)
        self._canary = canary = Canary(state.policy, policy, nodes)
        return self._run_canary(canary, Opened())

    def _run_canary(self, canary: Canary, event: Event) -> list[FleetInstruction]:
        instructions: list[FleetInstruction] = []
        for instruction in canary.handle(event):
            if isinstance(instruction, Released):
                instructions += [Tried(instruction.tallies), *self._release(instruction.policy)]
            elif isinstance(instruction, Held):
                instructions += [Tried(instruction.tallies), self._hold()]
            else:
                instructions.append(instruction)
        return instructions

    def _release(self, policy: Policy) -> list[FleetInstruction]:
        self._state.trial, self._canary = None, None
        self._state.pending = policy
        return [StorePolicy(policy)]

    def _hold(self) -> Abandoned:
        state = self._state
        state.trial, self._canary = None, None
        return Abandoned(state.round, f"the canaries held the new policy back, {_version(state.policy)} stays in force")

    def _stored(self, policy: Policy) -> list[FleetInstruction]:
        state = self._state
        if policy.federation != state.federation:
            raise DataError(
                f"the stored policy is of federation {policy.federation!r}, not {state.federation!r}",
                "use the registry of this fleet",
            )
        if state.pending and policy.version >= state.pending.version:
            state.pending = None
        if policy.version > _version(state.policy):
            state.policy, state.cycle = policy, max(state.cycle, policy.cycle)
            return [BroadcastPolicy(policy), Log(f"policy {policy.version} of cycle {policy.cycle}")]
        return []


def _phase(state: _State) -> Phase:
    if state.pending:
        return Phase.STORING
    if state.trial:
        return Phase.TRYING
    return Phase.COLLECTING if state.collecting else Phase.IDLE


def _version(policy: Policy | None) -> int:
    return policy.version if policy else 0
