"""Duty cycle where no cap may be set: cut the share of time when it is too much, add a little where there is room.

It lowers mean power and heat, not the joules of a job: what is paused draws idle power and has to be done later all the
same. Nothing here is ever counted as a saving.
"""

from __future__ import annotations

CUT, RAISE = 0.7, 0.05
"""AIMD as in congestion control (Chiu and Jain 1989): a cut that outweighs many raises keeps below the limit."""

LEAST = 0.1
"""Some work always runs: a node at rest learns nothing, and would never see that it has cooled."""

SETTLE_NS = 10_000_000_000
"""Mean power follows a new duty only over several on–off turns; cutting again sooner would cut twice for one cause."""


class Aimd:
    """Keeps mean power below a cap by resting. A node times one variant at a time, so that time alone can be cut.

    Attributes:
        share: of the time in which work may run, ``LEAST`` to 1.
    """

    def __init__(self) -> None:
        self.share = 1.0
        self._mean_w: float | None = None
        self._seen_ns = 0
        self._cut_ns: int | None = None

    def step(self, power_w: float | None, cap_w: float | None, now_ns: int) -> float:
        """The share from now on.

        Args:
            power_w: as read now; None: missing, which is taken for too much.
            cap_w: what should not be exceeded in the mean; None: there is no limit.
        """
        mean_w = self._follow(power_w, now_ns)
        if power_w is None or mean_w is None or (cap_w is not None and mean_w > cap_w):
            if self._cut_ns is None or now_ns - self._cut_ns >= SETTLE_NS:
                self._cut_ns = now_ns
                self.share = max(LEAST, self.share * CUT)
        elif cap_w is None or mean_w <= cap_w * (1 - RAISE):
            self.share = min(1.0, self.share + RAISE)
        return self.share

    def _follow(self, power_w: float | None, now_ns: int) -> float | None:
        """Mean over about ``SETTLE_NS``: power itself jumps between work and rest."""
        if power_w is not None:
            gain = 1.0 if self._mean_w is None else min(1.0, (now_ns - self._seen_ns) / SETTLE_NS)
            self._mean_w = power_w if self._mean_w is None else self._mean_w + gain * (power_w - self._mean_w)
            self._seen_ns = now_ns
        return self._mean_w
