"""A fleet in one process: honest nodes and server, a post between them that tests may lose or forge letters in."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec
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
    Refusal,
    Refused,
    RoundResult,
    RoundSpec,
    Send,
    to_message,
)
from aggregation.secure import Encoding, Members, SecureClient, SecureServer
from aggregation.secure.messages import ClientMessage, ServerMessage, read, read_client
from quasim.errors import DataError
from quasim.space import Floats

POLICY = "ab" * 32
LENGTH = 5
# Changes a message on its way; None loses it.
Down = Callable[[str, ServerMessage], ServerMessage | bytes | None]
Up = Callable[[str, ClientMessage, bytes], bytes | None]


def identity(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


def entropy(seed: str) -> Callable[[int], bytes]:
    """Bytes that nobody could foresee, were the seed unknown."""
    drawn = [0]

    def draw(count: int) -> bytes:
        drawn[0] += 1
        return hashlib.shake_256(f"{seed}/{drawn[0]}".encode()).digest(count)

    return draw


def vector(node: str, length: int = LENGTH) -> Floats:
    return np.random.default_rng(list(node.encode())).uniform(-1, 1, length)


def members(nodes: tuple[str, ...], floor: int = 2) -> Members:
    keys = {node: identity(node).public_key().public_bytes_raw() for node in nodes}
    return Members("fed", bytes(32), identity("server").public_key().public_bytes_raw(), keys, floor)


def names(n: int) -> tuple[str, ...]:
    return tuple(f"n{i:03}" for i in range(n))


@dataclass
class Fleet:
    """Members, the clients of all, and what happened.

    Attributes:
        gone: the kind of message that a node no longer sends, by node.
        down, up: forge messages of the server and of clients.
        errors: why a client refused, by node.
        refused: by the server, in order.
        abandoned: why the round was, None while it was not.
        result: of the round, None before its end.
        seen: the letters to each node, as they arrived.
    """

    n: int
    floor: int = 2
    length: int = LENGTH
    ring_bits: int = 32
    seed: str = "s"
    weights: Mapping[str, float] = field(default_factory=dict)
    gone: Mapping[str, type[ClientMessage]] = field(default_factory=dict)
    down: Down = lambda node, message: message
    up: Up = lambda node, message, data: data
    errors: dict[str, DataError] = field(default_factory=dict)
    refused: list[Refused] = field(default_factory=list)
    abandoned: str | None = None
    result: RoundResult | None = None
    seen: list[tuple[str, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.members = members(names(self.n), self.floor)
        bits = self.ring_bits
        self.encoding = msgspec.convert(
            {"ring_bits": bits, "scale_bits": bits // 2, "clip": 1.0, "weight_bound": 1.0, "participants": self.n},
            Encoding,
        )
        self.clients = {node: self.client(node) for node in self.members.ids}
        self.server = self.new_server(7)

    def client(self, node: str, last_round: int = -1) -> SecureClient:
        return SecureClient(
            node,
            identity(node),
            self.members,
            self.encoding,
            POLICY,
            vector(node, self.length),
            self.weights.get(node, 1.0),
            last_round=last_round,
            entropy=entropy(f"{self.seed}/{node}"),
        )

    def new_server(self, number: int) -> SecureServer:
        spec = RoundSpec(number, self.members.ids, POLICY, self.length, self.floor)
        return SecureServer(spec, self.members, self.encoding, identity("server"), entropy=entropy(self.seed))

    def run(self) -> Fleet:
        """The round from its opening to its end."""
        todo = self.tell(Opened())
        while self.result is None and self.abandoned is None:
            inbox = [letter for node, data in todo for letter in self._answers(node, data)]
            todo = [out for node, data in inbox for out in self.tell(MessageArrived(node, data))]
            if not todo and self.result is None and self.abandoned is None:
                todo = self.tell(DeadlinePassed())
        return self

    def tell(self, event: Event) -> list[tuple[str, bytes]]:
        """What the server sends on an event, to whom."""
        return [letter for one in self.server.handle(event) for letter in self._letters(one)]

    def expected(self, *nodes: str) -> tuple[Floats, float]:
        """The sum that the encoding gives for these nodes, bit for bit."""
        total = self.encoding.encode(np.zeros(self.length), 0.0)
        for node in nodes:
            total += self.encoding.encode(vector(node, self.length), self.weights.get(node, 1.0))
        return self.encoding.decode(total)

    def assert_sum_of(self, *nodes: str) -> None:
        assert self.abandoned is None, self.abandoned
        assert self.result is not None
        assert self.result.participants == tuple(sorted(nodes))
        sums, weight = self.expected(*nodes)
        assert self.result.sums.tobytes() == sums.tobytes()
        assert self.result.weight == weight

    def all_but(self, *nodes: str) -> tuple[str, ...]:
        return tuple(sorted(set(self.members.ids) - set(nodes)))

    def reasons(self) -> dict[str, Refusal]:
        return {one.node: one.reason for one in self.refused}

    def _letters(self, instruction: Instruction) -> list[tuple[str, bytes]]:
        if isinstance(instruction, Finished):
            self.result = instruction.result
        elif isinstance(instruction, Abandoned):
            self.abandoned = instruction.reason
        elif isinstance(instruction, Refused):
            self.refused.append(instruction)
        elif isinstance(instruction, Send):
            return [(instruction.node, instruction.data)]
        elif isinstance(instruction, Broadcast):
            return [(node, instruction.data) for node in instruction.nodes]
        return []

    def _answers(self, node: str, data: bytes) -> list[tuple[str, bytes]]:
        forged = self.down(node, read(data, ServerMessage))  # type: ignore[arg-type]
        if forged is None:
            return []
        data = forged if isinstance(forged, bytes) else to_message(forged)
        self.seen.append((node, data))
        try:
            answers = self.clients[node].handle(data)
        except DataError as error:
            self.errors[node] = error
            return []
        return [(node, letter) for answer in answers if (letter := self._posted(node, answer)) is not None]

    def _posted(self, node: str, answer: bytes) -> bytes | None:
        message, _ = read_client(answer)
        kinds = list(ClientMessage.__args__)
        if node in self.gone and kinds.index(type(message)) >= kinds.index(self.gone[node]):
            return None
        return self.up(node, message, answer)
