from __future__ import annotations

from pathlib import Path

import pytest

from aggregation.enrolment import verify_enrolment
from aggregation.roster import Limits, inspect_roster, verify_roster
from cluster.federation import SiteFolder
from cluster.local_federation import local_root, local_roster
from quasim.errors import TrustError
from tests.cluster.test_federation import LIMITS, SERVER


def local(site: Path, *nodes: str, limits: Limits = LIMITS) -> bytes:
    requests = [SiteFolder(site, "lab").enrol(node, "h100") for node in nodes]
    members = [verify_enrolment(request, federation="lab") for request in requests]
    return local_roster(site, "lab", members, SERVER, limits)


def test_a_local_federation_is_ready_for_rounds(tmp_path: Path) -> None:
    envelope, root = local(tmp_path, "node-1", "node-0"), local_root(tmp_path, "lab", SERVER, LIMITS).public_key
    roster = verify_roster(envelope, root=root, federation="lab", newer_than=0)
    assert (roster.server, roster.limits) == (SERVER, LIMITS)
    assert list(roster.keys) == ["node-0", "node-1"]
    assert SiteFolder(tmp_path, "lab").root() == root


def test_a_local_federation_changes_its_epoch_only_when_something_changes(tmp_path: Path) -> None:
    first = local(tmp_path, "node-0", "node-1")
    assert local(tmp_path, "node-0", "node-1") == first
    joined = local(tmp_path, "node-0", "node-1", "node-2")
    stricter = local(tmp_path, "node-0", "node-1", "node-2", limits=Limits(3, 70, 3))
    rosters = [inspect_roster(made)[0] for made in (first, joined, stricter)]
    assert [roster.epoch for roster in rosters] == [2, 3, 4]
    assert [roster.limits.floor for roster in rosters] == [2, 2, 3]
    assert len({inspect_roster(made)[1] for made in (first, joined, stricter)}) == 1


def test_a_local_federation_never_takes_the_place_of_a_pinned_one(tmp_path: Path) -> None:
    SiteFolder(tmp_path, "lab").pin(b"\x01" * 32)
    with pytest.raises(TrustError, match="another root"):
        local(tmp_path, "node-0", "node-1")
