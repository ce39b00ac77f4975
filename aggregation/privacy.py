"""Optional differential privacy of a round: clipped, rotated vectors, and noise of which each node adds its share.

    values ─► rotate ─► clip to L2 norm c ─► Encoding.encode, weight 1 ─► + discrete Gaussian in the ring ─► masks
    sum of the ring vectors ─► Encoding.decode ─► rotate back

The server sees no less noise than that of the honest survivors, so each node's share is sized for the fewest of them
(in each group, where groups are summed apart). Noise enters after the encoding, where a wrap around is one of the sum
and so hides no less.

Sources: Kairouz, Liu, Steinke 2021, "The Distributed Discrete Gaussian Mechanism for Federated Learning with Secure
Aggregation", theorem 1; Agarwal, Kairouz, Liu 2021, "The Skellam Mechanism for Differentially Private Federated
Learning", is the alternative whose noise adds up exactly, but numpy has no exact sampler of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from aggregation.discrete_gaussian import MAX_SIGMA, Entropy, discrete_gaussian
from aggregation.rotation import Rotation, largest_entry, padded
from aggregation.secure.encoding import Encoding
from aggregation.secure.masks import Ring
from quasim.errors import ConfigError, DataError, MissingToolError
from quasim.space import Floats

_FLOAT_SLACK = 1 + 2.0**-20
"""More than rounding in float64 can add to a clipped vector's norm."""

_TAIL = 10.0
"""Standard deviations that summed noise is given room for: beyond lies 10^-23 an entry."""


@dataclass(frozen=True, slots=True)
class Privacy:
    """How the vectors of a round are protected; the same for all who take part.

    Attributes:
        length: entries of a vector.
        clip: c, the L2 norm that vectors are scaled down to.
        scale_bits: f of the encoding; the ring's unit is 2^-f.
        sigma: of the noise that each node adds to each entry, in units of 2^-f.
        honest: fewest survivors whose noise the server does not know: the floor less those that may collude.

    Raises:
        DataError: any of them cannot be.
    """

    length: int
    clip: float
    scale_bits: int
    sigma: int
    honest: int

    def __post_init__(self) -> None:
        if min(self.length, self.honest) < 1 or self.scale_bits < 0 or not 0 < self.clip < math.inf:
            raise DataError(
                f"privacy of {self.length} entries clipped to {self.clip}, with {self.honest} honest nodes",
                "use one or more of each and a positive clip",
            )
        if not 1 <= self.sigma <= MAX_SIGMA:
            raise DataError(
                f"a noise of sigma {self.sigma} units", f"use a scale with which it lies in [1, {MAX_SIGMA}]"
            )

    @property
    def padded(self) -> int:
        """Entries of a protected vector: a power of two."""
        return padded(self.length)

    @property
    def entry_clip(self) -> float:
        """Bound of every entry of a rotated vector, for the encoding; beyond lies a chance of 10^-9, then clipped."""
        return largest_entry(self.clip, self.length)

    @property
    def concentrated(self) -> float:
        """ε such that a round is ½ε²-concentrated differentially private (theorem 1, second bound).

        Neighbouring rounds differ in one node's vector against zeros: who takes part is no secret. Rounding to the
        nearest unit adds at most half a unit an entry to the norm.
        """
        sensitivity = self.clip * 2.0**self.scale_bits * _FLOAT_SLACK + math.sqrt(self.padded) / 2
        return sensitivity / (math.sqrt(self.honest) * self.sigma) + self._unlike() * math.sqrt(self.padded)

    def _unlike(self) -> float:
        """τ: how much a sum of discrete Gaussians is unlike one of the summed variance."""
        k = np.arange(1, self.honest)
        return 10 * float(np.exp(-2 * math.pi**2 * self.sigma**2 * k / (k + 1)).sum())

    def fits(self, encoding: Encoding) -> None:
        """Refuse an encoding that the noise could overflow, or that is not this one's.

        Raises:
            ConfigError: with what to change.
        """
        participants = encoding.participants
        total = participants * self.entry_clip * 2.0**self.scale_bits + _TAIL * self.sigma * math.sqrt(participants)
        if total > participants * encoding.peak:
            raise ConfigError(
                f"noise of sigma {self.sigma} units on {participants} vectors exceeds the encoding's bound",
                "raise the encoding's clip or weight bound, or the number of participants",
            )
        if encoding.scale_bits != self.scale_bits or encoding.clip < self.entry_clip:
            raise ConfigError(
                f"an encoding of 2^-{encoding.scale_bits} clipped to {encoding.clip}",
                f"use 2^-{self.scale_bits} and a clip of {self.entry_clip:g} or more",
            )


