"""What a client says to a server that lies about the participants around it."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from aggregation.rounds import to_message
from aggregation.secure.graph import SHOWN_TO_ALL
from aggregation.secure.messages import Run, Shown
from aggregation.secure.ring import commitment
from aggregation.secure.set_checks import check_quorum, check_set
from quasim.errors import DataError
from tests.aggregation.secure.crowd import Crowd, drawn
from tests.aggregation.secure.fleet import names

# Above the number that is shown to all, so that clients see their neighbours alone.
LARGE = 320
ME = 160


@pytest.fixture(scope="module")
def large() -> Crowd:
    return Crowd(LARGE)


def test_an_honest_neighbourhood_is_believed_wherever_the_client_lies(large: Crowd) -> None:
    assert LARGE > SHOWN_TO_ALL
    k = large.terms.k
    for index in (0, 1, ME, LARGE - 1):
        place = large.verify(index)
        around = [large.order[(index + step) % LARGE] for step in (*range(-k // 2, 0), *range(1, k // 2 + 1))]
        assert [ad.node for ad in place.neighbours] == around
    assert Crowd(10).verify(3).index == 3
    assert Crowd(40).verify(3).index == 3


def test_a_ring_too_small_or_larger_than_the_roster_is_refused(large: Crowd) -> None:
    with pytest.raises(DataError, match="a ring of 287"):
        large.verify(ME, large.order[:287])
    with pytest.raises(DataError, match="a ring of 321"):
        large.verify(ME, count=321)
    tiny = Crowd(10)
    with pytest.raises(DataError, match="a ring of 6"):
        tiny.verify(3, tiny.order[:6])


def test_more_fewer_or_others_than_the_neighbours_are_refused(large: Crowd) -> None:
    with pytest.raises(DataError, match="are shown"):
        large.verify(ME, runs=())
    with pytest.raises(DataError, match="are shown"):
        large.verify(ME, index=ME + 1)
    for index in (-1, LARGE):
        with pytest.raises(DataError, match="on a ring of"):
            large.verify(ME, index=index)


def test_a_client_that_is_not_on_the_ring_as_itself_refuses(large: Crowd) -> None:
    me = large.order[ME]
    other = large.ad(me, share_key=drawn("another", me))
    with pytest.raises(DataError, match="another than this node"):
        large.verify(ME, instead={me: msgspec.structs.replace(large.shown(me), advertisement=other)})
    small = Crowd(10)
    with pytest.raises(DataError, match="another than this node"):
        small.verify(3, instead={small.order[3]: Shown(small.ad(small.order[3], mask_key=drawn("x", "y")), b"", ())})


def test_neighbours_whom_the_ring_does_not_commit_to_are_refused(large: Crowd) -> None:
    with pytest.raises(DataError, match="Merkle"):
        large.verify(ME, root=bytes(32))
    with pytest.raises(DataError, match="Merkle"):
        Crowd(10).verify(3, root=bytes(32))


def test_keys_that_were_not_fixed_before_the_nonces_were_known_are_refused(large: Crowd) -> None:
    node = large.order[ME + 2]
    late = large.ad(node, share_key=drawn("another", node))
    with pytest.raises(DataError, match="Merkle"):
        large.verify(ME, instead={node: msgspec.structs.replace(large.shown(node), advertisement=late)})


def test_a_nonce_that_was_not_committed_to_is_refused() -> None:
    crowd = Crowd(LARGE)
    node = crowd.order[ME + 2]
    crowd.ads[node] = crowd.ad(node, nonce_commitment=commitment(drawn("chosen", node)))
    crowd.fix()
    index = crowd.order.index(node) - 2
    with pytest.raises(DataError, match="nonce"):
        crowd.verify(index)


def test_neighbours_out_of_order_are_refused(large: Crowd) -> None:
    nodes = list(large.order)
    nodes[ME + 2], nodes[ME + 3] = nodes[ME + 3], nodes[ME + 2]
    with pytest.raises(DataError, match="order"):
        large.verify(ME, nodes)
    small = Crowd(10)
    with pytest.raises(DataError, match="order"):
        small.verify(3, [*small.order[:8], small.order[9], small.order[8]])
    with pytest.raises(DataError, match="a key is shown twice"):
        small.verify(3, [*small.order[:9], small.order[8]])


def test_a_place_where_ones_position_cannot_lie_is_refused(large: Crowd) -> None:
    turned = large.order[100:] + large.order[:100]
    with pytest.raises(DataError, match="is not where"):
        large.verify(ME - 100, turned)


def test_neighbours_with_gaps_between_them_are_refused(large: Crowd) -> None:
    """Every other member around the client is listed elsewhere, where the client does not see it."""
    order, half = large.order, large.terms.k // 2
    before, after = order[ME - 2 * half : ME], order[ME + 1 : ME + 1 + 2 * half]
    nodes = [
        *order[: ME - 2 * half],
        *before[1::2],
        *before[::2],
        order[ME],
        *after[1::2],
        *after[::2],
        *order[ME + 1 + 2 * half :],
    ]
    with pytest.raises(DataError, match="of the ring"):
        large.verify(ME, nodes)


def test_keys_without_their_owners_signature_are_refused() -> None:
    for n, index in ((LARGE, ME), (10, 3)):
        crowd = Crowd(n)
        node = crowd.order[index + 1]
        crowd.ads[node] = msgspec.structs.replace(crowd.ads[node], share_key=drawn("the server's", node))
        crowd.fix()
        with pytest.raises(DataError, match="signature"):
            crowd.verify(crowd.order.index(node) - 1)


def test_swapped_keys_are_refused() -> None:
    crowd = Crowd(10)
    a, b = crowd.ads["n004"], crowd.ads["n005"]
    crowd.ads["n004"] = msgspec.structs.replace(b, node="n004")
    crowd.ads["n005"] = msgspec.structs.replace(a, node="n005")
    with pytest.raises(DataError, match="signature"):
        crowd.verify(3)


def test_keys_of_another_round_are_refused() -> None:
    crowd = Crowd(10)
    crowd.ads["n004"] = crowd.ad("n004", session=bytes(32))
    with pytest.raises(DataError, match="signature"):
        crowd.verify(3)


def test_a_key_that_two_participants_have_is_refused() -> None:
    for n in (10, 40):
        crowd = Crowd(n)
        crowd.ads["n004"] = crowd.ad("n004", mask_key=crowd.ads["n005"].mask_key)
        crowd.fix()
        with pytest.raises(DataError, match="a key is shown twice"):
            crowd.verify(3)


def test_participants_whom_the_server_invents_are_refused() -> None:
    crowd = Crowd(10)
    crowd.ads["x"] = crowd.ad("x")
    with pytest.raises(DataError, match="not in the roster"):
        crowd.verify(3, [*names(9), "x"])


def test_participants_in_another_form_are_refused() -> None:
    crowd = Crowd(10)
    shown = tuple(to_message(crowd.shown(node)) for node in crowd.order)
    with pytest.raises(DataError):
        crowd.verify(3, runs=(Run(0, (*shown[:9], shown[9] + b"\0"), ()),))


def test_a_set_with_one_side_of_the_client_nearly_empty_is_refused_even_above_the_quorum(large: Crowd) -> None:
    place = large.verify(ME)
    present = np.ones(LARGE, np.bool_)
    check_set(present, place, large.terms)
    present[ME - (large.terms.k - large.terms.t) : ME] = False
    check_quorum(present, place, large.terms)
    with pytest.raises(DataError, match="on each side"):
        check_set(present, place, large.terms)
