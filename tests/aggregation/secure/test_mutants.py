"""Verifications that the other tests would not miss, as ``python -m benchmarks.secagg_mutations`` found."""

from __future__ import annotations

import msgspec
import pytest

from aggregation.rounds import MessageArrived, Refusal, Refused, to_message
from aggregation.secure.keys import Signed, sign
from aggregation.secure.messages import Advertisement, ClientMessage
from tests.aggregation.secure.fleet import Fleet, identity

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


@pytest.mark.parametrize("key", [b"", bytes(range(31)), bytes(range(33))])
@pytest.mark.parametrize("field", ["share_key", "mask_key"])
def test_a_key_of_another_length_is_refused_though_its_owner_signed_it(field: str, key: bytes) -> None:
    def cut(node: str, message: ClientMessage, data: bytes) -> bytes:
        if node != NODE or not isinstance(message, Advertisement):
            return data
        ad = msgspec.structs.replace(message, **{field: key})
        signature = sign(identity(node), Signed.ADVERTISEMENT, ad.session, ad.body())
        return to_message(msgspec.structs.replace(ad, signature=signature))

    fleet = Fleet(10, up=cut).run()
    fleet.assert_sum_of(*fleet.all_but(NODE))
    assert fleet.reasons() == {NODE: Refusal.BAD_KEY}
