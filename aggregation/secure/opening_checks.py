"""What a client demands of a round before it takes part: one small function a demand, all raising ``DataError``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aggregation.secure.degrees import Degrees, degrees
from aggregation.secure.encoding import Encoding
from aggregation.secure.keys import Signed, is_signed
from aggregation.secure.members import Members
from aggregation.secure.messages import Opening
from quasim.errors import DataError


@dataclass(frozen=True, slots=True)
class Demands:
    """What a node knows by itself.

    Attributes:
        members: of its group, from the roster that it verified.
        encoding: that its fleet agreed on.
        policy: digest of the policy that it holds; empty where it has none.
        length: entries of its vector.
        newer_than: the last round it took part in; −1 before the first.
    """

    members: Members
    encoding: Encoding
    policy: str
    length: int
    newer_than: int


def check_opening(opening: Opening, demands: Demands) -> None:
    """All demands.

    Raises:
        DataError: the first that is not met.
    """
    for check in CHECKS:
        check(opening, demands)


def check_server(opening: Opening, demands: Demands) -> None:
    """The pinned server signed terms and round key."""
    key, session = demands.members.server_key, opening.terms.session()
    if not is_signed(key, Signed.OPENING, session, opening.round_key, opening.signature):
        raise DataError("an opening without the signature of this federation's server", "check whom the node talks to")


def check_number(opening: Opening, demands: Demands) -> None:
    """No round twice: its sum and another of the same vectors would tell them apart."""
    if opening.terms.number <= demands.newer_than:
        raise DataError(
            f"round {opening.terms.number} is not newer than {demands.newer_than}", "let the server open a new number"
        )


def check_members(opening: Opening, demands: Demands) -> None:
    """The node's own federation and roster."""
    terms, members = opening.terms, demands.members
    if (terms.federation, terms.roster_digest) != (members.federation, members.digest):
        raise DataError(f"a round of {terms.federation!r} with another roster", "fetch the newest signed roster")


def check_policy(opening: Opening, demands: Demands) -> None:
    """The policy that the node holds."""
    if opening.terms.policy != demands.policy:
        raise DataError(
            f"the round is bound to policy {opening.terms.policy!r}, this node holds {demands.policy!r}",
            "adopt the newest policy, then ask to take part",
        )


def check_length(opening: Opening, demands: Demands) -> None:
    """The layout of the node's vector."""
    if opening.terms.length != demands.length:
        raise DataError(
            f"the round sums {opening.terms.length} entries, this node has {demands.length}", "compare catalogues"
        )


def check_encoding(opening: Opening, demands: Demands) -> None:
    """Ring, scale, bounds and n as agreed, for which no sum can overflow."""
    if opening.terms.encoding != demands.encoding:
        raise DataError(f"a round in {opening.terms.encoding}, not {demands.encoding}", "configure one of them")


def check_degrees(opening: Opening, demands: Demands) -> None:
    """As many neighbours and shares as n needs."""
    terms, needed = opening.terms, degrees(len(demands.members.ids))
    if Degrees(terms.k, terms.t) != needed:
        raise DataError(f"{terms.k} neighbours and threshold {terms.t}, not {needed}", "do not trust this server")


def check_floor(opening: Opening, demands: Demands) -> None:
    """No sum of fewer than the node accepts."""
    if opening.terms.floor < demands.members.floor:
        raise DataError(
            f"a floor of {opening.terms.floor}, this node wants {demands.members.floor}", "raise the server's floor"
        )


CHECKS: tuple[Callable[[Opening, Demands], None], ...] = (
    check_server,
    check_members,
    check_number,
    check_policy,
    check_length,
    check_encoding,
    check_degrees,
    check_floor,
)
