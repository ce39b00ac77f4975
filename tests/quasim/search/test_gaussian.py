from __future__ import annotations

import numpy as np
import pytest

from quasim.search.gaussian import (
    AREA,
    BATCH,
    LEAF,
    LEARNED,
    NOISE,
    NOISE_DEVIATION,
    SCALE,
    STRIP,
    Posterior,
    Scales,
    distances,
    lower_inverse,
    matern,
)

RNG = np.random.default_rng(5)
FEATURES = RNG.random((40, 3))
GROUPS = np.array([0, 0, 1])
TARGETS = np.sin(9 * FEATURES[:, 0]) + 0.1 * RNG.standard_normal(40)


def log_posterior(scales: Scales, features: np.ndarray, targets: np.ndarray) -> float:
    """Of the scales, up to a constant, by the textbook."""
    points = scales.stretched(features)
    kernel = matern(distances(points, points)) + scales.noise * np.eye(len(points))
    fit = -len(points) / 2 * np.log(targets @ np.linalg.solve(kernel, targets)) - np.linalg.slogdet(kernel)[1] / 2
    off = (scales.values - np.array([SCALE, SCALE, NOISE])) / np.array([1.0, 1.0, NOISE_DEVIATION])
    return float(fit - off @ off / 2)


def exact(
    points: np.ndarray, trend: np.ndarray, noise: float, told: np.ndarray, targets: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    kernel = matern(distances(points, points)) + np.outer(trend, trend)
    inverse = np.linalg.inv(kernel[np.ix_(told, told)] + noise * np.eye(len(told)))
    shared = kernel[:, told]
    return shared @ inverse @ targets, np.diag(kernel) - np.einsum("ij,jk,ik->i", shared, inverse, shared)


def test_slope_of_the_scales_is_that_of_finite_differences() -> None:
    scales = Scales(FEATURES[:0], GROUPS, TARGETS[:0])
    slope = scales.slope(FEATURES, TARGETS)
    for at in range(3):
        values = scales.values.copy()
        around = []
        for step in (1e-5, -1e-5):
            scales.values = values + step * np.eye(3)[at]
            around.append(log_posterior(scales, FEATURES, TARGETS))
        scales.values = values
        assert slope[at] == pytest.approx((around[0] - around[1]) / 2e-5, rel=1e-5)


def test_learned_scales_are_likelier_and_ignore_what_does_not_matter() -> None:
    targets = (TARGETS - TARGETS.mean()) / TARGETS.std()
    scales = Scales(FEATURES, GROUPS, targets)
    at_first = Scales(FEATURES[:0], GROUPS, targets[:0])
    assert log_posterior(scales, FEATURES, targets) > log_posterior(at_first, FEATURES, targets) + 3
    assert scales.values[0] > scales.values[1] + 1


def test_of_many_points_the_lowest_targets_teach_the_scales() -> None:
    features = RNG.random((3 * LEARNED, 1))
    targets = features[:, 0].copy()
    noisy = targets.copy()
    order = np.argsort(targets)
    # Between those that are kept lie others, which may be anything.
    noisy[order[LEARNED]] = noisy[order[LEARNED + 1]]
    groups = np.array([0])
    assert Scales(features, groups, targets).values == pytest.approx(Scales(features, groups, noisy).values, abs=0.2)


def test_metric_keeps_all_distances_in_few_columns() -> None:
    scales = Scales(FEATURES[:0], np.arange(3), TARGETS[:0])
    flat = np.concatenate([FEATURES[:, :2], FEATURES[:, :1] + FEATURES[:, 1:2]], axis=1)
    turned, stretched = scales.metric(flat), scales.stretched(flat)
    assert turned.shape == (40, 2)
    assert distances(turned, turned) == pytest.approx(distances(stretched, stretched), abs=1e-9)


@pytest.mark.parametrize("base", [0, 1, 7, 20])
def test_posterior_is_the_textbook_one_however_it_grew(base: int) -> None:
    points, trend, told = FEATURES * 3, FEATURES[:, 0], RNG.permutation(40)[:20]
    posterior = Posterior(points.astype(np.float32), trend, 0.01)
    posterior.observe(told, base)
    mean, variance = exact(points, trend, 0.01, told, TARGETS[told])
    assert posterior.mean(TARGETS[told]) == pytest.approx(mean, abs=2e-3)
    assert posterior.variance == pytest.approx(variance, abs=1e-3)
    kernel = matern(distances(points, points[told])) + np.outer(trend, trend[told])
    assert kernel @ posterior.weights(TARGETS[told]) == pytest.approx(mean, abs=2e-3)


@pytest.mark.parametrize("size", [40, 20_000])
def test_figures_are_the_same_to_the_bit_however_many_came_at_a_time(size: int) -> None:
    points, base = RNG.random((size, 3)), 3
    told, targets = RNG.permutation(size)[: base + 2 * BATCH + 5], RNG.random(base + 2 * BATCH + 5)
    found = []
    for ends in ([len(told)], range(base, len(told) + 1), [base, base + 2, base + BATCH + 1, len(told)]):
        posterior = Posterior(points.astype(np.float32), points[:, 0], 0.01)
        for end in ends:
            posterior.observe(told[:end], base)
        found.append((posterior.mean(targets).tobytes(), posterior.variance.tobytes()))
    assert found[0] == found[1] == found[2]


def test_table_of_several_blocks_and_strips_is_the_textbook_posterior() -> None:
    points, told = RNG.random((6000, 3)), np.arange(2 * STRIP + 5)
    assert len(points) > 2 * AREA // len(told)
    trend, targets = np.zeros(6000), np.sin(9 * points[told, 0])
    posterior = Posterior(points.astype(np.float32), trend, 0.01)
    posterior.observe(told, len(told))
    some = np.append(told, np.arange(0, 6000, 50))
    mean, variance = exact(points[some], trend[some], 0.01, told, targets)
    assert posterior.mean(targets)[some] == pytest.approx(mean, abs=2e-3)
    assert posterior.variance[some] == pytest.approx(variance, abs=1e-3)


def test_mean_alone_is_that_of_a_posterior_with_variances() -> None:
    points, told, targets = RNG.random((200, 3)).astype(np.float32), np.arange(60), RNG.random(60)
    both, mean = (Posterior(points, points[:, 0].astype(float), 0.01, mean_only=only) for only in (False, True))
    for end in (50, 55, 60):
        both.observe(told[:end], 40)
        mean.observe(told[:end], 40)
        assert mean.mean(targets[:end]) == pytest.approx(both.mean(targets[:end]), abs=1e-3)


def test_nothing_observed_leaves_the_prior() -> None:
    posterior = Posterior(FEATURES.astype(np.float32), np.zeros(40), 0.01)
    posterior.observe(np.zeros(0, dtype=np.int64), 0)
    assert posterior.mean(np.zeros(0)).tolist() == [0.0] * 40
    assert posterior.variance.tolist() == [1.0] * 40


@pytest.mark.parametrize("count", [1, 2 * LEAF - 1, 2 * LEAF, 5 * LEAF + 3])
def test_inverse_of_a_triangle_is_one_and_a_triangle(count: int) -> None:
    lower = np.tril(RNG.random((count, count))) / count + np.eye(count)
    inverse = lower_inverse(lower)
    assert inverse @ lower == pytest.approx(np.eye(count), abs=1e-12)
    assert not np.triu(inverse, 1).any()
