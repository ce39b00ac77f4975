"""An NVML whose every fault can be had: the constants and exceptions are ``pynvml``'s own, the GPUs are not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType

import pynvml

UUIDS = ("GPU-aaaa1111-0000-0000-0000-000000000000", "GPU-bbbb2222-0000-0000-0000-000000000000")

GETTERS = (
    "nvmlDeviceGetName",
    "nvmlDeviceGetUUID",
    "nvmlDeviceGetTemperature",
    "nvmlDeviceGetClockInfo",
    "nvmlDeviceGetCurrentClocksEventReasons",
    "nvmlDeviceGetEnforcedPowerLimit",
    "nvmlDeviceGetPowerManagementLimitConstraints",
    "nvmlDeviceGetMigMode",
)


class Clock:
    """A clock that goes on only when told, or by ``step_ns`` at every look."""

    def __init__(self, step_ns: int = 0) -> None:
        self.now_ns = 1_000_000_000
        self.step_ns = step_ns

    def __call__(self) -> int:
        self.now_ns += self.step_ns
        return self.now_ns

    def wait(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)


@dataclass
class Gpu:
    """One GPU.

    Attributes:
        millijoules: the counter at a moment (ns).
        milliwatts: instantaneous power at a moment.
        codes: return code by function, field id, or "fields" for the whole call.
    """

    uuid: str
    millijoules: Callable[[int], float] = lambda now_ns: now_ns // 100_000_000 * 100_000_000 / 1e9 * 500_000
    milliwatts: Callable[[int], int] = lambda now_ns: 500_000
    events: int = 0
    mig: tuple[int, int] = (0, 0)
    codes: dict[str | int, int] = field(default_factory=dict)


class FakeNvml(ModuleType):
    """Stands where ``import pynvml`` would: constants and exceptions come from there.

    Attributes:
        gpus: those of the machine.
        users: calls of nvmlInit less those of nvmlShutdown.
        setters: names of the setters that were called.
        missing: functions that this version does not have.
        init_code: what nvmlInit returns.
    """

    def __init__(self, clock: Callable[[], int], *gpus: Gpu) -> None:
        super().__init__("pynvml")
        self.clock = clock
        self.gpus = list(gpus) or [Gpu(uuid) for uuid in UUIDS]
        self.users = 0
        self.setters: list[str] = []
        self.missing: set[str] = set()
        self.init_code = 0

    def __getattr__(self, name: str) -> object:
        if name in self.__dict__["missing"]:
            raise AttributeError(name)
        if name in GETTERS:
            return lambda gpu, *arguments: self._get(name, gpu)
        if name.startswith("nvml") and "Set" in name:
            return lambda *arguments: self.setters.append(name)
        if name.startswith("nvmlDevice") or name in ("nvmlInit", "nvmlShutdown"):
            raise AttributeError(f"the fake has no {name}")
        return getattr(pynvml, name)

    def nvmlInit(self) -> None:  # noqa: N802
        self._check(self.init_code)
        self.users += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.users -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Gpu:  # noqa: N802
        self._check(0 if index < len(self.gpus) else pynvml.NVML_ERROR_INVALID_ARGUMENT)
        self._check(self.gpus[index].codes.get("nvmlDeviceGetHandleByIndex", 0))
        return self.gpus[index]

    def nvmlDeviceGetFieldValues(self, gpu: Gpu, ids: list[int]) -> list[pynvml.c_nvmlFieldValue_t]:  # noqa: N802
        self._check(gpu.codes.get("fields", 0))
        return [self._field(gpu, number) for number in ids]

    def _field(self, gpu: Gpu, number: int) -> pynvml.c_nvmlFieldValue_t:
        value = pynvml.c_nvmlFieldValue_t()
        value.fieldId, value.nvmlReturn = number, gpu.codes.get(number, 0)
        if number == pynvml.NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION:
            reading = gpu.millijoules(self.clock())
            whole = float(reading).is_integer() and reading >= 0
            value.valueType = pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG if whole else pynvml.NVML_VALUE_TYPE_DOUBLE
            if whole:
                value.value.ullVal = int(reading)
            else:
                value.value.dVal = reading
        else:
            value.valueType = gpu.codes.get("type", pynvml.NVML_VALUE_TYPE_UNSIGNED_INT)
            value.value.uiVal = gpu.milliwatts(self.clock())
        return value

    def _get(self, name: str, gpu: Gpu) -> object:
        self._check(gpu.codes.get(name, 0))
        return {
            "nvmlDeviceGetName": "NVIDIA H100 80GB HBM3",
            "nvmlDeviceGetUUID": gpu.uuid,
            "nvmlDeviceGetTemperature": 47,
            "nvmlDeviceGetClockInfo": 1980,
            "nvmlDeviceGetCurrentClocksEventReasons": gpu.events,
            "nvmlDeviceGetEnforcedPowerLimit": 700_000,
            "nvmlDeviceGetPowerManagementLimitConstraints": [200_000, 700_000],
            "nvmlDeviceGetMigMode": list(gpu.mig),
        }[name]

    def _check(self, code: int) -> None:
        if code:
            raise pynvml.NVMLError(code)
