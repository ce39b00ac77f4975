from __future__ import annotations

from pathlib import Path

import pytest

from aggregation.enrolment import verify_enrolment
from aggregation.envelope import RefusedError, signing_key
from aggregation.roster import Limits
from cluster.config import AggregationConfig, FleetConfig
from cluster.federation import RootFolder, SiteFolder
from cluster.membership import Membership
from quasim.errors import ConfigError, TrustError
from quasim.targets.spec import Recording, ReplaySpec

SERVER = signing_key(b"\x05" * 32).public_key().public_bytes_raw()
LOCAL = FleetConfig(target=ReplaySpec((Recording("recorded"),)), federation="lab")
SITE = FleetConfig(target=LOCAL.target, federation="lab", aggregation=AggregationConfig(roster="site"))


def request(site: Path, node: str) -> bytes:
    return SiteFolder(site, "lab").enrol(node, "h100")


def found(folder: Path, site: Path, *nodes: str) -> None:
    """A federation with its root elsewhere, whose roster the site accepted."""
    root = RootFolder.create(folder, "lab", SERVER, Limits(2, 66, 2))
    home = SiteFolder(site, "lab")
    home.pin(root.public_key)
    members = [verify_enrolment(home.enrol(node, "h100"), federation="lab") for node in nodes]
    home.accept(root.publish(root.newest().next_epoch(enrol=members)))


def test_a_run_enrols_its_nodes_and_those_that_join_begin_an_epoch(tmp_path: Path) -> None:
    membership = Membership(LOCAL, tmp_path, SERVER)
    assert membership.unknown({"node-1": 1, "node-0": 0}) == ["node-0", "node-1"]
    membership.admit({name: request(tmp_path, name) for name in ("node-0", "node-1")})
    first = membership.roster
    membership.admit({"node-2": request(tmp_path, "node-2")})
    assert list(first.keys) == ["node-0", "node-1"]
    assert list(membership.roster.keys) == ["node-0", "node-1", "node-2"]
    assert membership.roster.epoch == first.epoch + 1
    assert membership.unknown({"node-0": 0, "node-2": 2}) == []
    assert (membership.roster.server, membership.roster.limits.floor) == (SERVER, 2)


def enrolled(site: Path, count: int, config: FleetConfig = LOCAL) -> Membership:
    membership = Membership(config, site, SERVER)
    membership.admit({f"node-{n}": request(site, f"node-{n}") for n in range(count)})
    return membership


def test_a_node_that_is_gone_stays_a_member_while_rounds_can_do_without_it(tmp_path: Path) -> None:
    membership = enrolled(tmp_path, 8)
    before = membership.envelope
    assert not membership.dismiss(frozenset())
    assert not membership.dismiss(frozenset(("node-0",)))
    assert membership.envelope == before


def test_members_that_are_gone_make_room_where_rounds_could_not_finish_with_them(tmp_path: Path) -> None:
    membership = enrolled(tmp_path, 8)
    epoch = membership.roster.epoch
    gone = frozenset(f"node-{n}" for n in range(5))
    assert membership.dismiss(gone)
    assert list(membership.roster.keys) == ["node-5", "node-6", "node-7"]
    assert membership.roster.epoch == epoch + 1
    assert membership.unknown({"node-0": 0, "node-5": 5}) == ["node-0"]


def test_fewer_than_the_floor_are_no_roster(tmp_path: Path) -> None:
    membership = enrolled(tmp_path, 3)
    assert not membership.dismiss(frozenset(("node-0", "node-1")))
    assert len(membership.roster.keys) == 3


def test_a_member_asked_again_that_does_not_answer_stays_one_and_is_asked_once_more(tmp_path: Path) -> None:
    membership = enrolled(tmp_path, 8)
    before = membership.envelope
    membership.forget(["node-3"])
    assert membership.unknown({"node-3": 3, "node-5": 5}) == ["node-3"]
    membership.admit({})
    assert membership.envelope == before
    assert membership.unknown({"node-5": 5}) == []
    assert membership.unknown({"node-3": 3, "node-5": 5}) == ["node-3"]


def test_a_member_that_comes_back_with_another_key_takes_the_place_of_the_old(tmp_path: Path) -> None:
    membership = enrolled(tmp_path, 3)
    before = membership.roster
    membership.forget(["node-1"])
    membership.admit({"node-1": request(tmp_path / "new disk", "node-1")})
    assert membership.roster.epoch == before.epoch + 1
    assert [name for name, key in membership.roster.keys.items() if key != before.keys[name]] == ["node-1"]
    assert membership.unknown({"node-1": 1}) == []


def test_nobody_but_its_owner_changes_a_sites_roster(tmp_path: Path) -> None:
    found(tmp_path / "root", tmp_path / "site", "node-0", "node-1", "node-2")
    membership = Membership(SITE, tmp_path / "site", SERVER)
    assert not membership.dismiss(frozenset(("node-0", "node-1")))


def test_a_second_run_of_the_same_nodes_keeps_the_epoch(tmp_path: Path) -> None:
    made = []
    for _ in range(2):
        membership = Membership(LOCAL, tmp_path, SERVER)
        membership.admit({name: request(tmp_path, name) for name in ("node-0", "node-1")})
        made.append(membership.envelope)
    assert made[0] == made[1]


def test_a_request_that_is_not_in_order_enrols_nobody(tmp_path: Path) -> None:
    membership = Membership(LOCAL, tmp_path, SERVER)
    other = SiteFolder(tmp_path, "elsewhere").enrol("node-0", "h100")
    with pytest.raises(RefusedError, match="elsewhere"):
        membership.admit({"node-0": other})


def test_the_sites_roster_decides_alone_where_it_is_asked_for(tmp_path: Path) -> None:
    found(tmp_path / "root", tmp_path / "site", "node-0", "node-1")
    membership = Membership(SITE, tmp_path / "site", SERVER)
    assert list(membership.roster.keys) == ["node-0", "node-1"]
    assert membership.unknown({"node-0": 0, "node-7": 7}) == []


def test_a_site_without_a_roster_says_what_to_do(tmp_path: Path) -> None:
    SiteFolder(tmp_path, "lab").pin(SERVER)
    with pytest.raises(ConfigError, match="accepted no roster") as caught:
        Membership(SITE, tmp_path, SERVER)
    assert "quasim federation roster FILE --accept" in caught.value.do


def test_a_roster_of_another_aggregator_is_refused(tmp_path: Path) -> None:
    found(tmp_path / "root", tmp_path / "site", "node-0")
    with pytest.raises(ConfigError, match="names the server"):
        Membership(SITE, tmp_path / "site", b"\x06" * 32)


def test_a_run_never_enrols_into_a_federation_whose_root_is_elsewhere(tmp_path: Path) -> None:
    found(tmp_path / "root", tmp_path / "site", "node-0")
    with pytest.raises(TrustError, match="another root"):
        Membership(LOCAL, tmp_path / "site", SERVER)
