"""A client's side of one round, step by step; it holds all secrets, and dropping it drops them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from aggregation.rounds import to_message
from aggregation.secure.graph import Bits, pack, unpack
from aggregation.secure.keys import (
    KEY_BYTES,
    Purpose,
    Secret,
    Signed,
    derive,
    exchange,
    fingerprint,
    public_bytes,
    seal,
    seed_commitment,
    share_digest,
    sign,
    unseal,
)
from aggregation.secure.masks import Ring, apply_masks
from aggregation.secure.members import Members
from aggregation.secure.messages import (
    DIGESTS_BYTES,
    SEALED_BYTES,
    SHARE_BYTES,
    Advertisement,
    Consent,
    Delivery,
    Fixed,
    Masked,
    Neighbourhood,
    Nonce,
    Receipt,
    Revealed,
    Settled,
    Shares,
    StepMessage,
    Survivors,
    Unmask,
    check_lengths,
    statement,
    with_vector,
)
from aggregation.secure.ring import NONCE_BYTES, commitment
from aggregation.secure.ring_checks import Place, verify_place
from aggregation.secure.set_checks import check_consents, check_opened, check_set, check_subset
from aggregation.secure.shamir import split
from aggregation.secure.terms import DIGEST_BYTES, Terms


@dataclass(frozen=True, slots=True)
class Seat:
    """Who a client is and what it brings.

    Attributes:
        vector: encoded, shape (length + 1,).
    """

    node: str
    identity: Ed25519PrivateKey
    members: Members
    vector: Ring


class ClientRound:
    """One method a message of the server, in this order; each verifies before it answers.

    Args:
        round_key: of the server, X25519.
        entropy: gives so many unpredictable bytes.
    """

    def __init__(self, seat: Seat, terms: Terms, round_key: bytes, entropy: Callable[[int], bytes]) -> None:
        self._seat, self._terms, self._entropy = seat, terms, entropy
        self.session = terms.session()
        self._round_key = round_key
        self._share_key = X25519PrivateKey.from_private_bytes(entropy(KEY_BYTES))
        self._mask_secret = entropy(KEY_BYTES)
        self._seed = entropy(KEY_BYTES)
        self._nonce = b"" if terms.complete else entropy(NONCE_BYTES)
        self._fixed_root = b""
        self._own = self._advertisement()
        self._place: Place
        self._shared: list[bytes]
        self._own_share = b""
        self._held: dict[int, bytes] = {}
        self._settled: Bits
        self._survivors: Bits
        self._statement = b""

    def answer(self, message: StepMessage) -> bytes:
        """The answer to a message of the server.

        Raises:
            DataError: it is not in order.
        """
        if isinstance(message, Fixed):
            return self.show_nonce(message)
        if isinstance(message, Neighbourhood):
            return self.share(message)
        if isinstance(message, Delivery):
            return self.receive(message)
        if isinstance(message, Settled):
            return self.mask(message)
        return self.consent(message) if isinstance(message, Survivors) else self.reveal(message)

    def advertise(self) -> bytes:
        """The client's keys, signed."""
        return to_message(self._own)

    def show_nonce(self, message: Fixed) -> bytes:
        """Give the nonce away, now that the participants are fixed."""
        check_lengths(root=(message.root, DIGEST_BYTES))
        self._fixed_root = message.root
        return to_message(Nonce(self.session, self._nonce))

    def share(self, message: Neighbourhood) -> bytes:
        """Deal the two secrets to the neighbours."""
        self._place = verify_place(message, self._terms, self._seat.members, self._own, self._fixed_root)
        self._shared = [exchange(self._share_key, ad.share_key) for ad in self._place.neighbours]
        holders = range(1, len(self._shared) + self._terms.complete + 1)
        seeds = split(self._seed, holders, self._terms.t, self._entropy)
        keys = split(self._mask_secret, holders, self._terms.t, self._entropy)
        self._own_share = seeds[-1] if self._terms.complete else b""
        sealed = (self._seal(slot, seeds[slot] + keys[slot]) for slot in range(len(self._shared)))
        return to_message(Shares(self.session, b"".join(sealed), b"".join(map(self._digests, seeds, keys))))

    def receive(self, message: Delivery) -> bytes:
        """Open what the neighbours dealt, and say what did not open."""
        degree = self._place.graph.degree
        check_lengths(sealed=(message.sealed, SEALED_BYTES * degree), digests=(message.digests, DIGESTS_BYTES * degree))
        present = unpack(message.present, degree)
        for slot in np.flatnonzero(present).tolist():
            if (shares := self._unseal(slot, message)) is not None:
                self._held[slot] = shares
        return to_message(Receipt(self.session, pack(present & ~self._opened())))

    def mask(self, message: Settled) -> bytes:
        """The vector under its own mask and one with each neighbour that is left; most secrets end here."""
        settled = unpack(message.members, self._place.graph.count)
        check_set(settled, self._place, self._terms)
        check_opened(settled, self._opened(), self._place)
        self._settled = settled
        vector = self._seat.vector.copy()
        self._add_masks(vector)
        payload = memoryview(vector.astype(vector.dtype.newbyteorder("<"), copy=False)).cast("B")
        shared = exchange(self._share_key, self._round_key)
        mark = fingerprint(derive(shared, Purpose.VECTOR, self.session, self._seat.node), payload)
        del self._seed, self._mask_secret, self._share_key, self._shared
        signature = sign(self._seat.identity, Signed.MASKED, self.session, mark)
        return with_vector(Masked(self.session, mark, signature), payload)

    def consent(self, message: Survivors) -> bytes:
        """Sign who survived, as this client is told."""
        survivors = unpack(message.survivors, self._place.graph.count)
        check_set(survivors, self._place, self._terms)
        check_subset(survivors, self._settled)
        self._survivors = survivors
        place, settled = self._place, pack(self._settled)
        self._statement = statement(self._fixed_root, place.root, place.graph.count, settled, message.survivors)
        return to_message(
            Consent(self.session, sign(self._seat.identity, Signed.CONSENT, self.session, self._statement))
        )

    def reveal(self, message: Unmask) -> bytes:
        """For each neighbour a share of its seed, if it survived, or else of its mask key; never of both."""
        place, survivors = self._place, self._survivors
        check_consents(
            message.signatures,
            self._statement,
            self.session,
            survivors,
            place,
            self._seat.members,
            self._terms.quorum,
        )
        around = place.graph.neighbours(place.index)
        settled, alive = self._settled[around], survivors[around]
        shares = [
            self._chosen(slot, bool(alive[slot])) if settled[slot] else bytes(SHARE_BYTES)
            for slot in range(len(around))
        ]
        return to_message(Revealed(self.session, b"".join(shares) + self._own_share))

    def _advertisement(self) -> Advertisement:
        seat, session = self._seat, self.session
        ad = Advertisement(
            session,
            seat.node,
            public_bytes(self._share_key),
            public_bytes(X25519PrivateKey.from_private_bytes(self._mask_secret)),
            seed_commitment(session, seat.node, self._seed),
            commitment(self._nonce) if self._nonce else b"",
            b"",
        )
        signature = sign(seat.identity, Signed.ADVERTISEMENT, session, ad.body())
        return msgspec.structs.replace(ad, signature=signature)

    def _digests(self, seed_share: bytes, key_share: bytes) -> bytes:
        seed, key = Secret.SEED, Secret.MASK_KEY
        return share_digest(seed, self.session, seed_share) + share_digest(key, self.session, key_share)

    def _seal(self, slot: int, plain: bytes) -> bytes:
        own, other = self._seat.node, self._place.neighbours[slot].node
        key = derive(self._shared[slot], Purpose.SHARE, self.session, own, other)
        return seal(key, plain, self.session, own, other)

    def _unseal(self, slot: int, message: Delivery) -> bytes | None:
        """Both shares of a neighbour; None where they do not open or are not what it committed to."""
        own, other = self._seat.node, self._place.neighbours[slot].node
        key = derive(self._shared[slot], Purpose.SHARE, self.session, other, own)
        plain = unseal(key, _part(message.sealed, slot, SEALED_BYTES), self.session, other, own)
        if plain is None or self._digests(plain[:SHARE_BYTES], plain[SHARE_BYTES:]) != _part(
            message.digests, slot, DIGESTS_BYTES
        ):
            return None
        return plain

    def _opened(self) -> Bits:
        return np.array([slot in self._held for slot in range(self._place.graph.degree)])

    def _add_masks(self, vector: Ring) -> None:
        """Of two partners the lesser adds their mask and the greater subtracts it: the sum knows nothing of it."""
        node, own = self._seat.node, X25519PrivateKey.from_private_bytes(self._mask_secret)
        added, subtracted = [derive(self._seed, Purpose.SELF_MASK, self.session, node)], list[bytes]()
        around = self._place.graph.neighbours(self._place.index)
        for slot in np.flatnonzero(self._settled[around]).tolist():
            other = self._place.neighbours[slot]
            key = pair_key(exchange(own, other.mask_key), self.session, node, other.node)
            (added if node < other.node else subtracted).append(key)
        apply_masks(vector, added, subtracted)

    def _chosen(self, slot: int, survived: bool) -> bytes:
        shares = self._held[slot]
        return shares[:SHARE_BYTES] if survived else shares[SHARE_BYTES:]


def pair_key(secret: bytes, session: bytes, a: str, b: str) -> bytes:
    """The key of the mask between two participants, in whichever order."""
    return derive(secret, Purpose.PAIR_MASK, session, min(a, b), max(a, b))


def _part(data: bytes, slot: int, size: int) -> bytes:
    return data[size * slot : size * (slot + 1)]
