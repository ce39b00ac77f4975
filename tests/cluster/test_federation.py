from __future__ import annotations

import stat
from pathlib import Path

import msgspec
import pytest

from aggregation.enrolment import verify_enrolment
from aggregation.envelope import Distrust, signing_key
from aggregation.roster import (
    Limits,
    RosterRefusedError,
    inspect_roster,
    sign_roster,
)
from cluster.federation import RootFolder, SiteFolder
from quasim.errors import ConfigError, DataError, StorageError, TrustError

SERVER = signing_key(b"\x09" * 32).public_key().public_bytes_raw()
LIMITS = Limits(participants=2, threshold_percent=66, floor=2)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def make_root(tmp_path: Path) -> RootFolder:
    return RootFolder.create(tmp_path / "root", "lab", SERVER, LIMITS)


def test_a_new_root_signs_epoch_one_without_members(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    newest = root.newest()
    assert (newest.epoch, newest.members, newest.server) == (1, (), SERVER)
    assert inspect_roster(root.envelope(1)) == (newest, root.public_key)
    assert mode(tmp_path / "root" / "root.key") == 0o600
    assert mode(tmp_path / "root") == 0o700


def test_a_root_is_never_made_twice(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    before = root.public_key
    with pytest.raises(ConfigError, match="already"):
        make_root(tmp_path)
    assert root.public_key == before


def test_an_epoch_is_signed_once(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    assert root.publish(root.newest()) == root.envelope(1)
    with pytest.raises(StorageError, match="meanwhile"):
        root.publish(msgspec.structs.replace(root.newest(), server=b"\x01" * 32))


def test_a_folder_without_key_is_no_root_and_does_not_become_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"root\.key"):
        RootFolder(tmp_path).newest()
    assert not list(tmp_path.iterdir())


def test_a_roster_that_lies_under_another_epochs_name_is_refused(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    root.roster_file(2).write_bytes(root.envelope(1))
    with pytest.raises(RosterRefusedError):
        root.newest()


def test_a_site_accepts_only_newer_rosters_of_its_pinned_root(tmp_path: Path) -> None:
    root, site = make_root(tmp_path), SiteFolder(tmp_path / "site", "lab")
    site.pin(root.public_key)
    member = verify_enrolment(site.enrol("node-0", "h100"), federation="lab")
    second = root.publish(root.newest().next_epoch(enrol=[member]))
    assert site.roster() is None
    assert site.accept(second).members == (member,)
    assert site.accept(second) == site.roster()
    with pytest.raises(RosterRefusedError) as caught:
        site.accept(root.envelope(1))
    assert caught.value.reason is Distrust.ROLLBACK
    held = site.roster()
    assert held is not None
    assert held.epoch == 2
    with pytest.raises(RosterRefusedError) as caught:
        site.accept(sign_roster(b"\x05" * 32, msgspec.structs.replace(held, epoch=3)))
    assert caught.value.reason is Distrust.UNTRUSTED_KEY


def test_an_epoch_with_other_content_is_a_rollback(tmp_path: Path) -> None:
    root, site = make_root(tmp_path), SiteFolder(tmp_path / "site", "lab")
    site.pin(root.public_key)
    site.accept(root.envelope(1))
    seed = (tmp_path / "root" / "root.key").read_bytes()
    other = sign_roster(seed, msgspec.structs.replace(root.newest(), limits=Limits(1, 51, 1)))
    with pytest.raises(RosterRefusedError) as caught:
        site.accept(other)
    assert caught.value.reason is Distrust.ROLLBACK


def test_a_site_does_not_change_its_pin(tmp_path: Path) -> None:
    site = SiteFolder(tmp_path, "lab")
    site.pin(b"\x01" * 32)
    site.pin(b"\x01" * 32)
    with pytest.raises(TrustError, match="another root"):
        site.pin(b"\x02" * 32)
    assert site.root() == b"\x01" * 32


def test_a_site_without_pin_and_one_with_a_broken_pin_say_so(tmp_path: Path) -> None:
    site = SiteFolder(tmp_path, "lab")
    with pytest.raises(ConfigError, match="--pin"):
        site.root()
    (tmp_path / "federations" / "lab").mkdir(parents=True)
    (tmp_path / "federations" / "lab" / "root.pub").write_text("not hex\n")
    with pytest.raises(DataError, match="no key in hex"):
        site.root()


def test_names_cannot_leave_the_site_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="federation"):
        SiteFolder(tmp_path, "../other")
    with pytest.raises(DataError, match="node"):
        SiteFolder(tmp_path, "lab").enrol("../node", "h100")
    assert not list(tmp_path.iterdir())


def test_a_node_keeps_its_identity(tmp_path: Path) -> None:
    site = SiteFolder(tmp_path, "lab")
    assert site.enrol("node-0", "h100") == site.enrol("node-0", "h100")
    assert mode(site.identity_file("node-0")) == 0o600
