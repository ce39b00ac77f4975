"""Verifications that the other tests would not miss, as ``python -m benchmarks.secagg_mutations`` found."""

from __future__ import annotations

import pytest

from aggregation.rounds import MessageArrived, Refusal, Refused
from aggregation.secure.messages import ClientMessage
from tests.aggregation.secure.fleet import Fleet

KINDS: tuple[type[ClientMessage], ...] = ClientMessage.__args__
NODE = "n003"


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_message_of_an_earlier_step_is_late_though_its_sender_is_still_in_the_round(
    kind: type[ClientMessage],
) -> None:
    earlier: list[bytes] = []
    refused: list[Refused] = []

    def repeat(node: str, message: ClientMessage, data: bytes) -> bytes:
        if node == NODE and isinstance(message, kind):
            (instruction,) = fleet.server.handle(MessageArrived(NODE, earlier[-1]))
            assert isinstance(instruction, Refused)
            refused.append(instruction)
        elif node == NODE:
            earlier.append(data)
        return data

    fleet = Fleet(40, up=repeat)
    fleet.run().assert_sum_of(*fleet.members.ids)
    assert [one.reason for one in refused] == [Refusal.LATE]
