from __future__ import annotations

import math
import sys

import numpy as np
import pytest

from aggregation.discrete_gaussian import MAX_SIGMA
from aggregation.privacy import Privacy, add_noise, calibrated, epsilon, flatten, gaussian_epsilon, unflatten
from aggregation.secure.encoding import Encoding
from quasim.errors import ConfigError, DataError, MissingToolError
from quasim.space import Floats

SEED = b"public"
PRIVACY = Privacy(length=300, clip=1.0, scale_bits=12, sigma=40, honest=8)


def encoding(privacy: Privacy, participants: int, ring_bits: int = 32) -> Encoding:
    return Encoding(64 if ring_bits == 64 else 32, privacy.scale_bits, 1.0, 1.0, participants)


def nodes(count: int, norm: float = 0.9) -> Floats:
    vectors = np.random.default_rng(7).normal(size=(count, PRIVACY.length))
    result: Floats = norm * vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return result


@pytest.mark.parametrize("ring_bits", [32, 64])
def test_a_sum_comes_back_with_the_noise_of_all_on_it(ring_bits: int) -> None:
    vectors, scheme = nodes(8), encoding(PRIVACY, 8, ring_bits)
    PRIVACY.fits(scheme)
    entropy = np.random.default_rng(8).bytes
    rings = [scheme.encode(flatten(vector, PRIVACY, SEED), 1.0) for vector in vectors]
    for ring in rings:
        add_noise(ring, PRIVACY, entropy)
    total, weight = scheme.decode(np.sum(rings, axis=0, dtype=rings[0].dtype))
    error = unflatten(total, PRIVACY, SEED) - vectors.sum(axis=0)
    assert weight == 8.0
    expected = PRIVACY.sigma * math.sqrt(8) / 2**PRIVACY.scale_bits
    assert abs(error.std() / expected - 1) < 5 / math.sqrt(2 * PRIVACY.length)
    assert abs(error.mean()) < 5 * expected / math.sqrt(PRIVACY.length)


def test_noise_that_wraps_around_is_the_same_noise() -> None:
    scheme = encoding(PRIVACY, 8)
    plain = scheme.encode(flatten(nodes(1)[0], PRIVACY, SEED), 1.0)
    edge = plain + np.uint32(2**31 - 1 - (1 << PRIVACY.scale_bits))
    edge[-1] = plain[-1]
    noisy, noisy_edge = plain.copy(), edge.copy()
    add_noise(noisy, PRIVACY, np.random.default_rng(1).bytes)
    add_noise(noisy_edge, PRIVACY, np.random.default_rng(1).bytes)
    assert ((noisy - plain) == (noisy_edge - edge)).all()
    assert noisy[-1] == plain[-1]


def test_vectors_are_scaled_to_the_clip_and_no_further() -> None:
    vector = nodes(1)[0]
    assert np.linalg.norm(flatten(100 * vector, PRIVACY, SEED)) == pytest.approx(1.0, rel=1e-12)
    assert np.linalg.norm(flatten(vector, PRIVACY, SEED)) == pytest.approx(0.9, rel=1e-12)
    assert np.linalg.norm(flatten(1e200 * vector, PRIVACY, SEED)) == pytest.approx(1.0, rel=1e-12)
    assert not flatten(np.zeros(PRIVACY.length), PRIVACY, SEED).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_vector_that_is_not_finite_is_refused(bad: float) -> None:
    vector = nodes(1)[0]
    vector[3] = bad
    with pytest.raises(DataError, match="NaN"):
        flatten(vector, PRIVACY, SEED)


def test_a_weight_or_length_that_tells_of_its_node_is_refused() -> None:
    scheme = encoding(PRIVACY, 8)
    flat = flatten(nodes(1)[0], PRIVACY, SEED)
    entropy = np.random.default_rng(1).bytes
    with pytest.raises(DataError, match="weight 1"):
        add_noise(scheme.encode(flat, 0.5), PRIVACY, entropy)
    with pytest.raises(DataError, match="512 entries"):
        add_noise(scheme.encode(flat[:-1], 1.0), PRIVACY, entropy)


def test_encodings_that_the_noise_could_overflow_or_of_another_scale_are_refused() -> None:
    PRIVACY.fits(encoding(PRIVACY, 8))
    loud = Privacy(length=300, clip=1.0, scale_bits=12, sigma=4000, honest=8)
    with pytest.raises(ConfigError, match="exceeds"):
        loud.fits(encoding(loud, 8))
    with pytest.raises(ConfigError, match="clip"):
        PRIVACY.fits(Encoding(32, 11, 1.0, 1.0, 8))
    with pytest.raises(ConfigError, match="clip"):
        PRIVACY.fits(Encoding(32, 12, 0.1, 1.0, 8))


