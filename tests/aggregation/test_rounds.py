from __future__ import annotations

import math

import numpy as np
import pytest

from aggregation.rounds import (
    Abandoned,
    Broadcast,
    Instruction,
    Invitation,
    RoundClient,
    RoundResult,
    RoundSpec,
    Send,
    from_message,
    to_message,
)
from quasim.codec import to_msgpack
from quasim.errors import DataError
from tests.aggregation.round_conformance import NODES, POLICY, VECTORS, finished, play, spec, summed
from tests.aggregation.two_step import TwoStepClient, TwoStepServer

INVITATION = Invitation(3, "a protocol", POLICY, 12)


class Silent:
    """Says that it is there and then nothing more."""

    def handle(self, data: bytes) -> list[bytes]:
        return [b"I am"] if data == b"who is there?" else []


def test_a_message_reads_back_from_its_only_form() -> None:
    data = to_message(INVITATION)
    assert from_message(data, Invitation) == INVITATION
    fields = {"type": "invitation", "round": 3, "protocol": "a protocol", "policy": POLICY, "length": 12}
    assert to_msgpack(fields) == data
    with pytest.raises(DataError, match="canonical"):
        from_message(to_msgpack(dict(reversed(fields.items()))), Invitation)


@pytest.mark.parametrize(
    ("number", "roster", "length", "floor"),
    [(-1, ("a",), 1, 1), (0, ("b", "a"), 1, 1), (0, ("a", "a"), 1, 1), (0, ("a",), -1, 1), (0, ("a",), 1, 0)],
)
def test_a_round_that_makes_no_sense_cannot_be_described(
    number: int, roster: tuple[str, ...], length: int, floor: int
) -> None:
    with pytest.raises(DataError):
        RoundSpec(number, roster, POLICY, length, floor)


def test_a_result_that_is_not_finite_cannot_be_built() -> None:
    with pytest.raises(DataError, match="not finite"):
        RoundResult(1, "a protocol", ("a",), np.array([math.inf]), ())


def test_a_protocol_of_several_exchanges_fits_behind_the_interface() -> None:
    clients = {node: TwoStepClient(VECTORS[node], POLICY) for node in NODES}
    log: list[Instruction] = play(TwoStepServer(spec()), clients)
    assert [type(instruction) for instruction in log[:-1]] == [Broadcast, Send, Send, Send, Send, Send]
    assert finished(log).sums.tobytes() == summed(NODES).tobytes()


def test_nodes_may_drop_out_between_the_exchanges() -> None:
    clients: dict[str, RoundClient] = {node: TwoStepClient(VECTORS[node], POLICY) for node in NODES[:3]}
    assert finished(play(TwoStepServer(spec()), clients | {"n3": Silent()})).participants == NODES[:3]
    log = play(TwoStepServer(spec(floor=4)), clients | {"n3": Silent()})
    assert isinstance(log[-1], Abandoned)
