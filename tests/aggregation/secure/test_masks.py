from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from aggregation.secure.masks import CHUNK_BYTES, Ring, add_mask, digest, subtract_mask
from quasim.errors import DataError

KEY = bytes(range(32))
DTYPES = [np.uint32, np.uint64]


def stream(dtype: npt.DTypeLike, entries: int) -> Ring:
    """The key stream in one piece, as integers."""
    size = np.dtype(dtype).itemsize
    data = Cipher(AES(KEY), CTR(bytes(16))).encryptor().update(bytes(entries * size))
    return np.array([int.from_bytes(data[i : i + size], "little") for i in range(0, len(data), size)], dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("entries", [0, 1, 3, CHUNK_BYTES // 8, CHUNK_BYTES // 4, CHUNK_BYTES // 4 + 5])
def test_mask_is_one_stream_whatever_the_chunks(dtype: npt.DTypeLike, entries: int) -> None:
    vector: Ring = np.arange(entries, dtype=dtype)
    add_mask(vector, KEY)
    assert (vector == np.arange(entries, dtype=dtype) + stream(dtype, entries)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_subtracting_undoes_adding(dtype: npt.DTypeLike) -> None:
    vector: Ring = np.arange(50_001, dtype=dtype)
    add_mask(vector, KEY)
    subtract_mask(vector, KEY)
    assert (vector == np.arange(50_001, dtype=dtype)).all()


def test_partners_masks_cancel_in_the_sum() -> None:
    mine, theirs = np.full(1000, 7, np.uint32), np.full(1000, 2**32 - 9, np.uint32)
    add_mask(mine, KEY)
    subtract_mask(theirs, KEY)
    assert (mine + theirs == np.uint32(2**32 - 2)).all()


def test_known_answer() -> None:
    # head -c 32 /dev/zero | openssl enc -aes-256-ctr -K 000102...1f -iv 00000000000000000000000000000000
    vector: Ring = np.zeros(8, np.uint32)
    add_mask(vector, KEY)
    assert vector.astype("<u4").tobytes().hex() == "f29000b62a499fd0a9f39a6add2e7780f05d76ae4ab99fe5a6f69b3148c2363d"


@pytest.mark.parametrize("dtype", DTYPES)
def test_masked_zeros_look_uniform(dtype: npt.DTypeLike) -> None:
    vector: Ring = np.zeros(1 << 16, dtype)
    add_mask(vector, KEY)
    counts = np.bincount(vector.view(np.uint8), minlength=256)
    expected = vector.nbytes / 256
    statistic = float(((counts - expected) ** 2 / expected).sum())
    # Chi squared with 255 degrees of freedom: mean 255, standard deviation 22.6; five of them either way.
    assert 142 < statistic < 368


def test_digest_is_of_the_little_endian_bytes() -> None:
    vector: Ring = np.array([1, 2**32 - 2], dtype=np.uint32)
    assert digest(vector) == hashlib.sha256(b"\x01\0\0\0\xfe\xff\xff\xff").digest()
    assert digest(np.zeros(0, np.uint64)) == hashlib.sha256(b"").digest()


@pytest.mark.parametrize("key", [b"", bytes(16), bytes(33)])
def test_key_of_another_length_is_refused(key: bytes) -> None:
    with pytest.raises(DataError, match="mask key"):
        add_mask(np.zeros(4, np.uint32), key)


@pytest.mark.parametrize("vector", [np.zeros(4, np.uint16), np.zeros((2, 2), np.uint32), np.zeros(8, np.uint32)[::2]])
def test_another_kind_of_vector_is_refused(vector: Ring) -> None:
    with pytest.raises(DataError, match="contiguous uint32 or uint64"):
        add_mask(vector, KEY)