@pytest.mark.parametrize(
    "fields",
    [{"length": 0}, {"honest": 0}, {"clip": 0.0}, {"clip": math.inf}, {"scale_bits": -1}, {"sigma": 0}],
)
def test_a_privacy_that_cannot_be_is_not_built(fields: dict[str, float]) -> None:
    given = {"length": 300, "clip": 1.0, "scale_bits": 12, "sigma": 40, "honest": 8} | fields
    with pytest.raises(DataError):
        Privacy(**given)  # type: ignore[arg-type]


def test_one_node_is_the_plain_discrete_gaussian() -> None:
    # No sum, so nothing is unlike: the norm in units, with half a unit for each rounded entry, over sigma.
    alone = Privacy(length=256, clip=1.0, scale_bits=12, sigma=100, honest=1)
    assert alone.concentrated == pytest.approx((4096 + 8) / 100, rel=1e-5)
    four = Privacy(length=256, clip=1.0, scale_bits=12, sigma=100, honest=4)
    assert four.concentrated == pytest.approx(alone.concentrated / 2, rel=1e-5)


@pytest.mark.parametrize("honest", [2, 3, 5])
def test_the_sum_of_discrete_gaussians_is_as_unlike_one_as_the_theorem_says(honest: int) -> None:
    x = np.arange(-60, 61)
    one = np.exp(-(x**2) / 2.0)
    one /= one.sum()
    total = one
    for _ in range(honest - 1):
        total = np.convolve(total, one)
    at = np.arange(-(len(total) // 2), len(total) // 2 + 1)
    whole = np.exp(-(at**2) / (2.0 * honest))
    whole /= whole.sum()
    middle = np.abs(at) <= 6 * math.sqrt(honest)
    unlike = np.abs(np.log(total[middle] / whole[middle])).max()
    claimed = Privacy(length=1, clip=1e-9, scale_bits=0, sigma=1, honest=honest)
    tau = claimed.concentrated - (1e-9 + 0.5) / math.sqrt(honest)
    assert 0 < unlike < tau


def test_the_accounting_gives_the_budget_of_the_2020_census() -> None:
    # Published 2021-06-09 for the redistricting data: ε = 17.14 at ρ = 2.56 for persons and ε = 2.47 at ρ = 0.07 for
    # housing units, δ = 10^-10, by discrete Gaussians. ρ is printed to two places, so ε must lie where it does for some
    # ρ that prints so; a ρ-concentrated mechanism has the divergences of a Gaussian of multiplier 1/√(2ρ).
    for rho, published in ((2.56, 17.14), (0.07, 2.47)):
        low, high = (gaussian_epsilon(1 / math.sqrt(2 * (rho + off)), 1, 1e-10) for off in (-0.005, 0.005))
        assert low < published < high
        assert high - low < 0.2


@pytest.mark.parametrize(("rho", "delta"), [(0.1, 1e-6), (0.5, 1e-5), (2.0, 1e-9)])
def test_the_accounting_agrees_with_the_formula_of_canonne_kamath_and_steinke(rho: float, delta: float) -> None:
    alpha = np.linspace(1.001, 300, 1_000_000)
    # Proposition 12 of their paper, solved for ε at each order.
    best = (alpha * rho + (np.log(1 / delta) + np.log1p(-1 / alpha) * alpha - np.log(alpha - 1)) / (alpha - 1)).min()
    assert gaussian_epsilon(1 / math.sqrt(2 * rho), 1, delta) == pytest.approx(best, rel=5e-3)
    assert best < rho + 2 * math.sqrt(rho * math.log(1 / delta))


def test_rounds_compose_as_concentrated_privacy_does() -> None:
    many = epsilon(PRIVACY, 9, 1e-6)
    assert many == pytest.approx(gaussian_epsilon(1 / (3 * PRIVACY.concentrated), 1, 1e-6), rel=1e-9)
    assert epsilon(PRIVACY, 1, 1e-6) < many < 9 * epsilon(PRIVACY, 1, 1e-6)


def test_calibrated_noise_is_the_least_that_keeps_the_budget() -> None:
    made = calibrated(4.0, delta=1e-6, rounds=10, length=300, clip=1.0, scale_bits=10, honest=20)
    assert epsilon(made, 10, 1e-6) <= 4.0
    less = Privacy(made.length, made.clip, made.scale_bits, made.sigma - 1, made.honest)
    assert epsilon(less, 10, 1e-6) > 4.0


def test_a_budget_that_no_noise_keeps_is_refused() -> None:
    with pytest.raises(DataError, match=str(MAX_SIGMA)):
        calibrated(1e-3, delta=1e-9, rounds=1000, length=10, clip=1.0, scale_bits=30, honest=1)


@pytest.mark.parametrize(("rounds", "delta"), [(0, 1e-6), (1, 0.0), (1, 1.0)])
def test_rounds_and_deltas_that_mean_nothing_are_refused(rounds: int, delta: float) -> None:
    with pytest.raises(DataError, match="delta"):
        epsilon(PRIVACY, rounds, delta)


def test_without_dp_accounting_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    with pytest.raises(MissingToolError, match=r"quasim-fleet\[dp\]"):
        epsilon(PRIVACY, 1, 1e-6)
