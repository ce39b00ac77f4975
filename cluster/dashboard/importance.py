"""How much each parameter of a genome alone explains of its time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def explained(log_times: npt.NDArray[np.float64], values: npt.NDArray[np.int64]) -> float | None:
    """Share of the variance that groups of equal values explain: ω² of a one-way layout, 0 to 1.

    Unlike η² it is not inflated by the number of groups (Hays 1963, "Statistics for Psychologists").

    Args:
        log_times: shape (n,).
        values: codes of the parameter's values, shape (n,).

    Returns:
        None where there is one group, or no group with two members, or no variance.
    """
    codes, sizes = np.unique(values, return_inverse=True, return_counts=True)[1:]
    groups, n = len(sizes), len(values)
    total = float(((log_times - log_times.mean()) ** 2).sum()) if n else 0.0
    if groups < 2 or n <= groups or total == 0:
        return None
    means = np.bincount(codes, log_times) / sizes
    within = float(((log_times - means[codes]) ** 2).sum())
    error = within / (n - groups)
    return max(0.0, (total - within - (groups - 1) * error) / (total + error))
