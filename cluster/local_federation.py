"""The federation of one machine, made without asking, so that `quasim run` speaks the protocol of several owners."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from aggregation.roster import Limits, Member
from cluster.federation import RootFolder, SiteFolder
from quasim.errors import ConfigError


def local_roster(site: Path, federation: str, members: Sequence[Member], server: bytes, limits: Limits) -> bytes:
    """The signed roster of exactly these members under the site's own root; a new epoch only if something changed.

    The root's key lies beside the identities here: it keeps the protocol the same as between organisations, and
    protects nothing from whoever can read the site folder.

    Raises:
        TrustError: the site pinned a root elsewhere for a federation of this name.
        DataError: a member or key that no roster would hold.
        StorageError: another run on this site changed the federation at the same moment.
    """
    root = local_root(site, federation, server, limits)
    newest = root.newest()
    ordered = tuple(sorted(members, key=lambda member: member.node))
    wanted = msgspec.structs.replace(newest, server=server, limits=limits, members=ordered)
    if wanted == newest:
        return root.envelope(newest.epoch)
    return root.publish(msgspec.structs.replace(wanted, epoch=newest.epoch + 1))


def local_root(site: Path, federation: str, server: bytes, limits: Limits) -> RootFolder:
    """The site's own root of a federation, made when missing, which the site pins.

    Raises:
        TrustError: the site pinned a root elsewhere for a federation of this name.
        DataError: a name or key that no roster would hold.
    """
    home = SiteFolder(site, federation)
    root = RootFolder(home.folder / "root")
    # By an earlier run, or by one that starts at this moment.
    with suppress(ConfigError):
        RootFolder.create(root.folder, federation, server, limits)
    home.pin(root.public_key)
    return root
