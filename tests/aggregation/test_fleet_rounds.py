"""Rounds as a fleet runs them: ``FleetServer`` and ``Participant`` over a signed roster."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping

import msgspec
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aggregation.agreement import Agreement, Noise
from aggregation.fleet_server import round_server
from aggregation.groups import GROUP
from aggregation.participant import Participant
from aggregation.plain import LABEL as PLAIN
from aggregation.plain import PlainServer
from aggregation.privacy import calibrated
from aggregation.roster import Limits, Member, Roster
from aggregation.rounds import Abandoned, Broadcast, Finished, Opened, RoundServer, RoundSpec
from quasim.errors import DataError
from quasim.space import Floats
from tests.aggregation.round_conformance import POLICY, play

LENGTH = 6
SECURE = Agreement(secure=True)
LAX = Limits(1, 66, 1)
UNIT = 2.0**-SECURE.scale_bits


def key(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


def public(name: str) -> bytes:
    return key(name).public_key().public_bytes_raw()


def entropy(seed: str) -> Callable[[int], bytes]:
    drawn = [0]

    def draw(count: int) -> bytes:
        drawn[0] += 1
        return hashlib.shake_256(f"{seed}/{drawn[0]}".encode()).digest(count)

    return draw


def roster(n: int, limits: Limits = LAX) -> Roster:
    members = tuple(Member(name, public(name), "c") for name in names(n))
    return Roster(federation="lab", epoch=2, server=public("server"), limits=limits, members=members)


def names(n: int) -> tuple[str, ...]:
    return tuple(f"n{number:03}" for number in range(n))


def vector(name: str) -> Floats:
    return np.random.default_rng(list(name.encode())).uniform(-1, 1, LENGTH)


def server(agreed: Agreement, members: Roster, number: int = 0, floor: int = 1, seed: str = "s") -> RoundServer:
    spec = RoundSpec(number, tuple(members.keys), POLICY, LENGTH, floor)
    return round_server(spec, agreed, members, key("server"), entropy(seed))


def participant(
    name: str, agreed: Agreement, members: Roster | None, last_round: int = -1, seed: str = "s"
) -> Participant:
    random = entropy(f"{seed}/{name}")
    return Participant(name, key(name), agreed, members, POLICY, vector(name), last_round=last_round, entropy=random)


def finished(agreed: Agreement, members: Roster, there: Iterable[str], seed: str = "s") -> Finished | Abandoned:
    clients = {name: participant(name, agreed, members, seed=seed) for name in there}
    end = play(server(agreed, members, seed=seed), clients)[-1]
    assert isinstance(end, (Finished, Abandoned))
    return end


def total(there: Iterable[str]) -> Floats:
    summed: Floats = np.sum([vector(name) for name in there], axis=0)
    return summed


def test_the_secure_sum_is_that_of_the_vectors_and_says_what_it_is() -> None:
    members = roster(4)
    end = finished(SECURE, members, names(4))
    assert isinstance(end, Finished)
    assert end.result.participants == names(4)
    assert np.abs(end.result.sums - total(names(4))).max() <= 4 * UNIT / 2
    assert end.result.protocol == (
        "secure: the aggregator sees the sum alone; one group, summed: a liar counts in full up to the clip bound"
    )


def test_sums_do_not_depend_on_keys() -> None:
    ends = [finished(SECURE, roster(4), names(4), seed) for seed in ("one", "two")]
    first, second = (end.result.sums for end in ends if isinstance(end, Finished))
    assert first.tobytes() == second.tobytes()


def test_a_member_that_is_not_there_is_a_dropout_and_not_in_the_sum() -> None:
    end = finished(SECURE, roster(4), names(3))
    assert isinstance(end, Finished)
    assert [(lost.step, lost.nodes) for lost in end.result.dropouts] == [("keys", ("n003",))]
    assert np.abs(end.result.sums - total(names(3))).max() <= 3 * UNIT / 2


def test_below_the_protocols_own_floor_nothing_comes_out() -> None:
    end = finished(SECURE, roster(4), names(2))
    assert isinstance(end, Abandoned)
    assert "below the floor of 3" in end.reason
    assert [lost.step for lost in end.dropouts] == ["keys"]


@pytest.fixture(scope="module")
def grouped() -> tuple[Roster, tuple[tuple[str, ...], ...]]:
    members = roster(3 * GROUP)
    return members, tuple(group.ids for group in SECURE.members(members))


def test_large_rosters_are_summed_in_groups_whose_median_counts(
    grouped: tuple[Roster, tuple[tuple[str, ...], ...]],
) -> None:
    members, groups = grouped
    end = finished(SECURE, members, names(3 * GROUP))
    assert isinstance(end, Finished)
    means = np.sort([total(group) / GROUP for group in groups], axis=0)
    assert np.abs(end.result.sums - 3 * GROUP * means[1]).max() <= 3 * GROUP * UNIT
    assert "3 groups, median of their means: bears 1 with liars" in end.result.protocol


def test_a_group_below_its_floor_is_left_out(grouped: tuple[Roster, tuple[tuple[str, ...], ...]]) -> None:
    members, groups = grouped
    there = [*groups[0], *groups[1], *groups[2][:3]]
    end = finished(SECURE, members, there)
    assert isinstance(end, Finished)
    assert end.result.participants == tuple(sorted(groups[0] + groups[1]))
    assert np.abs(end.result.sums - total(groups[0] + groups[1])).max() <= 2 * GROUP * UNIT
    assert set(end.result.dropouts[0].nodes) == set(groups[2][3:])


def test_without_groups_all_are_one(grouped: tuple[Roster, tuple[tuple[str, ...], ...]]) -> None:
    (everyone,) = msgspec.structs.replace(SECURE, groups=False).members(grouped[0])
    assert everyone.ids == names(3 * GROUP)


def test_a_roster_of_one_is_summed_in_the_clear_and_labelled_so() -> None:
    end = finished(SECURE, roster(1), names(1))
    assert isinstance(end, Finished)
    assert end.result.protocol == PLAIN
    assert end.result.sums.tolist() == vector("n000").tolist()


def invitation(members: Roster) -> bytes:
    spec = RoundSpec(0, tuple(members.keys), POLICY, LENGTH, 1)
    (sent,) = PlainServer(spec).handle(Opened())
    assert isinstance(sent, Broadcast)
    return sent.data


@pytest.mark.parametrize(
    "held", [None, roster(2), roster(1, Limits(2, 66, 1))], ids=["no roster", "not alone", "alone, but not allowed"]
)
def test_nobody_gives_its_vector_in_the_clear_for_the_asking(held: Roster | None) -> None:
    with pytest.raises(DataError, match="in the clear"):
        participant("n000", SECURE, held).handle(invitation(roster(1)))


def test_a_fleet_that_agreed_on_plain_sums_gives_them() -> None:
    plain = Agreement(secure=False)
    end = finished(plain, roster(3), names(3))
    assert isinstance(end, Finished)
    assert end.result.protocol == PLAIN


def opening(members: Roster, number: int = 0) -> bytes:
    (sent,) = server(SECURE, members, number).handle(Opened())
    assert isinstance(sent, Broadcast)
    return sent.data


def test_a_round_taken_part_in_before_a_restart_is_not_answered_again() -> None:
    members = roster(4)
    first = participant("n000", SECURE, members)
    assert len(first.handle(opening(members))) == 1
    again = participant("n000", SECURE, members, last_round=first.last_round)
    assert again.handle(opening(members)) == []
    assert len(again.handle(opening(members, number=1))) == 1
    assert (first.last_round, again.last_round) == (0, 1)


def test_each_opening_is_answered_with_fresh_keys() -> None:
    members = roster(4)
    node = participant("n000", SECURE, members)
    (first,), (second,) = node.handle(opening(members)), node.handle(opening(members, number=1))
    assert first != second


def test_a_refused_opening_does_not_end_the_round_in_progress() -> None:
    members = roster(4)
    clients = {name: participant(name, SECURE, members) for name in names(4)}
    old = opening(replace_epoch(members, 1))
    for client in clients.values():
        client.handle(opening(members, number=1))
        with pytest.raises(DataError):
            client.handle(old)
        assert client.last_round == 1


def replace_epoch(members: Roster, epoch: int) -> Roster:
    return msgspec.structs.replace(members, epoch=epoch)


def test_a_step_of_a_round_that_never_opened_is_refused() -> None:
    members = roster(2)
    played = play(server(SECURE, members), {name: participant(name, SECURE, members) for name in names(2)})
    second = next(sent for sent in played[1:] if not isinstance(sent, (Finished, Broadcast)))
    with pytest.raises(DataError, match="not in"):
        participant("n000", SECURE, members).handle(getattr(second, "data", b""))


@pytest.mark.parametrize(
    ("n", "limits", "says"),
    [(3, Limits(4, 66, 3), "4 participants"), (4, Limits(2, 90, 2), "90 %")],
)
def test_groups_that_the_rosters_limits_forbid_are_refused(n: int, limits: Limits, says: str) -> None:
    with pytest.raises(DataError, match=says):
        SECURE.members(roster(n, limits))


def test_a_stranger_is_asked_to_nothing() -> None:
    with pytest.raises(DataError, match="not in epoch 2"):
        participant("n009", SECURE, roster(4)).handle(opening(roster(4)))


@pytest.fixture(scope="module")
def noisy() -> Agreement:
    privacy = calibrated(200.0, delta=1e-6, rounds=4, length=LENGTH, clip=3.0, scale_bits=16, honest=3)
    return Agreement(secure=True, scale_bits=16, noise=Noise(privacy, 200.0, 1e-6, 4))


def test_noise_blurs_the_sum_and_the_label_says_how_much(noisy: Agreement) -> None:
    assert noisy.noise is not None
    members = roster(4)
    ends = [finished(noisy, members, names(4), seed) for seed in ("one", "two")]
    sums = [end.result.sums for end in ends if isinstance(end, Finished)]
    privacy = noisy.noise.privacy
    spread = privacy.sigma / 2**privacy.scale_bits * np.sqrt(4)
    for one in sums:
        assert 0 < np.abs(one - total(names(4))).max() < 6 * spread
    assert (sums[0] != sums[1]).any()
    assert isinstance(ends[0], Finished)
    assert ends[0].result.protocol.endswith("noise for epsilon 200 at delta 1e-06 over 4 rounds")


def test_no_two_rounds_have_the_same_noise(noisy: Agreement) -> None:
    members, seen = roster(4), list[Floats]()
    clients: Mapping[str, Participant] = {name: participant(name, noisy, members) for name in names(4)}
    for number in (0, 1):
        end = play(server(noisy, members, number), clients)[-1]
        assert isinstance(end, Finished)
        seen.append(end.result.sums)
    assert (seen[0] != seen[1]).all()


def test_the_server_of_a_round_wants_the_pinned_key() -> None:
    members = roster(4)
    spec = RoundSpec(0, tuple(members.keys), POLICY, LENGTH, 1)
    with pytest.raises(DataError, match="server's key"):
        round_server(spec, SECURE, members, key("another"))
