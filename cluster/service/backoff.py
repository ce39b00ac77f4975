"""How long to wait before a process that ended by itself is started again. Pure."""

from __future__ import annotations

import random

import msgspec

from quasim.errors import ConfigError


class Backoff(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Exponential back-off with jitter (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).

    The wait is drawn from the upper half of its range ("equal jitter"): a hundred nodes whose head came back do not
    knock at once, and none knocks at once again.

    Attributes:
        first_s: longest wait after the first failure; it doubles with each further one.
        most_s: the longest wait of all.
        healthy_s: a process that was ready for so long did not fail; the count starts anew.
    """

    first_s: float = 1.0
    most_s: float = 60.0
    healthy_s: float = 60.0

    def __post_init__(self) -> None:
        if not 0 < self.first_s <= self.most_s or self.healthy_s < 0:
            raise ConfigError(
                f"restart: first_s={self.first_s}, most_s={self.most_s}, healthy_s={self.healthy_s}",
                "give 0 < first_s <= most_s, and a healthy_s of 0 or more",
            )

    def wait_s(self, failures: int, rng: random.Random) -> float:
        """Seconds to wait after this many failures in a row, 1 or more."""
        # 2**1000 is no float; long before that the limit counts.
        limit = min(self.most_s, self.first_s * 2.0 ** min(failures - 1, 64))
        return rng.uniform(limit / 2, limit)
