"""A Gaussian process with a Matérn kernel: length scales learned from the data, posterior grown trial by trial."""

from __future__ import annotations

import math
from collections.abc import Iterator

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

AREA = 1 << 18
"""Elements of the kernel that are worked on at a time: more leave the cache, fewer make matrix products too small."""

LINE = 16
"""Singles in a line of the cache, where stretches begin."""

BATCH = 16
"""Observations that join at once when there are so many: one product takes half as long as as many passes."""

STRIP = 48
"""Rows of the whitening that are multiplied at a time with as much as they need, half of all on average."""

LEAF = 24
"""Half the rows of the largest triangle that is inverted as if it were none."""

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
        # Of one array with itself, the product knows that it is symmetric, which `distances` cannot use.
        inner = points @ points.T
        lengths = inner.diagonal()
        squares = np.maximum(lengths[:, None] + lengths - 2 * inner, 0.0)
        root = ROOT5 * np.sqrt(squares)
        decay = np.exp(-root)
        near = (1 + root) * decay
        kernel = near + 5 / 3 * squares * decay
        kernel.flat[:: len(targets) + 1] += self.noise
        inverse = np.linalg.inv(kernel)
        weights = inverse @ targets
        variance = max(float(targets @ weights) / len(targets), 1e-12)
        pull = np.outer(weights / variance, weights) - inverse
        # dk/d(r²) of the Matérn 5/2 kernel is −5/6 (1 + √5 r) exp(−√5 r).
        bend = -5 / 6 * pull * near
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
    them. Their precision is single, which halves the time. Where the mean is all that is asked for, the rows of K do,
    which halves it again.

    Args:
        points: shape (size, columns), in units of the length scales.
        trend: a linear feature with a normal slope of mean 0 and variance 1, shape (size,).
        noise: variance of an observation.
        mean_only: whether the variance is left as it is before any observation.

    Attributes:
        variance: of the process at each point, given what was observed, shape (size,).
    """

    def __init__(self, points: Singles, trend: Floats, noise: float, *, mean_only: bool = False) -> None:
        self._near = _augmented(points)
        self._trend: Singles = trend.astype(np.float32)
        self._noise = noise
        self._mean_only = mean_only
        self._count = self._settled = 0
        self._rows: Singles = np.zeros((0, len(points)), dtype=np.float32)
        self._whitening: Floats = np.zeros((0, 0))
        self.variance: Singles = np.asarray(1 + self._trend**2, dtype=np.float32)
        self._variance_settled = self.variance

    def observe(self, observed: Positions, base: int) -> None:
        """Observe points in this order; the first of them are those that were observed before.

        The first ``base`` join at once, then ``BATCH`` at a time, the rest one by one until they fill a batch: so the
        figures are the same to the bit, however many came at a time.
        """
        settled = base + (len(observed) - base) // BATCH * BATCH
        if settled > self._settled:
            self._count, self.variance = self._settled, self._variance_settled
        for end in (*range(base, settled + 1, BATCH), *range(settled + 1, len(observed) + 1)):
            if end > self._count:
                self._join(observed[: self._count], observed[self._count : end])
                if end == settled:
                    self._settled, self._variance_settled = settled, self.variance

    def mean(self, targets: Floats) -> Floats:
        """Of the process at each point, shape (size,), when the targets were seen where it was observed."""
        weights = self.weights(targets) if self._mean_only else self._whitening @ targets
        return np.asarray(weights.astype(np.float32) @ self._rows[: self._count], dtype=np.float64)

    def weights(self, targets: Floats) -> Floats:
        """Weight of each observed point's covariance in the mean, shape (observed,)."""
        return np.asarray((self._whitening @ targets) @ self._whitening)

    def _join(self, known: Positions, fresh: Positions) -> None:
        """Observe fresh points at once."""
        count, end = len(known), len(known) + len(fresh)
        before = self._whitening[:count, :count]
        explained = before @ self._covariance(known, fresh)
        left = self._covariance(fresh, fresh) + self._noise * np.eye(len(fresh)) - explained.T @ explained
        whitening = np.zeros((end, end))
        whitening[:count, :count] = before
        whitening[count:, count:] = lower_inverse(np.linalg.cholesky(left))
        whitening[count:, :count] = -whitening[count:, count:] @ explained.T @ before
        self._whitening = whitening
        self._count = end
        self._reserve()
        if self._mean_only:
            for block, shared in self._shared(fresh):
                self._rows[count:end, block] = shared
        else:
            self._whiten(fresh, explained.T.astype(np.float32), whitening[count:, count:].astype(np.float32))

    def _whiten(self, fresh: Positions, explained: Singles, whitening: Singles) -> None:
        """Whitened rows of the fresh points, and what variance these leave.

        Args:
            fresh: where they are, shape (n,).
            explained: their covariance with the whitened points before, shape (n, before).
            whitening: of what that leaves of their own, lower triangular, shape (n, n).
        """
        count, variance = explained.shape[1], self.variance.copy()
        for block, shared in self._shared(fresh):
            if count:
                shared -= explained @ self._rows[:count, block]
            white = self._rows[count : self._count, block]
            for at in range(0, len(fresh), STRIP):
                # The whitening is triangular: a strip needs nothing beyond its own end.
                np.matmul(whitening[at : at + STRIP, : at + STRIP], shared[: at + STRIP], out=white[at : at + STRIP])
            variance[block] -= np.einsum("ij,ij->j", white, white)
        self.variance = variance

    def _reserve(self) -> None:
        """Have rows for all that are observed, and for as many again where these are too few."""
        if self._count > len(self._rows):
            rows = np.empty((2 * self._count + BATCH, len(self._near)), dtype=np.float32)
            rows[: len(self._rows)] = self._rows
            self._rows = rows

    def _covariance(self, left: Positions, right: Positions) -> Floats:
        """Covariance of points with points, in double precision, shape (left, right)."""
        near, trend = self._near[:, :-2], self._trend
        covariance = matern(distances(near[left].astype(np.float64), near[right].astype(np.float64)))
        if self._trend.any():
            covariance += np.outer(trend[left].astype(np.float64), trend[right].astype(np.float64))
        return covariance

    def _shared(self, observed: Positions) -> Iterator[tuple[slice, Singles]]:
        """Stretches of all points, and the covariance of the observed ones with each, valid until the next."""
        far, size = _opposite(self._near[observed]), len(self._near)
        length = min(AREA // len(observed) // LINE * LINE, size)
        room = np.empty((2, len(observed), length), dtype=np.float32)
        for block in (slice(at, min(at + length, size)) for at in range(0, size, length)):
            shared, root = room[:, :, : block.stop - block.start]
            np.matmul(far, self._near[block].T, out=shared)
            _matern(shared, root)
            if self._trend.any():
                shared += np.outer(self._trend[observed], self._trend[block])
            yield block, shared


def _augmented(points: Singles) -> Singles:
    """Points with their squares and ones as columns, so that inner products with ``_opposite`` ones are distances."""
    near = np.ones((len(points), points.shape[1] + 2), dtype=np.float32)
    near[:, :-2], near[:, -2] = points, np.einsum("ij,ij->i", points, points)
    return near


def _opposite(near: Singles) -> Singles:
    """Augmented points whose inner products with others are 5/3 times the squared distances."""
    points, squares, ones = near[:, :-2], near[:, -2:-1], near[:, -1:]
    return np.asarray(np.float32(5 / 3) * np.concatenate([np.float32(-2) * points, ones, squares], axis=1))


def _matern(squares: Singles, root: Singles) -> None:
    """Turn 5/3 times squared distances into Matérn 5/2 correlations, (1 + √3 s + s²) exp(−√3 s) of their roots s.

    Args:
        squares: become the correlations.
        root: room to work in, of the same shape.
    """
    # Rounding leaves some a little below 0; as much above is as near, and a maximum takes five times as long.
    np.abs(squares, out=squares)
    np.sqrt(squares, out=root)
    root *= np.float32(-math.sqrt(3))
    squares -= root
    squares += 1
    np.exp(root, out=root)
    squares *= root


def distances(left: Floats, right: Floats) -> Floats:
    """Squared Euclidean distances, shape (left, right)."""
    squares = (left * left).sum(axis=1)[:, None] + (right * right).sum(axis=1) - 2 * left @ right.T
    return np.asarray(np.maximum(squares, 0.0))


def matern(squares: Floats) -> Floats:
    """Matérn 5/2 correlation at squared distances."""
    root = ROOT5 * np.sqrt(squares)
    return np.asarray((1 + root + 5 / 3 * squares) * np.exp(-root))


def lower_inverse(lower: Floats) -> Floats:
    """Inverse of a lower triangular matrix, by halves, as LAPACK's general inverse would work on the zeros, too."""
    half = len(lower) // 2
    if half < LEAF:
        return np.asarray(np.linalg.inv(lower))
    inverse = np.zeros_like(lower)
    inverse[:half, :half] = lower_inverse(lower[:half, :half])
    inverse[half:, half:] = lower_inverse(lower[half:, half:])
    inverse[half:, :half] = -inverse[half:, half:] @ lower[half:, :half] @ inverse[:half, :half]
    return inverse
