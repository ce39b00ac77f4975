"""The regulator of one device: thermal model, law, guards and the hand that writes, put together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import msgspec

from quasim.codec import from_msgpack, to_msgpack
from quasim.energy._base import Action, Caps, Observation, RegulatorSnapshot, Wanted
from quasim.energy.guards import FailSafe, HeatGuard
from quasim.energy.heat import HORIZON_S
from quasim.energy.law import Law, Situation
from quasim.energy.pi import ProportionalIntegral
from quasim.energy.predictive import Predictive
from quasim.energy.slew import Hand
from quasim.energy.thermal import Prior, ThermalModel, ThermalState
from quasim.energy.tuning import Tuning
from quasim.errors import UnknownNameError

SLOWDOWN_MARGIN_K = 7.0
"""A set point stays so far below where the device slows itself down: beyond the 5 K at which migration calls it hot."""

UNKNOWN_AIR_C = 25.0
"""Air in a machine room, where a prior of R must be guessed from a device's limits alone."""

START_DOUBT = 1.25
"""Until R is fitted, it is taken to be this much higher than the model says."""

LAWS: Mapping[str, Callable[[Prior, Tuning], Law]] = {
    "predictive": lambda prior, tuning: Predictive(tuning),
    "pi": ProportionalIntegral,
}


def prior_of(caps: Caps) -> Prior:
    """Where to start the fit of an unknown device: boards are cooled to stay below slowdown at their highest power."""
    if caps.slowdown_c is None or caps.slowdown_c <= UNKNOWN_AIR_C:
        return Prior()
    return Prior(resistance_k_per_w=(caps.slowdown_c - UNKNOWN_AIR_C) / caps.power_max_w)


class RegulatorState(msgspec.Struct, frozen=True):
    """All that a regulator has learned and commanded."""

    thermal: ThermalState
    law: float | None
    fail_safe: FailSafe
    guard: HeatGuard
    hand: Hand | None
    action: Action
    stepped_ns: int | None


