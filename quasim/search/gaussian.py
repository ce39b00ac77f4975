"""A Gaussian process with a Matérn kernel: length scales learned from the data, posterior grown trial by trial."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from quasim.space import Floats

Groups = npt.NDArray[np.int64]
Positions = npt.NDArray[np.int64]
Singles = npt.NDArray[np.float32]

SCALE, SCALE_DEVIATION = math.log(0.6), 1.0
"""Log-normal prior of a group's inverse length scale: mean and deviation of its logarithm."""

NOISE, NOISE_DEVIATION = math.log(0.02), 1.0
"""The same of the share of the variance that the kernel cannot explain."""

LEAST_NOISE = math.log(1e-3)
"""Less would be lost in the single precision of the posterior."""

STEPS = 12
"""Steps of the ascent to the likeliest scales; of 8 to 20 none found better configurations."""

LEARNED = 96
"""Most points that scales are learned from: the time of a step grows with the cube."""

BLOCK = 512
"""Columns of the kernel that are worked on at a time: what stays in a core's cache is twice as fast."""

STRIPS = 6
"""Strips of the whitening that are multiplied each with what it needs."""

ROOT5 = math.sqrt(5.0)


class Scales:
    """Logarithms of the inverse length scale of each group of features, and of the noise, at their likeliest.

    Args:
        features: of the points, shape (n, columns).
        groups: of each column, shape (columns,), ascending from 0.
        targets: of the points, mean 0 and deviation 1 or so, shape (n,).
    """

    def __init__(self, features: Floats, groups: Groups, targets: Floats) -> None:
        self._groups = groups
        count = int(groups[-1]) + 1 if len(groups) else 0
        self._centre: Floats = np.append(np.full(count, SCALE), NOISE)
        self._width: Floats = np.append(np.full(count, SCALE_DEVIATION), NOISE_DEVIATION)
        self.values = self._centre.copy()
        if len(targets) > 1:
            self._ascend(*_telling(features, targets))

    def stretched(self, features: Floats) -> Floats:
        """Features in units of their length scales."""
        return np.asarray(features * np.exp(self.values[:-1])[self._groups])

    def metric(self, matrix: Floats) -> Floats:
        """Points of the one-hot columns, given their features, turned into as few columns as keep all distances."""
        left, lengths, _ = np.linalg.svd(self.stretched(matrix), full_matrices=False)
        kept = lengths > 1e-9 * lengths.max(initial=0.0)
        return np.asarray(left[:, kept] * lengths[kept])

    @property
    def noise(self) -> float:
        """Variance that the kernel cannot explain, in units of the process' variance."""
        return math.exp(float(self.values[-1]))

    def _ascend(self, features: Floats, targets: Floats) -> None:
        """Maximise the posterior of the scales by sign-based steps (Rprop, Riedmiller & Braun 1993)."""
        step = np.full(len(self.values), 0.3)
        before = np.zeros(len(self.values))
        for _ in range(STEPS):
            slope = self.slope(features, targets)
            turn = np.sign(slope * before)
            step = np.clip(step * np.where(turn > 0, 1.3, np.where(turn < 0, 0.5, 1.0)), 1e-3, 0.6)
            self.values = self.values + np.sign(slope) * step
            self.values[-1] = max(self.values[-1], LEAST_NOISE)
            before = slope

    def slope(self, features: Floats, targets: Floats) -> Floats:
        """Gradient of the log posterior (Rasmussen & Williams 2006, eq. 5.9), the process' variance profiled out."""
        points = self.stretched(features)
        squares = distances(points, points)
        root = ROOT5 * np.sqrt(squares)
        decay = np.exp(-root)
        kernel = (1 + root + 5 / 3 * squares) * decay
        inverse = np.linalg.inv(kernel + self.noise * np.eye(len(targets)))
        weights = inverse @ targets
        variance = max(float(targets @ weights) / len(targets), 1e-12)
        pull = np.outer(weights, weights) / variance - inverse
        # dk/d(r²) of the Matérn 5/2 kernel is −5/6 (1 + √5 r) exp(−√5 r).
        bend = pull * (-5 / 6 * (1 + root) * decay)
        # Σ_ij bend_ij (x_i − x_j)² of each column; the ½ of eq. 5.9 cancels with d(s²)/d(log s) = 2 s².
        columns = 2 * (bend.sum(axis=1) @ points**2 - (points * (bend @ points)).sum(axis=0))
        scales = np.bincount(self._groups, columns, minlength=len(self.values) - 1)
        likelihood = np.append(scales, 0.5 * self.noise * np.trace(pull))
        return np.asarray(likelihood - (self.values - self._centre) / self._width**2)


