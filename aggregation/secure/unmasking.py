"""How the server gets secrets back from shares, finds who dealt or handed back wrong ones, and removes the masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from aggregation.rounds import Refusal
from aggregation.secure.client_round import pair_key
from aggregation.secure.graph import Bits, Bytes
from aggregation.secure.keys import Purpose, Secret, derive, exchange, public_bytes, seed_commitment, share_digest
from aggregation.secure.masks import Ring, apply_masks
from aggregation.secure.messages import Advertisement
from aggregation.secure.server_round import Circle, HopelessError, ServerRound
from aggregation.secure.shamir import join
from aggregation.secure.terms import DIGEST_BYTES
from quasim.errors import DataError


@dataclass(frozen=True, slots=True)
class MaskedSum:
    """The vectors added up, and who masked them.

    Attributes:
        settled: U2, who masked with one another, by ring index.
        survivors: U3, whose vectors are in the sum.
        digests: of the shares that each dealt, shape (count, holders, 64).
        total: shape (length + 1,); unmasked in place.
    """

    settled: Bits
    survivors: Bits
    digests: Bytes
    total: Ring


class Recovery:
    """Joins secrets from what the survivors revealed; one at a time, t shares each.

    Args:
        shares: shape (count, holders, 32): what each revealed of each neighbour's by slot, then of its own.
        helped: who revealed anything.
    """

    def __init__(self, round_: ServerRound, circle: Circle, masked: MaskedSum, shares: Bytes, helped: Bits) -> None:
        self._round, self._circle, self._sum = round_, circle, masked
        self._shares, self._helped = shares, helped.copy()

    def secret(self, index: int) -> bytes:
        """The seed of a survivor or the mask key of another; who is found to have cheated helps no further.

        Raises:
            HopelessError: too few shares, or the dealer dealt wrong ones.
        """
        shares = self._collect(index)
        secret = self._joined(index, shares)
        if secret is None:
            shares = self._without_culprits(index, shares)
            secret = self._joined(index, shares)
        if secret is None:
            node = self._circle.ads[index].node
            self._round.refuse(node, Refusal.BAD_SHARE, "the shares that it dealt do not give what it committed to")
            raise HopelessError(f"{node} dealt wrong shares")
        return secret

    def _collect(self, index: int) -> dict[int, bytes]:
        """All shares of a participant's secret, by point."""
        graph = self._circle.graph
        rows = graph.addressed_to(index, self._shares[:, : graph.degree])
        held = np.flatnonzero(self._helped[graph.neighbours(index)])
        shares = {slot + 1: rows[slot].tobytes() for slot in held.tolist()}
        if self._round.terms.complete and self._helped[index]:
            shares[graph.degree + 1] = self._shares[index, -1].tobytes()
        return shares

    def _joined(self, index: int, shares: Mapping[int, bytes]) -> bytes | None:
        """The secret, None if the shares give another than the participant committed to."""
        if len(shares) < self._round.terms.t:
            raise HopelessError(
                f"{len(shares)} shares of {self._circle.ads[index].node}, {self._round.terms.t} are needed"
            )
        try:
            secret = join(shares, self._round.terms.t)
        except DataError:
            return None
        ad = self._circle.ads[index]
        return secret if is_committed(secret, ad, bool(self._sum.survivors[index])) else None

    def _without_culprits(self, index: int, shares: Mapping[int, bytes]) -> dict[int, bytes]:
        """The shares that are what the dealer dealt; the others' holders are named."""
        kind = Secret.SEED if self._sum.survivors[index] else Secret.MASK_KEY
        half = slice(0, DIGEST_BYTES) if kind is Secret.SEED else slice(DIGEST_BYTES, None)
        good = {}
        for point, share in shares.items():
            if share_digest(kind, self._round.session, share) == self._sum.digests[index, point - 1, half].tobytes():
                good[point] = share
            else:
                self._expel(index, point)
        return good

    def _expel(self, dealer: int, point: int) -> None:
        graph = self._circle.graph
        holder = dealer if point > graph.degree else int(graph.neighbours(dealer)[point - 1])
        self._helped[holder] = False
        dealt = self._circle.ads[dealer].node
        self._round.refuse(self._circle.ads[holder].node, Refusal.BAD_SHARE, f"not the share that {dealt} dealt to it")


def is_committed(secret: bytes, ad: Advertisement, survived: bool) -> bool:
    """Whether it is the seed, or else the mask key, that the participant advertised."""
    if survived:
        return seed_commitment(ad.session, ad.node, secret) == ad.seed_commitment
    return public_bytes(X25519PrivateKey.from_private_bytes(secret)) == ad.mask_key


def remove_masks(masked: MaskedSum, secrets: Mapping[int, bytes], circle: Circle, session: bytes) -> None:
    """Take each survivor's own mask off the sum, and what its masks with those who dropped out left there."""
    own = []
    for index, secret in secrets.items():
        if masked.survivors[index]:
            own.append(derive(secret, Purpose.SELF_MASK, session, circle.ads[index].node))
        else:
            _remove_pairs(masked, index, X25519PrivateKey.from_private_bytes(secret), circle, session)
    apply_masks(masked.total, [], own)


def _remove_pairs(masked: MaskedSum, index: int, own: X25519PrivateKey, circle: Circle, session: bytes) -> None:
    """The lesser of two partners added their mask, the greater subtracted it."""
    node, around = circle.ads[index].node, circle.graph.neighbours(index)
    added, subtracted = list[bytes](), list[bytes]()
    for other in (circle.ads[i] for i in around[masked.survivors[around]].tolist()):
        key = pair_key(exchange(own, other.mask_key), session, node, other.node)
        (subtracted if other.node < node else added).append(key)
    apply_masks(masked.total, added, subtracted)
