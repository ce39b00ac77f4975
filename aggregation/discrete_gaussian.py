"""Exact samples of the discrete Gaussian, in whole arrays of integers: no floating point decides anything.

Source: Canonne, Kamath, Steinke 2020, "The Discrete Gaussian for Differential Privacy", algorithms 1 to 3. Rounded
samples of a continuous Gaussian would leak through their low bits what the noise should hide (Mironov 2012).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from quasim.errors import DataError

Entropy = Callable[[int], bytes]
"""So many uniform random bytes; unpredictable ones wherever privacy depends on the samples."""

Integers = npt.NDArray[np.int64]
_Words = npt.NDArray[np.uint64]
_Bools = npt.NDArray[np.bool_]

MAX_SIGMA = 1 << 22
"""Keeps every product of the algorithm within 64 bits."""

_LAST = np.uint64(2**64 - 1)


def discrete_gaussian(sigma: int, count: int, entropy: Entropy) -> Integers:
    """Independent samples with probability proportional to exp(−x² / 2σ²) on the integers.

    Args:
        sigma: σ of the continuous Gaussian; from 2 on it is also the samples' standard deviation to 12 digits.
        count: how many.

    Returns:
        int64, shape (count,); equal bytes of entropy give equal samples.

    Raises:
        DataError: sigma is outside [1, ``MAX_SIGMA``].
    """
    if not 1 <= sigma <= MAX_SIGMA:
        raise DataError(f"discrete Gaussian noise of sigma {sigma}", f"use one in [1, {MAX_SIGMA}]")
    samples = np.empty(0, dtype=np.int64)
    while len(samples) < count:
        # Candidates are independent, so that those kept are too, in whatever batches they come.
        candidates = _laplace(sigma + 1, count - len(samples), entropy)
        kept = candidates[_keep(candidates, sigma, entropy)]
        samples = np.concatenate([samples, kept])
    return samples


def _keep(candidates: Integers, sigma: int, entropy: Entropy) -> _Bools:
    """True with probability exp(−(|y| − σ²/t)² / 2σ²) for samples y of the discrete Laplace of scale t = σ + 1.

    With a = | |y|·t − σ² |, b = σ·t and a = q·b + r the exponent is q²/2 + q·r/b + r²/2b²: three kinds of coins whose
    probabilities are fractions of 64-bit integers.
    """
    scale = sigma + 1
    whole, rest = np.divmod(np.abs(np.abs(candidates) * scale - sigma * sigma), sigma * scale)
    bound = np.full(len(rest), sigma * scale, dtype=np.uint64)
    part = rest.astype(np.uint64)
    kept = _exp(
        len(part), lambda at, k: _coin(part[at], bound[at], entropy) & _coin(part[at], bound[at] * (2 * k), entropy)
    )
    kept = _exp_times(kept, whole, lambda at, k: _coin(part[at], bound[at] * k, entropy))
    one = np.ones(len(part), dtype=np.uint64)
    return _exp_times(kept, whole * whole, lambda at, k: _coin(one[at], one[at] * (2 * k), entropy))


def _laplace(scale: int, count: int, entropy: Entropy) -> Integers:
    """At most ``count`` samples with probability proportional to exp(−|x| / scale), scale an integer."""
    bound = np.full(count, scale, dtype=np.uint64)
    low = _below(bound, entropy)
    low = low[_exp(count, lambda at, k: _coin(low[at], bound[at] * k, entropy))]
    magnitude = low.astype(np.int64) + scale * _geometric(len(low), entropy)
    negative = _coin(np.ones(len(low), dtype=np.uint64), np.full(len(low), 2, dtype=np.uint64), entropy)
    # Zero has two signs; without this it would come twice as often as it should.
    once = ~(negative & (magnitude == 0))
    signed: Integers = np.where(negative, -magnitude, magnitude)[once]
    return signed


def _geometric(count: int, entropy: Entropy) -> Integers:
    """How often a coin of exp(−1) shows heads before its first tails."""
    heads = np.zeros(count, dtype=np.int64)
    running = np.arange(count)
    while running.size:
        one = np.ones(len(running), dtype=np.uint64)
        running = running[_exp(len(running), lambda at, k: _coin(one[at], one[at] * k, entropy))]  # noqa: B023
        heads[running] += 1
    return heads


_Coin = Callable[[npt.NDArray[np.intp], int], _Bools]
"""For the entries at these positions: true with probability γ / k, where γ is in [0, 1]."""


def _exp(count: int, coin: _Coin) -> _Bools:
    """True with probability exp(−γ) for each entry: k is odd when a coin of γ / k first fails (algorithm 1)."""
    result = np.empty(count, dtype=np.bool_)
    running, k = np.arange(count), 1
    while running.size:
        heads = coin(running, k)
        result[running[~heads]] = k % 2 == 1
        running, k = running[heads], k + 1
    return result


def _exp_times(so_far: _Bools, times: Integers, coin: _Coin) -> _Bools:
    """``so_far``, and true with probability exp(−γ) as many more times as ``times`` says."""
    result: _Bools = so_far.copy()
    left = times.copy()
    running = np.flatnonzero(result & (left > 0))
    while running.size:
        result[running] = _exp(len(running), lambda at, k: coin(running[at], k))  # noqa: B023
        left[running] -= 1
        running = running[result[running] & (left[running] > 0)]
    return result


def _coin(heads: _Words, bound: _Words, entropy: Entropy) -> _Bools:
    """True with probability heads / bound, exactly."""
    below: _Bools = _below(bound, entropy) < heads
    return below


def _below(bound: _Words, entropy: Entropy) -> _Words:
    """Uniform integers in [0, bound), each by its own bound: words beyond the last whole multiple are drawn again."""
    drawn = np.frombuffer(entropy(8 * len(bound)), dtype="<u8").astype(np.uint64)
    last = _LAST - (_LAST % bound + np.uint64(1)) % bound
    beyond = np.flatnonzero(drawn > last)
    drawn %= bound
    if beyond.size:
        drawn[beyond] = _below(bound[beyond], entropy)
    return drawn