def flatten(values: Floats, privacy: Privacy, seed: bytes) -> Floats:
    """A node's vector, rotated and clipped to the norm c; encode it with weight 1.

    Args:
        values: float64, shape (length,).
        seed: of the round's rotation, public.

    Returns:
        float64, shape (padded,).

    Raises:
        DataError: NaN, infinities, or another length.
    """
    if not np.isfinite(values).all():
        raise DataError("a vector holds NaN or infinity", "leave such entries out, or set them to 0")
    rotated = Rotation(seed, privacy.length).forward(values)
    # Scaled first: squares of very large entries would overflow.
    peak = max(float(np.abs(rotated).max()), privacy.clip)
    norm = peak * float(np.linalg.norm(rotated / peak))
    return rotated * min(1.0, privacy.clip / norm) if norm else rotated


def add_noise(encoded: Ring, privacy: Privacy, entropy: Entropy) -> None:
    """Add this node's share of the noise in place, to all entries but the weight, which is 1 for everybody.

    Args:
        encoded: ring elements, shape (padded + 1,), as ``Encoding.encode`` gave them.
        entropy: unpredictable, and never the same twice: who knows it subtracts the noise.

    Raises:
        DataError: another length, or a weight that is not 1 and so would tell of its node.
    """
    if encoded.shape != (privacy.padded + 1,) or int(encoded[-1]) != 1 << privacy.scale_bits:
        raise DataError(
            f"an encoded vector of {len(encoded)} entries, the last {encoded[-1]}",
            f"encode {privacy.padded} entries with weight 1",
        )
    noise = discrete_gaussian(privacy.sigma, privacy.padded, entropy)
    encoded[:-1] += noise.astype(encoded.dtype)


def unflatten(total: Floats, privacy: Privacy, seed: bytes) -> Floats:
    """The sum of the nodes' clipped vectors, with the noise on it, shape (length,).

    Args:
        total: decoded sum, shape (padded,).
        seed: of the round's rotation.

    Raises:
        DataError: another length.
    """
    return Rotation(seed, privacy.length).back(total)


def epsilon(privacy: Privacy, rounds: int, delta: float) -> float:
    """ε of (ε, δ)-differential privacy of all that the server sees in so many rounds with fresh noise.

    A ½ε²-concentrated round has the Rényi divergences of a Gaussian of multiplier 1/ε, and composes like it.

    Raises:
        MissingToolError: dp-accounting is not installed.
        DataError: no round, or δ is outside (0, 1).
    """
    if rounds < 1 or not 0 < delta < 1:
        raise DataError(f"{rounds} rounds with delta {delta}", "use a round or more and a delta in (0, 1)")
    return gaussian_epsilon(1 / privacy.concentrated, rounds, delta)


def calibrated(
    target: float, *, delta: float, rounds: int, length: int, clip: float, scale_bits: int, honest: int
) -> Privacy:
    """Privacy with the least noise by which so many rounds stay within (target, δ).

    Raises:
        MissingToolError: dp-accounting is not installed.
        DataError: the noise that this takes is too coarse or too fine for the scale.
    """
    privacy = Privacy(length, clip, scale_bits, MAX_SIGMA, honest)
    if epsilon(privacy, rounds, delta) > target:
        raise DataError(f"no noise of up to {MAX_SIGMA} units gives epsilon {target}", "use fewer scale bits")
    low, high = 0, MAX_SIGMA
    while high - low > 1:
        middle = (low + high) // 2
        enough = epsilon(Privacy(length, clip, scale_bits, middle, honest), rounds, delta) <= target
        low, high = (low, middle) if enough else (middle, high)
    return Privacy(length, clip, scale_bits, high, honest)


def gaussian_epsilon(multiplier: float, rounds: int, delta: float) -> float:
    """ε at δ of so many Gaussian mechanisms whose noise is ``multiplier`` times their sensitivity.

    Accounted by dp-accounting as Rényi divergences.

    Raises:
        MissingToolError: dp-accounting is not installed.
    """
    try:
        from dp_accounting import dp_event
        from dp_accounting.rdp import RdpAccountant
    except ModuleNotFoundError as error:
        raise MissingToolError(
            "differential privacy needs dp-accounting, which is not installed", "pip install 'quasim-fleet[dp]'"
        ) from error
    event = dp_event.SelfComposedDpEvent(dp_event.GaussianDpEvent(multiplier), rounds)
    return float(RdpAccountant().compose(event).get_epsilon(delta))
