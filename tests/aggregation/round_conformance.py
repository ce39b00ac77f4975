"""What every protocol of aggregation must do; a protocol's test inherits ``RoundConformance``."""

from __future__ import annotations

import random
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aggregation.rounds import (
    Abandoned,
    Broadcast,
    DeadlinePassed,
    Finished,
    Instruction,
    MessageArrived,
    Opened,
    Refusal,
    Refused,
    RoundClient,
    RoundResult,
    RoundServer,
    RoundSpec,
    Send,
)
from quasim.errors import DataError
from quasim.space import Floats
from tests.aggregation.samples import random_vector

POLICY = "ab" * 32
LENGTH = 6
NODES = ("n0", "n1", "n2", "n3", "n4")
# One body for many protocols is what a conformance test is.
many = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.differing_executors])
VECTORS = {node: random_vector(seed, LENGTH) for seed, node in enumerate(NODES)}


def spec(roster: tuple[str, ...] = NODES, floor: int = 2, number: int = 7) -> RoundSpec:
    return RoundSpec(number, roster, POLICY, LENGTH, floor)


def play(server: RoundServer, clients: Mapping[str, RoundClient], seed: int = 0) -> list[Instruction]:
    """Run a round to its end, messages arriving in an order drawn from the seed; nodes without a client are silent."""
    rng, inbox, log = random.Random(seed), list[tuple[str, bytes]](), list[Instruction]()
    todo = list(server.handle(Opened()))
    while True:
        for instruction in todo:
            log.append(instruction)
            if isinstance(instruction, (Finished, Abandoned)):
                return log
            if isinstance(instruction, (Send, Broadcast)):
                nodes = instruction.nodes if isinstance(instruction, Broadcast) else (instruction.node,)
                inbox += [(n, data) for n in nodes if n in clients for data in clients[n].handle(instruction.data)]
        event = MessageArrived(*inbox.pop(rng.randrange(len(inbox)))) if inbox else DeadlinePassed()
        todo = list(server.handle(event))


def finished(log: list[Instruction]) -> RoundResult:
    assert isinstance(log[-1], Finished), log
    return log[-1].result


def summed(nodes: tuple[str, ...]) -> Floats:
    total = np.zeros(LENGTH)
    for node in nodes:
        total += VECTORS[node]
    return total


class RoundConformance:
    label: str

    def server(self, spec: RoundSpec) -> RoundServer:
        raise NotImplementedError

    def client(self, node: str, vector: Floats, policy: str) -> RoundClient:
        raise NotImplementedError

    def summed(self, nodes: tuple[str, ...]) -> Floats:
        """The sum of these nodes' vectors, to the bit."""
        return summed(nodes)

    def fewest(self, floor: int) -> int:
        """Nodes that a round of all five needs."""
        return floor

    def clients(self, *nodes: str) -> dict[str, RoundClient]:
        return {node: self.client(node, VECTORS[node], POLICY) for node in nodes}

    def invitation(self, spec: RoundSpec) -> bytes:
        first = self.server(spec).handle(Opened())[0]
        assert isinstance(first, Broadcast)
        assert first.nodes == spec.roster
        return first.data

    @many
    @given(seed=st.integers(0, 2**32))
    def test_every_order_of_arrival_gives_the_same_sum_to_the_bit(self, seed: int) -> None:
        result = finished(play(self.server(spec()), self.clients(*NODES), seed))
        assert (result.number, result.participants, result.refused) == (7, NODES, ())
        assert result.sums.tobytes() == self.summed(NODES).tobytes()

    @many
    @given(present=st.sets(st.sampled_from(NODES)), seed=st.integers(0, 2**32))
    def test_drop_outs_are_left_out_and_below_the_floor_there_is_no_sum(self, present: set[str], seed: int) -> None:
        log = play(self.server(spec(floor=3)), self.clients(*present), seed)
        if len(present) < self.fewest(3):
            assert isinstance(log[-1], Abandoned)
            assert log[-1].number == 7
            assert "floor" in log[-1].reason
        else:
            result = finished(log)
            assert result.participants == tuple(sorted(present))
            assert result.sums.tobytes() == self.summed(result.participants).tobytes()

    def test_a_roster_below_the_floor_is_abandoned_before_anyone_is_asked(self) -> None:
        (only,) = self.server(spec(("n0",), floor=2)).handle(Opened())
        assert isinstance(only, Abandoned)

    def test_the_result_says_who_could_see_what_and_cannot_be_changed(self) -> None:
        result = finished(play(self.server(spec()), self.clients(*NODES)))
        assert result.protocol == self.label
        with pytest.raises(ValueError, match="read-only"):
            result.sums[0] = 1.0

    def test_messages_and_deadlines_after_the_end_change_nothing(self) -> None:
        server = self.server(spec())
        finished(play(server, self.clients(*NODES)))
        (refused,) = server.handle(MessageArrived("n0", b""))
        assert isinstance(refused, Refused)
        assert refused.reason is Refusal.LATE
        assert list(server.handle(DeadlinePassed())) == []

    @many
    @given(data=st.binary(max_size=200), sender=st.sampled_from(["n0", "stranger"]))
    def test_nonsense_is_refused_recorded_and_harms_nobody(self, data: bytes, sender: str) -> None:
        server = self.server(spec())
        (refused,) = server.handle(MessageArrived(sender, data))
        assert isinstance(refused, Refused)
        assert (refused.node, refused.reason) == (
            sender,
            Refusal.MALFORMED if sender in NODES else Refusal.FOREIGN,
        )
        result = finished(play(server, self.clients(*NODES)))
        assert result.participants == NODES
        assert result.refused == (refused,)
        assert result.sums.tobytes() == self.summed(NODES).tobytes()

    @many
    @given(data=st.binary(max_size=200))
    def test_a_client_refuses_nonsense(self, data: bytes) -> None:
        with pytest.raises(DataError):
            self.client("n0", VECTORS["n0"], POLICY).handle(data)

    def test_a_client_refuses_a_round_about_another_policy_or_layout(self) -> None:
        invitation = self.invitation(spec())
        with pytest.raises(DataError, match="adopt the newest policy"):
            self.client("n0", VECTORS["n0"], "cd" * 32).handle(invitation)
        with pytest.raises(DataError, match="compare catalogues"):
            self.client("n0", np.zeros(LENGTH + 1), POLICY).handle(invitation)

    def test_a_client_answers_an_invitation_once_and_a_reopened_round_again(self) -> None:
        client = self.client("n0", VECTORS["n0"], POLICY)
        assert client.handle(self.invitation(spec()))
        assert client.handle(self.invitation(spec())) == []
        assert client.handle(self.invitation(spec(number=8)))
