"""Who may take part in a round: identities, pinned by the roster that the federation's root signed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from aggregation.roster import Roster
from aggregation.secure.degrees import degrees
from quasim.codec import to_msgpack
from quasim.errors import DataError

KEY_BYTES = 32
_TAG = b"quasim/secure/members/1\x00"


@dataclass(frozen=True, slots=True)
class Members:
    """One group of a roster; server and nodes build it from the same signed roster and so get the same digest.

    Attributes:
        federation: id of the fleet.
        roster: digest of the signed roster.
        server_key: Ed25519 public key of the server.
        keys: Ed25519 public key of each node that may take part, by its id.
        floor: fewest vectors in a sum that the nodes accept.
        ids: of the nodes, ascending.
        digest: SHA-256 of all of it.
    """

    federation: str
    roster: bytes
    server_key: bytes
    keys: Mapping[str, bytes]
    floor: int
    ids: tuple[str, ...] = field(init=False)
    digest: bytes = field(init=False)
    _index: Mapping[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ids = tuple(sorted(self.keys))
        keys = [self.keys[node] for node in ids]
        if len(set(keys)) != len(keys) or any(len(key) != KEY_BYTES for key in [self.server_key, *keys]):
            raise DataError("identities repeat a key or are not of 32 bytes", "take them from a verified roster")
        everyone = list(zip(ids, keys, strict=True))
        written = to_msgpack([self.federation, self.roster, self.server_key, everyone, self.floor])
        object.__setattr__(self, "keys", MappingProxyType(dict(self.keys)))
        object.__setattr__(self, "ids", ids)
        object.__setattr__(self, "digest", hashlib.sha256(_TAG + written).digest())
        object.__setattr__(self, "_index", {node: i for i, node in enumerate(ids)})

    @classmethod
    def of(cls, roster: Roster, nodes: Sequence[str]) -> Members:
        """Those of a verified roster's nodes who are summed together.

        Raises:
            DataError: a node that is not in the roster, or a round that the roster's limits forbid.
        """
        keys, limits = roster.keys, roster.limits
        if not set(nodes) <= keys.keys():
            raise DataError(f"{sorted(set(nodes) - keys.keys())} are not in the roster", "enrol them first")
        n = len(nodes)
        if n < max(limits.participants, limits.floor, 2):
            raise DataError(
                f"a group of {n}, the roster wants {limits.participants} participants and a floor of {limits.floor}",
                "enrol more nodes or join groups, or sign a roster with lower limits",
            )
        graph = degrees(n)
        # In the complete graph one of the t shares is the participant's own.
        quorum = graph.t - (graph.k == n - 1)
        if 100 * quorum < limits.threshold_percent * graph.k:
            raise DataError(
                f"{quorum} of {graph.k} neighbours are fewer than the roster's {limits.threshold_percent} %",
                "lower its threshold: aggregation.secure.degrees gives what is safe",
            )
        group = {node: keys[node] for node in nodes}
        return cls(roster.federation, roster.digest(), roster.server, group, limits.floor)

    def index(self, node: str) -> int:
        """Place of a node among ``ids``.

        Raises:
            DataError: it is not in the roster.
        """
        if node not in self._index:
            raise DataError(f"{node!r} is not in the roster", "enrol it first")
        return self._index[node]

    def check_participants(self, participants: int) -> None:
        """Refuse what was built for another number of members.

        Raises:
            DataError: it was.
        """
        if participants != len(self.ids):
            raise DataError(
                f"an encoding for {participants} participants, not {len(self.ids)}", "build it for all members"
            )
