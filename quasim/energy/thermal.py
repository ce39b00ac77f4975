"""First-order thermal model of a device, whose resistance, time constant and air are fitted while it runs."""

from __future__ import annotations

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from quasim.errors import DataError

Array = NDArray[np.float64]

TAUS = 9
TAU_SPREAD = 3.0
"""The bank holds so many time constants, from a third of the prior's to three times it."""

SIGMA_LOG_TAU = 0.5
SIGMA_RESISTANCE = 0.3
SIGMA_AIR_K = 15.0
SIGMA_START_K = 10.0
"""How far the start may be wrong, as standard deviations: of ln τ, of R relative to it, of the air, of the chip."""

SIGMA_READING_K = 0.7
"""A reading against the model: a step of 1 °C alone makes 0.29, and leakage and fans are not modelled."""

AIR_DRIFT_K = 0.15
"""Random walk of the air's temperature, kelvin a root second: with the above, a step of it is followed within 5 s."""

RESISTANCE_DRIFT = 0.0005
"""Random walk of R, relative, a root second: 3 % an hour, so that dust and fans are followed and noise is not."""

MOVING = 0.03
"""A device whose power differs by less than this share of the highest from the heat it holds teaches nothing of τ."""

FORGET = 0.998
"""Of the evidence for each τ, a second of moving heat: about eight minutes count."""

FITTED = 0.2
"""R counts as fitted once its relative standard deviation is below this."""

GAP_S = 10.0
"""After so long without samples the heat in the device is no longer known, and only R and τ are kept."""


class Prior(msgspec.Struct, frozen=True):
    """Where the fit starts.

    Attributes:
        resistance_k_per_w: kelvin that each watt adds in the end.
        tau_s: time constant of chip and heat sink.
        lag_s: time constant of the sensor; it is not fitted.

    Raises:
        ValueError: a figure that no device has.
    """

    resistance_k_per_w: float = 0.08
    tau_s: float = 24.0
    lag_s: float = 2.0

    def __post_init__(self) -> None:
        if not (0 < self.resistance_k_per_w < math.inf and 0 < self.tau_s < math.inf and 0 <= self.lag_s < math.inf):
            raise ValueError(f"no thermal model: {self}")


class ThermalState(msgspec.Struct, frozen=True):
    """All that a model knows, as plain data; ``heat``, ``sensed``, ``start`` and ``mean`` have an entry for each τ."""

    ts_ns: int | None
    power_w: float
    fitted: bool
    evidence: list[float]
    heat: list[list[float]]
    mean: list[list[float]]
    spread: list[list[list[float]]]


