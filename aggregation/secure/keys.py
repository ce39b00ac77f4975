"""What the protocol does with keys: signatures, agreed keys, sealed shares, commitments; each use has its own tag."""

from __future__ import annotations

import hashlib
from enum import Enum

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from quasim.codec import to_msgpack
from quasim.errors import DataError

KEY_BYTES = 32
SIGNATURE_BYTES = 64
TAG_BYTES = 16
# Every key below seals one message and is then thrown away.
_NONCE = bytes(12)
_PREFIX = b"quasim/secure/1/"
_ORDER_8 = (
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
)
_P = 2**255 - 19
# u-coordinates whose multiples by any X25519 key are zero (RFC 7748, section 6.1; Cremers and Jackson 2019, table 1).
_SMALL_ORDER = frozenset({0, 1, *_ORDER_8, _P - 1, _P, _P + 1})


class Signed(bytes, Enum):
    """What an Ed25519 signature is about; no signature of one kind passes for one of another."""

    OPENING = _PREFIX + b"opening\x00"
    ADVERTISEMENT = _PREFIX + b"advertisement\x00"
    MASKED = _PREFIX + b"masked\x00"
    CONSENT = _PREFIX + b"consent\x00"


class Purpose(str, Enum):
    """What a derived key is for."""

    SHARE = "share"
    PAIR_MASK = "pair mask"
    SELF_MASK = "self mask"
    VECTOR = "vector"


class Secret(bytes, Enum):
    """Which of a participant's two secrets a share is of."""

    SEED = _PREFIX + b"seed share\x00"
    MASK_KEY = _PREFIX + b"key share\x00"


def sign(identity: Ed25519PrivateKey, kind: Signed, session: bytes, body: bytes) -> bytes:
    """Signature of 64 bytes over kind, session and body."""
    return identity.sign(kind.value + session + body)


def is_signed(public: bytes, kind: Signed, session: bytes, body: bytes, signature: bytes) -> bool:
    """Whether it is the signature that the holder of the public key made."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, kind.value + session + body)
    except (InvalidSignature, ValueError):
        return False
    return True


def public_bytes(key: X25519PrivateKey) -> bytes:
    """Raw public key, 32 bytes."""
    return key.public_key().public_bytes_raw()


def is_usable(public: bytes) -> bool:
    """Whether an X25519 public key has the length and is none of the points that give everyone the same secret."""
    return len(public) == KEY_BYTES and int.from_bytes(public, "little") % 2**255 not in _SMALL_ORDER


def exchange(own: X25519PrivateKey, other: bytes) -> bytes:
    """The X25519 secret of two keys, 32 bytes.

    Raises:
        DataError: the other key is not usable.
    """
    try:
        return own.exchange(X25519PublicKey.from_public_bytes(other))
    except ValueError as error:
        raise DataError("a public key that no secret can be agreed with", "refuse its owner") from error


def derive(secret: bytes, purpose: Purpose, session: bytes, *nodes: str) -> bytes:
    """A key of 32 bytes for one purpose, by HKDF-SHA-256 (RFC 5869); the order of the nodes is its direction."""
    info = _PREFIX + to_msgpack([purpose.value, session, nodes])
    return HKDF(SHA256(), KEY_BYTES, None, info).derive(secret)


def seal(key: bytes, plain: bytes, session: bytes, sender: str, receiver: str) -> bytes:
    """AES-256-GCM under a key used once, bound to who sends it to whom; 16 bytes longer than the plain text."""
    return AESGCM(key).encrypt(_NONCE, plain, to_msgpack([session, sender, receiver]))


def unseal(key: bytes, sealed: bytes, session: bytes, sender: str, receiver: str) -> bytes | None:
    """What was sealed, or None if it was not sealed so."""
    try:
        return AESGCM(key).decrypt(_NONCE, sealed, to_msgpack([session, sender, receiver]))
    except (InvalidTag, ValueError):
        return None


def fingerprint(key: bytes, vector: memoryview) -> bytes:
    """GMAC of a vector's bytes under a key that its sender and the server alone have, 16 bytes.

    This hash is what the sender signs. Only the server has to be convinced, so a keyed hash does, which costs a
    fifth of SHA-256.
    """
    return AESGCM(key).encrypt(_NONCE, b"", vector)


def seed_commitment(session: bytes, node: str, seed: bytes) -> bytes:
    """SHA-256 that commits a node to its self-mask seed, 32 bytes."""
    return hashlib.sha256(_PREFIX + b"seed commitment\x00" + session + seed + node.encode()).digest()


def share_digest(kind: Secret, session: bytes, share: bytes) -> bytes:
    """SHA-256 that commits a dealer to a share: tells later whether it was dealt or handed back wrongly."""
    return hashlib.sha256(kind.value + session + share).digest()
