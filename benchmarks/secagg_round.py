"""One round of secure aggregation in one process: what a client and the server take, and whether the sum is exact."""

from __future__ import annotations

import gc
import hashlib
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aggregation.rounds import (
    Abandoned,
    Broadcast,
    DeadlinePassed,
    Event,
    Finished,
    Instruction,
    MessageArrived,
    Opened,
    RoundResult,
    RoundSpec,
    Send,
)
from aggregation.secure import Encoding, Members, SecureClient, SecureServer
from aggregation.secure.messages import ServerMessage, Settled, read
from benchmarks.secagg_vectors import CLIP, dropped, vector
from quasim.errors import QuasimError
from quasim.space import Floats

FEDERATION = "benchmark"


@dataclass(frozen=True, slots=True)
class Case:
    """What is summed.

    Attributes:
        clients: members that are asked; all answer at first.
        length: d, entries of each vector.
        dropout: share of the clients that is never heard of again once it has dealt its shares.
    """

    clients: int
    length: int
    dropout: float

    def encoding(self) -> Encoding:
        """The finest fixed point that so many vectors allow in 32 bits."""
        scale_bits = ((2**31 - 1) // self.clients).bit_length() - 1
        return Encoding(32, scale_bits, CLIP, 1.0, self.clients)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one round took.

    Attributes:
        client_s: CPU seconds of a client that stayed, median over these.
        worst_client_s: of the one that took most.
        server_s: CPU seconds of the server.
        client_bytes: that a client which stayed sent and received, the most of any.
        exact: whether the sum is, bit for bit, that of the encoded vectors of exactly those who stayed.
    """

    client_s: float
    worst_client_s: float
    server_s: float
    client_bytes: int
    exact: bool


@dataclass(slots=True)
class Node:
    """A client and its account."""

    client: SecureClient
    drops: bool
    seconds: float
    moved_bytes: int = 0

    def answer(self, data: bytes) -> list[bytes]:
        """What it answers, if it is still there."""
        if self.drops and isinstance(read(data, ServerMessage), Settled):  # type: ignore[arg-type]
            return []
        begin = time.process_time()
        answers = self.client.handle(data)
        self.seconds += time.process_time() - begin
        self.moved_bytes += len(data) + sum(map(len, answers))
        return answers


@dataclass(slots=True)
class Fleet:
    """Everyone, and what they have yet to be told."""

    server: SecureServer
    nodes: Mapping[str, Node]
    server_s: float = 0.0
    _due: deque[Instruction] = field(default_factory=deque)

    def run(self) -> RoundResult:
        """The whole round; answers reach the server one at a time, so that none waits in memory.

        Raises:
            QuasimError: it had no sum.
        """
        self._tell(Opened())
        while True:
            instruction = self._due.popleft() if self._due else None
            if isinstance(instruction, Finished):
                return instruction.result
            if isinstance(instruction, Abandoned):
                raise QuasimError(f"the round was abandoned: {instruction.reason}", "drop fewer clients")
            self._deliver(instruction)

    def _deliver(self, instruction: Instruction | None) -> None:
        if instruction is None:
            self._tell(DeadlinePassed())
        elif isinstance(instruction, Send | Broadcast):
            for node in instruction.nodes if isinstance(instruction, Broadcast) else (instruction.node,):
                for answer in self.nodes[node].answer(instruction.data):
                    self._tell(MessageArrived(node, answer))

    def _tell(self, event: Event) -> None:
        begin = time.process_time()
        instructions = self.server.handle(event)
        self.server_s += time.process_time() - begin
        self._due.extend(instructions)


def run(case: Case) -> Cost:
    """One round of everyone.

    The collector of reference cycles is off meanwhile: in a heap that holds thousands of clients it would bill each
    for the others' objects.

    Raises:
        QuasimError: the round had no sum.
    """
    fleet = _fleet(case)
    gc.collect()
    gc.disable()
    try:
        result = fleet.run()
    finally:
        gc.enable()
    stayed = {name: node for name, node in fleet.nodes.items() if not node.drops}
    seconds = [node.seconds for node in stayed.values()]
    return Cost(
        median(seconds),
        max(seconds),
        fleet.server_s,
        max(node.moved_bytes for node in stayed.values()),
        _is_exact(result, tuple(stayed), case),
    )


def _fleet(case: Case) -> Fleet:
    names = [_name(index) for index in range(case.clients)]
    identities = {name: _identity(name) for name in names}
    server = _identity("server")
    keys = {name: identity.public_key().public_bytes_raw() for name, identity in identities.items()}
    members = Members(FEDERATION, bytes(32), server.public_key().public_bytes_raw(), keys, 2)
    lost, encoding = dropped(case.clients, case.dropout), case.encoding()
    nodes = {
        name: _node(name, identities[name], members, encoding, index in lost, _values(index, case))
        for index, name in enumerate(names)
    }
    spec = RoundSpec(0, tuple(names), "", case.length, 1)
    return Fleet(SecureServer(spec, members, encoding, server), nodes)


def _node(
    name: str, identity: Ed25519PrivateKey, members: Members, encoding: Encoding, drops: bool, values: Floats
) -> Node:
    """A client is billed for writing its vector down, too."""
    begin = time.process_time()
    client = SecureClient(name, identity, members, encoding, "", values)
    return Node(client, drops, time.process_time() - begin)


def _is_exact(result: RoundResult, stayed: Iterable[str], case: Case) -> bool:
    encoding, stayed = case.encoding(), sorted(stayed)
    total = encoding.encode(np.zeros(case.length), 0.0)
    for name in stayed:
        total += encoding.encode(_values(int(name), case), 1.0)
    sums, weight = encoding.decode(total)
    same = np.array_equal(result.sums, sums) and result.weight == weight
    return same and list(result.participants) == stayed


def _values(index: int, case: Case) -> Floats:
    return vector(index, case.length).astype(np.float64)


def _name(index: int) -> str:
    """Ascending as the numbers are."""
    return f"{index:05}"


def _identity(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())
