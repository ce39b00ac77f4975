"""Moves the hands that a regulator asks for: caps where they may be set, under a lease, and else duty."""

from __future__ import annotations

import logging
from collections.abc import Callable

from quasim.energy._base import Action
from quasim.energy.actuators import Actuator, Setting
from quasim.energy.duty import LEAST, Aimd
from quasim.energy.lease import CapLease, CapLeaseError
from quasim.meters import MeterError

LOG = logging.getLogger(__name__)

RETRY_NS = 300_000_000_000
"""Whoever was refused the lease asks again after this: a watchdog waits up to twenty seconds for the one before, and
the regulator sees nothing meanwhile."""


class Enforcer:
    """Exists in ``enforce`` alone, so that advice has no setter within reach.

    Args:
        lease: takes the lease; called before the first write, and again after one was lost.
        aimd: what is left to do where power may not be capped.
    """

    def __init__(self, actuator: Actuator, lease: Callable[[], CapLease], aimd: Aimd) -> None:
        self._actuator = actuator
        self._take = lease
        self._lease: CapLease | None = None
        self._aimd = aimd
        self._asked = 1.0
        self._capping = False
        self._refused_ns: int | None = None
        self._last: Setting | None = None
        self._before = Setting()
        self.detail = self._actuator.permissions.power

    @property
    def writes(self) -> int:
        """Setters called so far."""
        return self._actuator.writes

    @property
    def share(self) -> float:
        """Of the time in which work may run; where a cap holds, AIMD has no say."""
        return self._asked if self._capping else min(self._asked, self._aimd.share)

    @property
    def capping(self) -> bool:
        """Whether a cap of ours is in force."""
        return self._capping

    def pause_s(self, busy_s: float) -> float:
        """How long to rest after working for so long."""
        return busy_s * (1 / self.share - 1)

    def follow(self, action: Action, power_w: float | None, now_ns: int) -> None:
        """Put an action in force, as far as may be.

        Args:
            power_w: as read now; None: missing, or no number.
        """
        self._asked = max(action.duty, LEAST)
        self._capping = self._capped(action, now_ns)
        if not self._capping:
            self._aimd.step(power_w, action.power_cap_w, now_ns)

    def close(self) -> None:
        """Put everything back. What cannot be is said, and left to the next watchdog."""
        try:
            if self._lease is not None:
                self._lease.release()
        except CapLeaseError as error:
            LOG.error("%s", error)
        self._actuator.close()

    def _capped(self, action: Action, now_ns: int) -> bool:
        """Whether the power cap holds."""
        may = self._actuator.permissions
        power_w = None if may.power else action.power_cap_w
        clock_mhz = None if may.clock else action.clock_cap_mhz
        if power_w is None and clock_mhz is None and self._last is None:
            return not may.power
        try:
            self._hold(now_ns)
            setting = Setting(power_w or self._before.power_cap_w, clock_mhz or self._before.clock_cap_mhz)
            if setting != self._last:
                self._actuator.apply(setting)
                self._last = setting
        except (CapLeaseError, MeterError) as error:
            self._last = None
            self.detail = str(error)
            LOG.warning("%s goes on without caps: %s", self._actuator.device, error)
            return False
        self.detail = may.power
        return not may.power

    def _hold(self, now_ns: int) -> None:
        """The lease, renewed; a lost one is taken anew, a refused one not before ``RETRY_NS``.

        Raises:
            CapLeaseError: it is not had.
        """
        if self._lease is None or not self._lease.held:
            self._last = None
            self._lease = self._taken(now_ns)
        self._lease.renew()

    def _taken(self, now_ns: int) -> CapLease:
        if self._refused_ns is not None and now_ns - self._refused_ns < RETRY_NS:
            raise CapLeaseError("the right to set caps was refused", f"it is asked for anew after {RETRY_NS / 1e9:g} s")
        self._refused_ns = now_ns
        lease = self._take()
        self._refused_ns = None
        # A hand that nobody asks to move stays where the operator left it, not at the device's default.
        self._before = self._actuator.setting()
        return lease
