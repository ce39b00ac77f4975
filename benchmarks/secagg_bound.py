"""What a round of secure aggregation costs at least on this machine: how often each operation is due, times its price.

Prices are measured on the libraries that do the work (``cryptography``, numpy; for Shamir our own plain integers, as
nothing else has them), in the same run as the round. Counts are those of the protocol in docs/secure-aggregation.md.
With k neighbours, threshold t, quorum q (t, or t - 1 where each keeps a share of its own), D entries (the vector and
its weight), S who stayed and L who dropped out after they had dealt their shares, a client that stays owes

    X25519      2 public keys; k secrets to share under, k to mask under, 1 with the server
    Ed25519     3 signatures (keys, vector, consent); 1 + k + q verifications (opening, neighbours' keys, consents)
    HKDF        k keys to seal under, k to open under, k pair masks, its own mask, the vector's
    AES-GCM     k seals, k openings; 1 GMAC of the vector
    Shamir      2 secrets split
    AES-CTR     k + 1 masks of D entries, each added

and the server, with m = k S / (S + L - 1) neighbours that stayed around each who did not,

    X25519      1 public key; S secrets with the senders of vectors; L public keys checked; L m secrets
    Ed25519     1 signature; S + L + S + S verifications (keys, vectors, consents)
    HKDF        S keys of vectors, S masks of their senders, L m pair masks
    AES-GCM     S GMACs
    Shamir      S + L secrets joined
    AES-CTR     S + L m masks, each added; S vectors added

Hashes, Merkle proofs, messages and their copies are not in the bound, nor is writing the vector in fixed point.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import cycle

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from aggregation.secure.shamir import join, split

ENTRY_BYTES = 4
PIECE_BYTES = 1 << 17
"""Of key stream at a time: with what it is added to it stays in the second-level cache."""

REPEATS = 5
"""The cheapest counts: a bound is what the machine can do."""

WINDOW_S = 0.01


class Operation(str, Enum):
    """What a protocol pays for."""

    PUBLIC_KEY = "X25519 public key"
    AGREE = "X25519 secret"
    SIGN = "Ed25519 sign"
    VERIFY = "Ed25519 verify"
    DERIVE = "HKDF"
    SEAL = "AES-GCM seal"
    OPEN = "AES-GCM open"
    SPLIT = "Shamir split"
    JOIN = "Shamir join"
    STREAM = "AES-CTR entry"
    ADD = "add entry"
    MAC = "GMAC entry"


Counts = Mapping[Operation, float]
Prices = Mapping[Operation, float]


@dataclass(frozen=True, slots=True)
class Size:
    """A round, as in the formulas above.

    Attributes:
        k: neighbours of each.
        own: whether each also keeps a share of its own secrets.
        entries: D.
    """

    stayed: int
    lost: int
    k: int
    t: int
    own: bool
    entries: int

    @property
    def holders(self) -> int:
        """Of the shares of one secret."""
        return self.k + self.own


def client_counts(size: Size) -> Counts:
    """What a client that stays must do."""
    k = size.k
    return {
        Operation.PUBLIC_KEY: 2,
        Operation.AGREE: 2 * k + 1,
        Operation.SIGN: 3,
        Operation.VERIFY: 1 + k + size.t - size.own,
        Operation.DERIVE: 3 * k + 2,
        Operation.SEAL: k,
        Operation.OPEN: k,
        Operation.SPLIT: 2,
        Operation.STREAM: (k + 1) * size.entries,
        Operation.ADD: (k + 1) * size.entries,
        Operation.MAC: size.entries,
    }


def server_counts(size: Size) -> Counts:
    """What the server must do."""
    stayed, lost = size.stayed, size.lost
    pairs = lost * size.k * stayed / (stayed + lost - 1)
    return {
        Operation.PUBLIC_KEY: 1 + lost,
        Operation.AGREE: stayed + pairs,
        Operation.SIGN: 1,
        Operation.VERIFY: 3 * stayed + lost,
        Operation.DERIVE: 2 * stayed + pairs,
        Operation.JOIN: stayed + lost,
        Operation.STREAM: (stayed + pairs) * size.entries,
        Operation.ADD: (2 * stayed + pairs) * size.entries,
        Operation.MAC: stayed * size.entries,
    }


def bound_s(counts: Counts, prices: Prices) -> float:
    """CPU seconds."""
    return sum(count * prices[operation] for operation, count in counts.items())


def measure_prices(size: Size) -> Prices:
    """CPU seconds of one operation, of one entry for those that are billed by the entry."""
    priced = {**_keys(), **_sealing(), **_sharing(size), **_sums(size)}
    return {operation: _cheapest(do) / per for operation, (do, per) in priced.items()}


Priced = dict[Operation, tuple[Callable[[], object], int]]
"""What to time, and how many of the operation it does."""


def _keys() -> Priced:
    own, other = X25519PrivateKey.generate(), X25519PrivateKey.generate().public_key().public_bytes_raw()
    secret, identity, message = own.private_bytes_raw(), Ed25519PrivateKey.generate(), os.urandom(100)
    public, signature = identity.public_key().public_bytes_raw(), identity.sign(message)
    return {
        Operation.PUBLIC_KEY: (
            lambda: X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw(),
            1,
        ),
        Operation.AGREE: (lambda: own.exchange(X25519PublicKey.from_public_bytes(other)), 1),
        Operation.SIGN: (lambda: identity.sign(message), 1),
        Operation.VERIFY: (lambda: Ed25519PublicKey.from_public_bytes(public).verify(signature, message), 1),
        Operation.DERIVE: (lambda: HKDF(SHA256(), 32, None, message).derive(secret), 1),
    }


def _sealing() -> Priced:
    key, nonce, shares, bound = os.urandom(32), bytes(12), os.urandom(64), os.urandom(60)
    sealed = AESGCM(key).encrypt(nonce, shares, bound)
    return {
        Operation.SEAL: (lambda: AESGCM(key).encrypt(nonce, shares, bound), 1),
        Operation.OPEN: (lambda: AESGCM(key).decrypt(nonce, sealed, bound), 1),
    }


def _sums(size: Size) -> Priced:
    """The key stream by pieces that stay in the cache; sums and GMAC over a vector as long as the round's."""
    zeros, stream, entries = bytes(PIECE_BYTES), bytearray(PIECE_BYTES), PIECE_BYTES // ENTRY_BYTES
    encryptor = Cipher(AES(os.urandom(32)), CTR(bytes(16))).encryptor()
    mask = np.frombuffer(stream, np.uint32)
    vector = np.zeros(size.entries, np.uint32)
    pieces = cycle([vector[i : i + entries] for i in range(0, size.entries, entries)])
    whole = len(range(0, size.entries, entries))

    def add() -> None:
        for _ in range(whole):
            piece = next(pieces)
            np.add(piece, mask[: len(piece)], out=piece)

    cipher, view = AESGCM(os.urandom(32)), vector.view(np.uint8).data
    return {
        Operation.STREAM: (lambda: encryptor.update_into(zeros, stream), entries),
        Operation.ADD: (add, size.entries),
        Operation.MAC: (lambda: cipher.encrypt(bytes(12), b"", view), size.entries),
    }


def _sharing(size: Size) -> Priced:
    """In the complete graph the same holders answer for all; else each secret has others, whose weights are new."""
    secret, points = bytes(32), range(1, size.holders + 1)
    shares = dict(zip(points, split(secret, points, size.t, os.urandom), strict=True))
    draw = np.random.default_rng(0)
    chosen = [draw.choice(points, size.t, replace=False).tolist() for _ in range(1 if size.own else 1000)]
    some = cycle([{x: shares[x] for x in one} for one in chosen])
    return {
        Operation.SPLIT: (lambda: split(secret, points, size.t, os.urandom), 1),
        Operation.JOIN: (lambda: join(next(some), size.t), 1),
    }


def _cheapest(do: Callable[[], object]) -> float:
    """CPU seconds of one call, of the best of some windows that each take a while."""
    times = 1
    while (spent := _spent(do, times)) < WINDOW_S:
        times *= 2
    return min([spent, *(_spent(do, times) for _ in range(REPEATS - 1))]) / times


def _spent(do: Callable[[], object], times: int) -> float:
    begin = time.process_time()
    for _ in range(times):
        do()
    return time.process_time() - begin
