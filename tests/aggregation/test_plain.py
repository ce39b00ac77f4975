from __future__ import annotations

import math

import numpy as np
import pytest

from aggregation.plain import LABEL, Contribution, PlainClient, PlainServer
from aggregation.rounds import (
    Finished,
    Invitation,
    MessageArrived,
    Opened,
    Refusal,
    Refused,
    RoundClient,
    RoundServer,
    RoundSpec,
    to_message,
)
from quasim.errors import DataError
from quasim.space import Floats
from tests.aggregation.round_conformance import LENGTH, NODES, POLICY, VECTORS, RoundConformance, spec, summed


class TestPlainConforms(RoundConformance):
    label = "plain: the aggregator sees each node's vector"

    def server(self, spec: RoundSpec) -> RoundServer:
        return PlainServer(spec)

    def client(self, node: str, vector: Floats, policy: str) -> RoundClient:
        return PlainClient(vector, policy)


def contribution(vector: Floats, number: int = 7, policy: str = POLICY) -> bytes:
    return to_message(Contribution(number, policy, vector.astype("<f8").tobytes()))


def entry(value: float) -> Floats:
    return np.array([0.0] * (LENGTH - 1) + [value])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (contribution(VECTORS["n1"], number=6), Refusal.LATE),
        (contribution(VECTORS["n1"], number=8), Refusal.OTHER_ROUND),
        (contribution(VECTORS["n1"], policy="cd" * 32), Refusal.OTHER_POLICY),
        (contribution(VECTORS["n1"][:-1]), Refusal.WRONG_LENGTH),
        (contribution(np.zeros(100_000)), Refusal.WRONG_LENGTH),
        (contribution(entry(math.nan)), Refusal.OUT_OF_RANGE),
        (contribution(entry(math.inf)), Refusal.OUT_OF_RANGE),
        (contribution(entry(1.001)), Refusal.OUT_OF_RANGE),
        (contribution(VECTORS["n1"])[:-1], Refusal.MALFORMED),
        (contribution(VECTORS["n1"]) + b"\0", Refusal.MALFORMED),
        (to_message(Invitation(7, LABEL, POLICY, LENGTH)), Refusal.MALFORMED),
    ],
)
def test_a_message_that_does_not_fit_is_refused_with_its_reason_and_may_be_sent_again(
    data: bytes, reason: Refusal
) -> None:
    server = PlainServer(spec())
    server.handle(Opened())
    (refused,) = server.handle(MessageArrived("n1", data))
    assert isinstance(refused, Refused)
    assert (refused.node, refused.reason) == ("n1", reason)
    for node in NODES[:-1]:
        assert server.handle(MessageArrived(node, contribution(VECTORS[node]))) == []
    (end,) = server.handle(MessageArrived(NODES[-1], contribution(VECTORS[NODES[-1]])))
    assert isinstance(end, Finished)
    assert end.result.refused == (refused,)
    assert end.result.sums.tobytes() == summed(NODES).tobytes()


def test_of_two_answers_the_first_counts() -> None:
    server = PlainServer(spec(("n0", "n1")))
    server.handle(Opened())
    server.handle(MessageArrived("n0", contribution(VECTORS["n0"])))
    (refused,) = server.handle(MessageArrived("n0", contribution(VECTORS["n2"])))
    (end,) = server.handle(MessageArrived("n1", contribution(VECTORS["n1"])))
    assert isinstance(refused, Refused)
    assert refused.reason is Refusal.DUPLICATE
    assert isinstance(end, Finished)
    assert end.result.sums.tobytes() == summed(("n0", "n1")).tobytes()


def test_a_client_refuses_another_protocol() -> None:
    with pytest.raises(DataError, match="this node speaks"):
        PlainClient(VECTORS["n0"], POLICY).handle(to_message(Invitation(7, "masked", POLICY, LENGTH)))


@pytest.mark.parametrize("value", [math.nan, 1.5])
def test_a_client_cannot_be_built_on_a_vector_that_would_be_refused(value: float) -> None:
    with pytest.raises(DataError, match="local_update"):
        PlainClient(entry(value), POLICY)
