"""Who takes part in a run's rounds: the nodes that it enrols itself, or those that the site's roster names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from aggregation.enrolment import verify_enrolment
from aggregation.roster import Limits, Member, Roster, verify_roster
from aggregation.secure import smallest_floor
from cluster.config import FleetConfig
from cluster.federation import SiteFolder
from cluster.local_federation import local_root, local_roster
from quasim.errors import ConfigError

THRESHOLD_PERCENT = 66
"""Two thirds of a node's neighbours, which the protocol's own parameters meet for every number of members."""


class Membership:
    """The roster of a run, epoch by epoch.

    A node that joins begins a new epoch; one that is lost stays a member, so that no sum is of a new cohort for it,
    unless so many are gone that no round could finish with them.

    Args:
        server: raw public key of the aggregator.

    Raises:
        ConfigError: the site's roster is asked for and there is none, or it is of another aggregator.
        TrustError: the site pinned a root elsewhere for a federation that the run would enrol by itself.
    """

    def __init__(self, config: FleetConfig, site: Path, server: bytes) -> None:
        self._federation, self._site, self._server = config.federation, site, server
        self._local = config.aggregation.roster == "local"
        floor = config.aggregation.floor
        self._limits = Limits(floor, THRESHOLD_PERCENT, floor)
        self._members: dict[str, Member] = {}
        self._stale: set[str] = set()
        if self._local:
            self.root = local_root(site, config.federation, server, self._limits).public_key
        else:
            home = SiteFolder(site, config.federation)
            self.root = home.root()
            self._take(home.envelope())
            self._check_server()

    envelope: bytes
    """The signed roster of the current epoch."""

    roster: Roster
    """The same, verified."""

    def unknown(self, nodes: Mapping[str, object]) -> list[str]:
        """Those that have yet to be enrolled, or enrolled again; none where the site's roster decides."""
        known = self._members.keys() - self._stale
        return sorted(nodes.keys() - known) if self._local else []

    def admit(self, requests: Mapping[str, bytes]) -> None:
        """Sign an epoch in which these nodes take part, too.

        Raises:
            TrustError: a request is not in order.
        """
        for request in requests.values():
            member = verify_enrolment(request, federation=self._federation)
            self._members[member.node] = member
            self._stale.discard(member.node)
        self._take(local_roster(self._site, self._federation, list(self._members.values()), self._server, self._limits))

    def forget(self, names: Iterable[str]) -> None:
        """These may have another key by now: they are to be admitted again, and stay members until they are.

        Without them the roster could shrink below what rounds need, which ``dismiss`` alone decides.
        """
        self._stale.update(names)

    def dismiss(self, gone: frozenset[str]) -> bool:
        """Begin an epoch without the members that are gone, where the others are too few with them and enough without.

        Returns:
            Whether there is a new epoch.
        """
        stay = {name: member for name, member in self._members.items() if name not in gone}
        enough = smallest_floor(len(self._members))
        if len(stay) == len(self._members) or not self._limits.floor <= len(stay) < enough:
            return False
        self._members = stay
        self._take(local_roster(self._site, self._federation, list(stay.values()), self._server, self._limits))
        return True

    def _take(self, envelope: bytes) -> None:
        self.roster = verify_roster(envelope, root=self.root, federation=self._federation, newer_than=0)
        self.envelope = envelope

    def _check_server(self) -> None:
        if self.roster.server != self._server:
            raise ConfigError(
                f"epoch {self.roster.epoch} of {self._federation!r} names the server {self.roster.server.hex()}, this "
                f"site's signing key is {self._server.hex()}",
                "found the federation for this aggregator: quasim federation init --server KEY",
            )
