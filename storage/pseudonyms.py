"""Pseudonymous ids that only the holder of the site key can make, guess or read back.

A plain hash of a shape or host name is found by trying all of them; HMAC under a secret key is not.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import secrets
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from quasim.codec import from_msgpack, to_msgpack
from quasim.errors import DataError, TrustError
from storage.files import storage_errors, sync_folder, write_fully

ID_BYTES = 16
"""128 bits: among 2^40 ids a collision has a chance below 10^-14."""

_MAGIC = b"QuASIM ids 1\n"
_NONCE = 12
_TAG = 16
_HEADER = len(_MAGIC) + _NONCE + _TAG
_LENGTH = 4

Entry = tuple[str, str]
"""(kind, text) behind an id."""


class Pseudonyms:
    """Ids under one site key; different keys, kinds or texts give unrelated ids."""

    __slots__ = ("_mac",)

    def __init__(self, key: bytes) -> None:
        self._mac = hmac.new(key, b"quasim/id/v1\0", hashlib.sha256)

    def id(self, kind: str, text: str) -> str:
        """The id of ``text`` as a ``kind`` (node, problem, genome, …): 32 hexadecimal digits.

        Raises:
            DataError: ``kind`` is not an identifier, so that kind and text could not be told apart.
        """
        if not kind.isidentifier():
            raise DataError(f"{kind!r} is not a kind of id", "use a plain word such as genome")
        mac = self._mac.copy()
        mac.update(f"{kind}\0{unicodedata.normalize('NFC', text)}".encode())
        return mac.digest()[:ID_BYTES].hex()


class IdDictionary:
    """What the ids of a site mean: a file of (id → kind, text) encrypted under a key derived from the site key.

    The file starts with a sealed header that tells a wrong key, then holds one AES-256-GCM frame for each ``save``:
    length, nonce, ciphertext. Frames are only ever appended, under a lock, so that processes share the file.
    A frame that a crash cut short is dropped by the next ``save``; its entries were not yet promised.
    """

    def __init__(self, path: Path, key: bytes) -> None:
        """Open the dictionary at ``path``; the file is made by the first ``save``.

        Raises:
            TrustError: it belongs to another site key.
            DataError: it is not an id dictionary.
            StorageError: it cannot be read.
        """
        self._path = path
        self._pseudonyms = Pseudonyms(key)
        secret = HKDF(hashes.SHA256(), 32, None, b"quasim/id-dictionary/v1").derive(key)
        self._cipher = AESGCM(secret)
        self._saved: dict[str, Entry] = {}
        self._new: dict[str, Entry] = {}
        self._ids: dict[Entry, str] = {}
        self._end = 0
        self.entries()

    def id(self, kind: str, text: str) -> str:
        """The id of ``text``, remembered until ``save`` writes it."""
        entry = (kind, text)
        known = self._ids.get(entry)
        if known is None:
            known = self._ids[entry] = self._pseudonyms.id(kind, text)
            if known not in self._saved:
                self._new[known] = entry
        return known

    def merge(self, other: IdDictionary) -> None:
        """Take over the entries of another dictionary, such as that of another host; ``save`` writes them."""
        self._new.update({key: entry for key, entry in other.entries().items() if key not in self._saved})

    def entries(self) -> Mapping[str, Entry]:
        """(kind, text) by id: what any process saved, and what this one has not saved yet.

        Raises:
            TrustError, DataError, StorageError: as when it was opened.
        """
        if self._path.exists():
            with self._locked(os.O_RDONLY, fcntl.LOCK_SH) as handle:
                self._read_on(handle)
        return {**self._saved, **self._new}

    def save(self) -> None:
        """Append what is new; durable on return.

        Raises:
            TrustError, DataError, StorageError: as when it was opened; the new entries are kept for another try.
        """
        if not self._new:
            return
        with self._locked(os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX) as handle:
            self._read_on(handle)
            fresh = {key: entry for key, entry in self._new.items() if key not in self._saved}
            if fresh:
                self._append(handle, self._frame(fresh))
            self._saved.update(fresh)
            self._new.clear()

    @contextmanager
    def _locked(self, flags: int, lock: int) -> Iterator[int]:
        with storage_errors("use the id dictionary", self._path):
            handle = os.open(self._path, flags, 0o600)
            try:
                fcntl.flock(handle, lock)
                yield handle
            finally:
                os.close(handle)

    def _append(self, handle: int, frame: bytes) -> None:
        if self._end == 0:
            frame = _MAGIC + self._seal(b"", _MAGIC) + frame
            sync_folder(self._path.parent)
        os.ftruncate(handle, self._end)
        os.lseek(handle, self._end, os.SEEK_SET)
        write_fully(handle, frame)
        os.fsync(handle)
        self._end += len(frame)

    def _frame(self, entries: Mapping[str, Entry]) -> bytes:
        sealed = self._seal(to_msgpack(entries), b"frame")
        return len(sealed).to_bytes(_LENGTH, "little") + sealed

    def _seal(self, text: bytes, role: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE)
        return nonce + self._cipher.encrypt(nonce, text, role)

    def _read_on(self, handle: int) -> None:
        os.lseek(handle, self._end, os.SEEK_SET)
        with open(handle, "rb", closefd=False) as file:
            data = file.read()
        at = 0
        if self._end == 0 and not data.startswith(_MAGIC[: len(data)]):
            raise DataError(f"{self._path} is not an id dictionary", "move it away, or name another file")
        if self._end == 0 and len(data) >= _HEADER:
            self._check_header(data[:_HEADER])
            at = _HEADER
        if self._end or at:
            self._end += self._read_frames(data, at)

    def _check_header(self, header: bytes) -> None:
        sealed = header[len(_MAGIC) :]
        try:
            self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], _MAGIC)
        except InvalidTag:
            raise TrustError(
                f"id dictionary {self._path} belongs to another site key", "use the key that it was written with"
            ) from None

    def _read_frames(self, data: bytes, at: int) -> int:
        """Read whole frames from ``at`` on; the position behind the last good one."""
        while len(data) - at > _LENGTH + _NONCE + _TAG:
            start = at + _LENGTH
            end = start + int.from_bytes(data[at:start], "little")
            if end > len(data) or end - start < _NONCE + _TAG:
                break
            try:
                text = self._cipher.decrypt(data[start : start + _NONCE], data[start + _NONCE : end], b"frame")
            except InvalidTag:
                if end == len(data):
                    break
                raise DataError(f"id dictionary {self._path} is damaged", "restore it from a backup") from None
            self._saved.update(from_msgpack(text, dict[str, Entry], f"id dictionary {self._path}"))
            at = end
        return at