class ThermalModel:
    """``τ dT/dt = air + R·P − T``, seen through a sensor that is ``lag_s`` late.

    An output-error fit: for each of several τ, measured power is filtered as that device would (no reading is ever
    differenced, so its 1 °C steps do no harm), and a Kalman filter estimates air, R and the unknown start. What each τ
    predicted well it gains in weight, as in Magill's adaptive estimation (IEEE TAC 10, 1965). The air follows fast: it
    is the disturbance, and takes up leakage, fans and neighbours.

    Args:
        prior: where the fit starts.
        scale_w: the highest power of the device, against which ``MOVING`` is judged.
    """

    def __init__(self, prior: Prior, scale_w: float) -> None:
        self._prior, self._scale_w = prior, scale_w
        self._taus = prior.tau_s * np.geomspace(1 / TAU_SPREAD, TAU_SPREAD, TAUS)
        self._evidence: Array = -0.5 * (np.log(self._taus / prior.tau_s) / SIGMA_LOG_TAU) ** 2
        self._mean: Array = np.tile([0.0, prior.resistance_k_per_w, 0.0], (TAUS, 1))
        self._spread: Array = np.tile(
            np.diag([SIGMA_AIR_K, SIGMA_RESISTANCE * prior.resistance_k_per_w, SIGMA_START_K]) ** 2, (TAUS, 1, 1)
        )
        self._chip: Array = np.zeros((TAUS, 3))
        self._sensor: Array = np.zeros((TAUS, 3))
        self._ts_ns: int | None = None
        self._power_w = 0.0
        self.fitted = False

    @property
    def seen(self) -> bool:
        """Whether any sample was."""
        return self._ts_ns is not None

    @property
    def resistance_k_per_w(self) -> float:
        """Kelvin that each watt adds in the end, as fitted so far."""
        return float(self._weights @ self._mean[:, 1])

    @property
    def tau_s(self) -> float:
        """Time constant, as fitted so far."""
        return math.exp(float(self._weights @ np.log(self._taus)))

    @property
    def air_c(self) -> float:
        """Where the chip would settle without any power: the disturbance estimate."""
        return float(self._weights @ self._mean[:, 0])

    @property
    def heat_w(self) -> float:
        """The constant power that would have made the device as hot as it is."""
        return float(self._weights @ self._chip[:, 1])

    @property
    def chip_c(self) -> float:
        """Temperature of the chip now, ahead of its sensor."""
        return self.ahead_c(self._power_w, 0.0)

    def ahead_c(self, power_w: float, seconds: float) -> float:
        """Temperature of the chip so many seconds from now, if it draws ``power_w`` until then."""
        left = np.exp(-seconds / self._taus)
        chip = self._chip * left[:, None]
        chip[:, 0] = 1.0
        chip[:, 1] += (1 - left) * power_w
        return float(self._weights @ np.einsum("ij,ij->i", chip, self._mean))

    def observe(self, power_w: float, temperature_c: float, ts_ns: int) -> None:
        """Take one sample. The first, and one after a gap, says where the device stands now.

        Raises:
            ValueError: a reading that is not finite.
        """
        if not (math.isfinite(power_w) and math.isfinite(temperature_c)):
            raise ValueError(f"not a sample: {power_w} W, {temperature_c} °C")
        dt_s = math.inf if self._ts_ns is None else (ts_ns - self._ts_ns) / 1e9
        if not 0 <= dt_s <= GAP_S:
            self._anchor(power_w, temperature_c)
        elif dt_s > 0:
            self._flow((self._power_w + power_w) / 2, dt_s)
            self._correct(temperature_c, dt_s, abs(power_w - self.heat_w) > MOVING * self._scale_w)
        self._ts_ns, self._power_w = ts_ns, power_w

    def _anchor(self, power_w: float, temperature_c: float) -> None:
        """Begin as if the device had drawn this for long; ``start`` takes up what it has not."""
        self._chip[:] = self._sensor[:] = (1.0, power_w, 1.0)
        self._mean[:, 0] = temperature_c - self._mean[:, 1] * power_w
        self._mean[:, 2] = 0.0
        kept = self._spread[:, 1, 1].copy()
        self._spread[:] = np.diag([SIGMA_AIR_K**2, 0.0, SIGMA_START_K**2])
        self._spread[:, 1, 1] = kept

    def _flow(self, power_w: float, dt_s: float) -> None:
        """Let heat flow: regressors of the chip, and of its sensor, exact for constant power and slow heat."""
        left = np.exp(-dt_s / self._taus)
        self._chip[:, 1] += (1 - left) * (power_w - self._chip[:, 1])
        self._chip[:, 2] *= left
        gain = 1 - math.exp(-dt_s / self._prior.lag_s) if self._prior.lag_s else 1.0
        self._sensor += gain * (self._chip - self._sensor)

    def _correct(self, temperature_c: float, dt_s: float, moving: bool) -> None:
        """One step of every Kalman filter, and the evidence of its innovation."""
        self._spread[:, 0, 0] += AIR_DRIFT_K**2 * dt_s
        self._spread[:, 1, 1] += (RESISTANCE_DRIFT * self._mean[:, 1]) ** 2 * dt_s
        seen = self._sensor
        missed = temperature_c - np.einsum("ij,ij->i", seen, self._mean)
        reach = np.einsum("ijk,ik->ij", self._spread, seen)
        variance = np.einsum("ij,ij->i", seen, reach) + SIGMA_READING_K**2
        gain = reach / variance[:, None]
        self._mean += gain * missed[:, None]
        self._mean[:, 1] = np.maximum(self._mean[:, 1], self._prior.resistance_k_per_w / 10)
        # Joseph's form: the variances stay positive whatever rounding does.
        kept = np.eye(3) - gain[:, :, None] * seen[:, None, :]
        noise = SIGMA_READING_K**2 * gain[:, :, None] * gain[:, None, :]
        self._spread = kept @ self._spread @ kept.transpose(0, 2, 1) + noise
        if moving:
            self._evidence = FORGET**dt_s * self._evidence - 0.5 * (missed**2 / variance + np.log(variance))
            self._evidence -= self._evidence.max()
        self.fitted = self.fitted or self.doubt < FITTED

    @property
    def doubt(self) -> float:
        """Relative standard deviation of R: within each τ, and between them."""
        weights, resistance = self._weights, self.resistance_k_per_w
        variance = weights @ (self._spread[:, 1, 1] + (self._mean[:, 1] - resistance) ** 2)
        return math.sqrt(float(variance)) / resistance

    @property
    def _weights(self) -> Array:
        likely: Array = np.exp(self._evidence - self._evidence.max())
        likely /= likely.sum()
        return likely

    def state(self) -> ThermalState:
        """Everything, to be given to ``restore``."""
        return ThermalState(
            self._ts_ns,
            self._power_w,
            self.fitted,
            self._evidence.tolist(),
            np.hstack([self._chip, self._sensor]).tolist(),
            self._mean.tolist(),
            self._spread.tolist(),
        )

    def restore(self, state: ThermalState) -> None:
        """Go on from a state.

        Raises:
            DataError: the state is of another form.
        """
        parts = [np.array(part, dtype=np.float64) for part in (state.evidence, state.heat, state.mean, state.spread)]
        forms = [(TAUS,), (TAUS, 6), (TAUS, 3), (TAUS, 3, 3)]
        if [part.shape for part in parts] != forms or not all(np.isfinite(part).all() for part in parts):
            raise DataError("the state of a thermal model has another form", "start without it: the fit begins anew")
        self._evidence, heat, self._mean, self._spread = parts
        self._chip, self._sensor = heat[:, :3].copy(), heat[:, 3:].copy()
        self._ts_ns, self._power_w, self.fitted = state.ts_ns, state.power_w, state.fitted