def _telling(features: Floats, targets: Floats) -> tuple[Floats, Floats]:
    """Up to ``LEARNED`` of the points: the lowest targets, which matter most, and a fair share of the rest."""
    if len(targets) > LEARNED:
        order = np.argsort(targets, kind="stable")
        rest = np.linspace(LEARNED // 2, len(order) - 1, LEARNED - LEARNED // 2).astype(np.int64)
        kept = order[np.append(np.arange(LEARNED // 2), rest)]
        features, targets = features[kept], targets[kept]
    return features, (targets - targets.mean()) / max(float(targets.std()), 1e-9)


class Posterior:
    """Covariances of a table of points with those that were observed, whitened; it grows with each observation.

    Algorithm 2.1 of Rasmussen & Williams 2006, with the rows of L⁻¹K kept: one more observation costs one pass over
    them. Their precision is single, which halves the time.

    Args:
        points: shape (size, columns), in units of the length scales.
        trend: a linear feature with a normal slope of mean 0 and variance 1, shape (size,).
        noise: variance of an observation.

    Attributes:
        variance: of the process at each point, given what was observed, shape (size,).
    """

    def __init__(self, points: Singles, trend: Floats, noise: float) -> None:
        self._points = points
        self._near = _augmented(points)
        self._trend: Singles = trend.astype(np.float32)
        self._alone: Singles = np.asarray(1 + self._trend**2, dtype=np.float32)
        self._noise = noise
        self._count = 0
        self._white: Singles = np.zeros((0, len(points)), dtype=np.float32)
        self._factor: Floats = np.zeros((0, 0))
        self.variance: Singles = self._alone

    def start(self, observed: Positions) -> None:
        """Observe these, and nothing else, at once."""
        count = self._count = len(observed)
        points, trend = self._points[observed].astype(np.float64), self._trend[observed].astype(np.float64)
        kernel = matern(distances(points, points)) + np.outer(trend, trend) + self._noise * np.eye(count)
        self._factor = np.asarray(np.linalg.cholesky(kernel))
        whitening = np.linalg.inv(self._factor).astype(np.float32)
        self._white = np.empty((2 * count + 8, len(self._near)), dtype=np.float32)
        self.variance = self._alone.copy()
        far = _opposite(self._near[observed])
        for block in blocks(len(self._near)):
            shared = self._shared(observed, far, block)
            white = self._white[:count, block]
            # The whitening is triangular: a few strips leave out most of its zeros.
            for rows in np.array_split(np.arange(count), STRIPS if count > STRIPS else 1):
                end = int(rows[-1]) + 1 if len(rows) else 0
                np.matmul(whitening[rows, :end], shared[:end], out=white[end - len(rows) : end])
            self.variance[block] -= np.einsum("ij,ij->j", white, white)

    def observe(self, at: int) -> None:
        """Observe one more."""
        count = self._count
        explained = self._white[:count, at].copy()
        left = float(self._alone[at]) + self._noise - float(explained.astype(np.float64) @ explained)
        root = math.sqrt(max(left, self._noise))
        shared = self._shared(np.array([at]), _opposite(self._near[at : at + 1]), slice(None))[0]
        fresh = (shared - explained @ self._white[:count]) / np.float32(root)
        if count == len(self._white):
            self._white = np.concatenate([self._white, np.empty((count + 8, len(fresh)), dtype=np.float32)])
        self._white[count] = fresh
        factor = np.zeros((count + 1, count + 1))
        factor[:count, :count] = self._factor
        factor[count, :count], factor[count, count] = explained, root
        self._factor = factor
        self._count += 1
        self.variance = self.variance - fresh * fresh

    def mean(self, targets: Floats) -> Floats:
        """Of the process at each point, shape (size,), when the targets were seen where it was observed."""
        white = np.linalg.solve(self._factor, targets).astype(np.float32)
        return np.asarray(white @ self._white[: self._count], dtype=np.float64)

    def weights(self, targets: Floats) -> Floats:
        """Weight of each observed point's covariance in the mean, shape (observed,)."""
        return np.asarray(np.linalg.solve(self._factor.T, np.linalg.solve(self._factor, targets)))

    def _shared(self, observed: Positions, far: Singles, block: slice) -> Singles:
        """Covariance of observed points, given also as ``_opposite`` ones, with a block of all."""
        shared = _matern(far @ self._near[block].T)
        if self._trend.any():
            shared += np.outer(self._trend[observed], self._trend[block])
        return shared


def blocks(size: int) -> list[slice]:
    """Stretches of ``BLOCK`` of so many columns."""
    return [slice(at, at + BLOCK) for at in range(0, size, BLOCK)]


def _augmented(points: Singles) -> Singles:
    """Points with their squares and ones as columns, so that inner products with ``_opposite`` ones are distances."""
    squares = (points**2).sum(axis=1)[:, None]
    return np.concatenate([points, squares, np.ones_like(squares)], axis=1)


def _opposite(near: Singles) -> Singles:
    """Augmented points whose inner products with others are five times the squared distances."""
    points, squares, ones = near[:, :-2], near[:, -2:-1], near[:, -1:]
    return np.asarray(np.float32(5) * np.concatenate([np.float32(-2) * points, ones, squares], axis=1))


def _matern(fives: Singles) -> Singles:
    """Matérn 5/2 correlation at five times the squared distances, in their place."""
    np.maximum(fives, 0, out=fives)
    root = np.sqrt(fives)
    fives *= np.float32(1 / 3)
    fives += root
    fives += 1
    np.negative(root, out=root)
    np.exp(root, out=root)
    fives *= root
    return fives


def distances(left: Floats, right: Floats) -> Floats:
    """Squared Euclidean distances, shape (left, right)."""
    squares = (left * left).sum(axis=1)[:, None] + (right * right).sum(axis=1) - 2 * left @ right.T
    return np.asarray(np.maximum(squares, 0.0))


def matern(squares: Floats) -> Floats:
    """Matérn 5/2 correlation at squared distances."""
    root = ROOT5 * np.sqrt(squares)
    return np.asarray((1 + root + 5 / 3 * squares) * np.exp(-root))
