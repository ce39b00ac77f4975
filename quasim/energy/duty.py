"""Duty cycle and concurrency where no cap may be set: halve what is too much, add a little where there is room.

They lower mean power and heat, not the joules of a job: what is paused draws idle power and has to be done later all
the same. Nothing here is ever counted as a saving.
"""

from __future__ import annotations

import msgspec

CUT, RAISE = 0.7, 0.05
"""AIMD as in congestion control (Chiu and Jain 1989): a cut that outweighs many raises keeps below the limit."""

LEAST = 0.1
"""Some work always runs: a node at rest learns nothing, and would never see that it has cooled."""

SETTLE_NS = 10_000_000_000
"""Mean power follows a new duty only over several on–off turns; cutting again sooner would cut twice for one cause."""


class Duty(msgspec.Struct, frozen=True):
    """How much of the work may run.

    Attributes:
        share: of the time, 0 to 1.
        concurrency: jobs at once.

    Raises:
        ValueError: nothing at all, or more than everything.
    """

    share: float
    concurrency: int

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1 or self.concurrency < 1:
            raise ValueError(f"no duty: {self}")

    def pause_s(self, busy_s: float) -> float:
        """How long to rest after working for so long."""
        return busy_s * (1 / self.share - 1)


class Aimd:
    """Keeps mean power below a cap by resting. First fewer jobs at once, then less of the time.

    Args:
        concurrency: jobs at once when there is room.
    """

    def __init__(self, concurrency: int = 1) -> None:
        self._most = concurrency
        self.duty = Duty(1.0, concurrency)
        self._mean_w: float | None = None
        self._seen_ns = 0
        self._cut_ns: int | None = None

    def step(self, power_w: float | None, cap_w: float | None, now_ns: int) -> Duty:
        """The duty from now on.

        Args:
            power_w: as read now; None: missing, which is taken for too much.
            cap_w: what should not be exceeded in the mean; None: there is no limit.
        """
        mean_w = self._follow(power_w, now_ns)
        if power_w is None or mean_w is None or (cap_w is not None and mean_w > cap_w):
            if self._cut_ns is None or now_ns - self._cut_ns >= SETTLE_NS:
                self._cut_ns = now_ns
                self.duty = self._less()
        elif cap_w is None or mean_w <= cap_w * (1 - RAISE):
            self.duty = self._more()
        return self.duty

    def _follow(self, power_w: float | None, now_ns: int) -> float | None:
        """Mean over about ``SETTLE_NS``: power itself jumps between work and rest."""
        if power_w is not None:
            gain = 1.0 if self._mean_w is None else min(1.0, (now_ns - self._seen_ns) / SETTLE_NS)
            self._mean_w = power_w if self._mean_w is None else self._mean_w + gain * (power_w - self._mean_w)
            self._seen_ns = now_ns
        return self._mean_w

    def _less(self) -> Duty:
        if self.duty.concurrency > 1:
            return Duty(self.duty.share, max(1, int(self.duty.concurrency * CUT)))
        return Duty(max(LEAST, self.duty.share * CUT), 1)

    def _more(self) -> Duty:
        if self.duty.share < 1:
            return Duty(min(1.0, self.duty.share + RAISE), self.duty.concurrency)
        return Duty(1.0, min(self._most, self.duty.concurrency + 1))
