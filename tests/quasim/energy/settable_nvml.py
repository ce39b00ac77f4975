"""The fake NVML with limits and clocks that can be set, and a list of what was written."""

from __future__ import annotations

import pynvml

from tests.quasim.meters.fake_nvml import Clock, FakeNvml, Gpu


class SettableNvml(FakeNvml):
    """One board of 200 to 700 W.

    Attributes:
        written: (setter, arguments after the handle) in order.
        restricted: what the board says of application clocks.
    """

    def __init__(self) -> None:
        super().__init__(Clock(step_ns=1_000_000))
        self.written: list[tuple[str | int, ...]] = []
        self.restricted = 1
        self.limit_mw = 700_000
        self.clock_mhz = 1980

    def _answer(self, name: str, gpu: Gpu, value: object) -> object:
        self._check(gpu.codes.get(name, 0))
        return value

    def nvmlDeviceGetPowerManagementLimit(self, gpu: Gpu) -> object:  # noqa: N802
        return self._answer("nvmlDeviceGetPowerManagementLimit", gpu, self.limit_mw)

    def nvmlDeviceGetPowerManagementDefaultLimit(self, gpu: Gpu) -> object:  # noqa: N802
        return self._answer("nvmlDeviceGetPowerManagementDefaultLimit", gpu, 700_000)

    def nvmlDeviceGetApplicationsClock(self, gpu: Gpu, which: int) -> object:  # noqa: N802
        return self._answer("nvmlDeviceGetApplicationsClock", gpu, 2619 if which == 2 else self.clock_mhz)

    def nvmlDeviceGetDefaultApplicationsClock(self, gpu: Gpu, which: int) -> object:  # noqa: N802
        return self._answer("nvmlDeviceGetDefaultApplicationsClock", gpu, 2619 if which == 2 else 1980)

    def nvmlDeviceGetSupportedGraphicsClocks(self, gpu: Gpu, memory_mhz: int) -> object:  # noqa: N802
        return self._answer("nvmlDeviceGetSupportedGraphicsClocks", gpu, [1980, 1500, 990, 345])

    def nvmlDeviceGetAPIRestriction(self, gpu: Gpu, which: int) -> object:  # noqa: N802
        return self._answer("nvmlDeviceGetAPIRestriction", gpu, self.restricted)

    def nvmlDeviceGetMarginTemperature(self, gpu: Gpu) -> object:  # noqa: N802
        return self._answer("nvmlDeviceGetMarginTemperature", gpu, 40)

    def nvmlDeviceGetTemperatureThreshold(self, gpu: Gpu, which: int) -> object:  # noqa: N802
        return self._answer("nvmlDeviceGetTemperatureThreshold", gpu, 87)

    def nvmlDeviceSetPowerManagementLimit(self, gpu: Gpu, limit_mw: int) -> None:  # noqa: N802
        self._answer("nvmlDeviceSetPowerManagementLimit", gpu, None)
        self.written.append(("nvmlDeviceSetPowerManagementLimit", limit_mw))
        self.limit_mw = limit_mw

    def nvmlDeviceSetApplicationsClocks(self, gpu: Gpu, memory_mhz: int, clock_mhz: int) -> None:  # noqa: N802
        self._answer("nvmlDeviceSetApplicationsClocks", gpu, None)
        self.written.append(("nvmlDeviceSetApplicationsClocks", memory_mhz, clock_mhz))
        self.clock_mhz = clock_mhz

    def _field(self, gpu: Gpu, number: int) -> pynvml.c_nvmlFieldValue_t:
        if number != pynvml.NVML_FI_DEV_TEMPERATURE_SLOWDOWN_TLIMIT:
            return super()._field(gpu, number)
        value = pynvml.c_nvmlFieldValue_t()
        value.fieldId, value.nvmlReturn, value.valueType = number, 0, pynvml.NVML_VALUE_TYPE_SIGNED_INT
        value.value.siVal = -2
        return value
