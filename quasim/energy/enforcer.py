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
        self._last: Setting | None = None
        self.detail = self._actuator.permissions.power

    @property
    def writes(self) -> int:
        """Setters called so far."""
        return self._actuator.writes

    @property
    def share(self) -> float:
        """Of the time in which work may run."""
        return min(self._asked, self._aimd.duty.share)

    def pause_s(self, busy_s: float) -> float:
        """How long to rest after working for so long."""
        return busy_s * (1 / self.share - 1)

    def follow(self, action: Action, power_w: float | None, now_ns: int) -> None:
        """Put an action in force, as far as may be."""
        self._asked = max(action.duty, LEAST)
        if not self._capped(action):
            self._aimd.step(power_w, action.power_cap_w, now_ns)

    def close(self) -> None:
        """Put everything back. What cannot be is said, and left to the next watchdog."""
        try:
            if self._lease is not None:
                self._lease.release()
        except CapLeaseError as error:
            LOG.error("%s", error)
        self._actuator.close()

    def _capped(self, action: Action) -> bool:
        """Whether the power cap holds."""
        may = self._actuator.permissions
        setting = Setting(
            None if may.power else action.power_cap_w,
            None if may.clock else action.clock_cap_mhz,
        )
        if setting == Setting() and self._last is None:
            return not may.power
        try:
            self._hold()
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

    def _hold(self) -> None:
        """The lease, renewed; a lost one is taken anew."""
        if self._lease is None or not self._lease.held:
            self._last = None
            self._lease = self._take()
        self._lease.renew()