class DeviceRegulator:
    """Keeps one device at or below its set point and its power limit.

    The set point is what the operator wants, but at most ``SLOWDOWN_MARGIN_K`` below slowdown; where neither is known
    there is none, and only the power limit holds. An operator's limit below the device's lowest cap is kept as far as
    the device can, with the reason ``floor``; above its default, caps go only where the operator asks for it.

    Args:
        caps: the device's limits.
        wanted: the operator's limits.
        law: one of ``LAWS``.
        tuning: constants of control.
        prior: where the fit starts; None: guessed from ``caps``.

    Raises:
        UnknownNameError: no such law.
    """

    def __init__(
        self,
        caps: Caps,
        wanted: Wanted,
        *,
        law: str = "predictive",
        tuning: Tuning | None = None,
        prior: Prior | None = None,
    ) -> None:
        if law not in LAWS:
            raise UnknownNameError(f"no control law {law!r}", f"choose one of {', '.join(LAWS)}")
        self._caps, self._wanted, self._tuning = caps, wanted, tuning or Tuning()
        prior = prior or prior_of(caps)
        self._model = ThermalModel(prior, caps.power_max_w)
        self._law = LAWS[law](prior, self._tuning)
        self._fail_safe, self._guard = FailSafe(), HeatGuard()
        self._hand: Hand | None = None
        self._action = Action()
        self._stepped_ns: int | None = None

    @property
    def set_point_c(self) -> float | None:
        """The temperature that is kept; None where neither operator nor device names one."""
        told = [self._wanted.temperature_c]
        told.append(None if self._caps.slowdown_c is None else self._caps.slowdown_c - SLOWDOWN_MARGIN_K)
        return min((limit for limit in told if limit is not None), default=None)

    @property
    def _low_w(self) -> float:
        return self._caps.power_min_w

    @property
    def _high_w(self) -> float:
        wanted_w = self._caps.power_default_w if self._wanted.power_w is None else self._wanted.power_w
        return min(max(wanted_w, self._low_w), self._caps.power_max_w)

    def step(self, seen: Observation | None, now_ns: int) -> Action:
        """What should hold from now on; see ``Regulator``."""
        good = self._fail_safe.see(seen, self.set_point_c is not None, self._caps.power_max_w)
        if good is not None:
            self._observe(good)
        if self._fail_safe.holds:
            self._fall_safe(now_ns)
        elif good is not None:
            self._regulate(good, now_ns)
        self._stepped_ns = now_ns
        return self._action

    def _observe(self, seen: Observation) -> None:
        if seen.temperature_c is not None:
            self._model.observe(self._drawn_w(seen), seen.temperature_c, seen.ts_ns)

    def _drawn_w(self, seen: Observation) -> float:
        """What the device draws; where it does not tell, all that it may."""
        if seen.power_w is not None:
            return seen.power_w
        return self._caps.power_default_w if self._hand is None else self._hand.cap_w

    def _fall_safe(self, now_ns: int) -> None:
        if self._hand is None:
            self._hand = Hand.at(self._low_w, self._low_w, self._high_w, now_ns)
        self._hand.hold(self._low_w, now_ns)
        self._action = Action(self._hand.cap_w, reasons=(self._fail_safe.why,), safe=True)

    def _regulate(self, seen: Observation, now_ns: int) -> None:
        """The least that anyone allows is what is wanted; who allows least is why."""
        allowed = {"power": self._high_w} if self._wanted.power_w is not None else {}
        if (set_point_c := self.set_point_c) is not None:
            allowed |= self._thermal(seen, set_point_c, now_ns)
        least_w = min(allowed.values(), default=self._high_w)
        if self._hand is None:
            self._hand = Hand.at(least_w, self._low_w, self._high_w, now_ns)
        if self._guard.latched:
            self._hand.hold(self._guard.limit_w, now_ns)
        self._hand.move(least_w, now_ns, self._tuning)
        self._action = Action(self._hand.cap_w, reasons=self._reasons(allowed, least_w))

    def _thermal(self, seen: Observation, set_point_c: float, now_ns: int) -> dict[str, float]:
        """Watts that heat allows, each under its reason."""
        model, tuning, temperature_c = self._model, self._tuning, seen.temperature_c
        assert temperature_c is not None
        self._guard.see(seen, set_point_c, tuning, self._caps.slowdown_c, model.heat_w)
        headroom_w = (set_point_c - model.chip_c) / (START_DOUBT * model.resistance_k_per_w)
        start_w = math.inf if model.fitted else model.heat_w + headroom_w
        situation = Situation(
            set_point_c=set_point_c,
            temperature_c=temperature_c,
            power_w=self._drawn_w(seen),
            cap_w=start_w if self._hand is None else self._hand.cap_w,
            low_w=self._low_w,
            high_w=self._high_w,
            dt_s=0.0 if self._stepped_ns is None else (now_ns - self._stepped_ns) / 1e9,
            model=model,
        )
        return {
            "start": start_w,
            "temperature": self._law.power_w(situation),
            self._guard.latched or "guard": self._guard.limit_w,
        }

    def _reasons(self, allowed: Mapping[str, float], least_w: float) -> tuple[str, ...]:
        assert self._hand is not None
        reasons = [name for name, power_w in allowed.items() if power_w <= min(least_w, self._high_w)]
        floor = least_w < self._low_w or (self._wanted.power_w or math.inf) < self._low_w
        return (*reasons, *["ramp"] * self._hand.ramping, *["floor"] * floor)

    def state(self) -> bytes:
        """All that was learned and holds; see ``Regulator``."""
        return to_msgpack(
            RegulatorState(
                self._model.state(),
                self._law.state(),
                self._fail_safe,
                self._guard,
                self._hand,
                self._action,
                self._stepped_ns,
            )
        )

    def restore(self, state: bytes) -> None:
        """Go on from ``state()``; a cap outside the device's limits of today is clipped.

        Raises:
            DataError: bytes that are no such state.
        """
        saved = from_msgpack(state, RegulatorState, "a regulator's state")
        self._model.restore(saved.thermal)
        self._law.restore(saved.law)
        self._fail_safe, self._guard, self._hand = saved.fail_safe, saved.guard, saved.hand
        self._action, self._stepped_ns = saved.action, saved.stepped_ns
        if self._hand is not None:
            self._hand.low_w, self._hand.high_w = self._low_w, self._high_w
            self._hand.cap_w = self._hand.clipped(self._hand.cap_w)

    def snapshot(self) -> RegulatorSnapshot:
        """What is believed and what holds."""
        model, last = self._model, self._fail_safe.last
        known = last is not None and last.temperature_c is not None and model.seen
        now_c = model.chip_c if known else None
        drawn_w = self._drawn_w(last) if last is not None else 0.0
        return RegulatorSnapshot(
            action=self._action,
            law=self._law.name,
            set_point_c=self.set_point_c,
            temperature_c=None if last is None else last.temperature_c,
            forecast_c=model.ahead_c(drawn_w, HORIZON_S) if known else None,
            rising_c_per_s=None if now_c is None else model.ahead_c(drawn_w, 1.0) - now_c,
            resistance_k_per_w=model.resistance_k_per_w,
            tau_s=model.tau_s,
            fitted=model.fitted,
            guard=self._guard.latched,
            misses=self._fail_safe.misses,
            writes=0 if self._hand is None else self._hand.writes,
        )
