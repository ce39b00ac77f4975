"""How hot a device will be, and when that has been so for long enough to act on it. Pure."""

from __future__ import annotations

import math

import msgspec

HORIZON_S = 30.0
"""How far ahead a device's temperature is judged: a little above its time constant, so that most of what is on the way
has shown itself."""

MARGIN_K = 5.0
"""A device is hot when its forecast comes so close to where it slows itself down."""

HOT_SAMPLES = 3
"""So many samples in a row must say so: one is a spike, or a step of a coarse sensor."""


class Forecast(msgspec.Struct, frozen=True):
    """One device as a first-order thermal model sees it.

    Attributes:
        temperature_c: now.
        settles_c: where it ends if the device goes on drawing what it draws.
        tau_s: time constant.
        resistance_k_per_w: kelvin that each watt adds in the end.
        slowdown_c: where the device slows itself down.

    Raises:
        ValueError: a figure that is not finite, or a model that no device has.
    """

    temperature_c: float
    settles_c: float
    tau_s: float
    resistance_k_per_w: float
    slowdown_c: float

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, msgspec.structs.astuple(self))):
            raise ValueError(f"not a forecast: {self}")
        if self.tau_s <= 0 or self.resistance_k_per_w <= 0:
            raise ValueError(f"a time constant and a resistance are above 0: {self}")

    @classmethod
    def through(
        cls, temperature_c: float, forecast_c: float, tau_s: float, resistance_k_per_w: float, slowdown_c: float
    ) -> Forecast:
        """The forecast that goes through ``forecast_c`` at ``HORIZON_S``, as a regulator's snapshot gives it."""
        left = math.exp(-HORIZON_S / tau_s)
        return cls(
            temperature_c, (forecast_c - temperature_c * left) / (1 - left), tau_s, resistance_k_per_w, slowdown_c
        )

    def at(self, seconds: float = HORIZON_S) -> float:
        """Temperature so many seconds ahead, in °C."""
        return self.settles_c + (self.temperature_c - self.settles_c) * math.exp(-seconds / self.tau_s)

    @property
    def headroom_k(self) -> float:
        """Kelvin between the forecast at ``HORIZON_S`` and slowdown; negative above it."""
        return self.slowdown_c - self.at()

    def charged(self, power_w: float) -> Forecast:
        """The same device with so many watts more; fewer, where negative."""
        return msgspec.structs.replace(self, settles_c=self.settles_c + self.resistance_k_per_w * power_w)

    def slowed_s(self, within_s: float) -> float:
        """How much of the next seconds lies above slowdown."""
        start_k, end_k = self.temperature_c - self.slowdown_c, self.settles_c - self.slowdown_c
        if start_k < 0 < end_k:
            return within_s - min(within_s, self.tau_s * math.log1p(-start_k / end_k))
        if end_k < 0 <= start_k:
            return min(within_s, self.tau_s * math.log1p(-start_k / end_k))
        return within_s if start_k >= 0 else 0.0


class HeatWatch:
    """Counts a node's samples in a row that forecast heat; one for each device."""

    def __init__(self) -> None:
        self._last_ns: int | None = None
        self.hot_samples = 0

    def see(self, forecast: Forecast | None, ts_ns: int) -> int:
        """Take a sample's forecast; how many in a row were hot. A sample that was seen before counts once.

        Args:
            forecast: None where the device could not be read: what is not known is not hot.
        """
        if ts_ns == self._last_ns:
            return self.hot_samples
        self._last_ns = ts_ns
        hot = forecast is not None and forecast.headroom_k <= MARGIN_K
        self.hot_samples = self.hot_samples + 1 if hot else 0
        return self.hot_samples


class Heat(msgspec.Struct, frozen=True):
    """What is known of a device's heat.

    Attributes:
        age_s: of the newest sample.
        hot_samples: how many in a row were hot.
        throttling: the device slows itself down for heat now, or is held down by a regulator that keeps a temperature.
    """

    age_s: float
    forecast: Forecast
    hot_samples: int
    throttling: bool
