"""The vectors and the dropouts of a round of secure aggregation, the same for every side that is measured."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

CLIP = 1.0
"""Entries lie within it on either side of zero."""

SEED = 5


def vector(index: int, length: int) -> npt.NDArray[np.float32]:
    """What a client brings, shape (length,); float32 is what frameworks of federated learning send."""
    return np.random.default_rng((SEED, index)).uniform(-CLIP, CLIP, length).astype(np.float32)


def dropped(clients: int, share: float) -> frozenset[int]:
    """Indices of those who deal their shares and then are never heard of again: the dearest place to drop out."""
    lost = np.random.default_rng((SEED, clients)).permutation(clients)[: round(clients * share)]
    return frozenset(lost.tolist())
