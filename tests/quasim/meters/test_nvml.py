"""The NVIDIA meter against a fake NVML: every fault that the real one can show."""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import pynvml
import pytest

import quasim.meters
from quasim.meters import (
    BusyError,
    ClockEvent,
    DriverMissingError,
    GpuLostError,
    Meter,
    MeterError,
    MigError,
    NoDeviceError,
    NotSupportedError,
    NvmlMeter,
    PermissionDeniedError,
    Sampler,
    UnknownCodeError,
    energy,
)
from quasim.meters.nvml import EVENT_BITS, FIELDS, clock_events
from quasim.trial import EnergySource
from tests.quasim.meters.conformance import MeterConformance
from tests.quasim.meters.fake_nvml import UUIDS, Clock, FakeNvml, Gpu
from tests.quasim.meters.simulated import MS

ENERGY, POWER, AVERAGE = FIELDS["energy"], FIELDS["power"], FIELDS["average_power"]

CODES = {
    pynvml.NVML_ERROR_UNINITIALIZED: DriverMissingError,
    pynvml.NVML_ERROR_INVALID_ARGUMENT: NoDeviceError,
    pynvml.NVML_ERROR_NOT_SUPPORTED: NotSupportedError,
    pynvml.NVML_ERROR_NO_PERMISSION: PermissionDeniedError,
    pynvml.NVML_ERROR_NOT_FOUND: NoDeviceError,
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: DriverMissingError,
    pynvml.NVML_ERROR_TIMEOUT: BusyError,
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: DriverMissingError,
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND: NotSupportedError,
    pynvml.NVML_ERROR_GPU_IS_LOST: GpuLostError,
    pynvml.NVML_ERROR_RESET_REQUIRED: GpuLostError,
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: DriverMissingError,
    pynvml.NVML_ERROR_IN_USE: BusyError,
    pynvml.NVML_ERROR_NO_DATA: BusyError,
    pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH: NotSupportedError,
    pynvml.NVML_ERROR_DEPRECATED: NotSupportedError,
    pynvml.NVML_ERROR_NOT_READY: BusyError,
    pynvml.NVML_ERROR_GPU_NOT_FOUND: NoDeviceError,
    pynvml.NVML_ERROR_UNKNOWN: UnknownCodeError,
    4711: UnknownCodeError,
}


def opened(*gpus: Gpu, device: str = "0", visible: str | None = None, clock: Clock | None = None) -> NvmlMeter:
    now = clock or Clock()
    environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    return NvmlMeter(device, FakeNvml(now, *gpus), environ, now)


class TestConformance(MeterConformance):
    @pytest.fixture
    def meter(self) -> Iterator[Meter]:
        meter = opened(clock=Clock(step_ns=3 * MS))
        yield meter
        meter.close()


class TestWithoutCounter(MeterConformance):
    @pytest.fixture
    def meter(self) -> Meter:
        return opened(Gpu(UUIDS[0], codes={ENERGY: pynvml.NVML_ERROR_NOT_SUPPORTED}))


def test_readings_come_in_joules_and_watts() -> None:
    meter = opened(Gpu(UUIDS[0], millijoules=lambda _: 1_234_567, milliwatts=lambda _: 345_678, events=0x4))
    sample = meter.sample()
    assert (sample.energy_j, sample.power_w, sample.average_power_w) == (1234.567, 345.678, 345.678)
    assert (sample.temperature_c, sample.clock_mhz) == (47, 1980)
    assert sample.clock_events == {ClockEvent.SW_POWER_CAP}
    assert (meter.power_limits.enforced_w, meter.power_limits.lowest_w, meter.power_limits.highest_w) == (700, 200, 700)
    assert meter.device == f"NVIDIA H100 80GB HBM3 {UUIDS[0]}"


def test_a_sample_is_stamped_in_the_middle_of_reading_the_counter() -> None:
    clock = Clock(step_ns=MS)
    meter = opened(clock=clock)
    start_ns = clock.now_ns
    sample = meter.sample()
    # The clock steps at every look: at the start, three fields of the fake, after them, and at the end.
    assert start_ns < sample.ts_ns < sample.ts_ns + sample.read_ns
    assert sample.read_ns == clock.now_ns - start_ns - MS


@pytest.mark.parametrize("code", CODES)
def test_every_code_of_nvml_init_is_typed(code: int) -> None:
    library = FakeNvml(Clock())
    library.init_code = code
    with pytest.raises(CODES[code]) as caught:
        NvmlMeter("0", library, {})
    assert caught.value.code == code
    assert library.users == 0


@pytest.mark.parametrize("code", CODES)
def test_every_code_of_one_field_is_typed_and_the_others_stay(code: int) -> None:
    gpu = Gpu(UUIDS[0], codes={ENERGY: code})
    if issubclass(CODES[code], NotSupportedError | PermissionDeniedError | BusyError | UnknownCodeError):
        meter = opened(gpu)
        assert meter.source is EnergySource.INTEGRATED
        assert "energy" in meter.capabilities.energy
        assert meter.sample().energy_j is None
        assert meter.sample().power_w == 500
    else:
        with pytest.raises(CODES[code]):
            opened(gpu)


@pytest.mark.parametrize("code", CODES)
def test_every_code_of_a_later_read_is_typed(code: int) -> None:
    gpu = Gpu(UUIDS[0])
    meter = opened(gpu)
    for failing in (ENERGY, "fields", "nvmlDeviceGetTemperature"):
        gpu.codes = {failing: code}
        with pytest.raises(CODES[code]) as caught:
            meter.sample()
        assert caught.value.code == code
        assert str(code) in str(caught.value) or CODES[code] is not UnknownCodeError
    gpu.codes = {}
    assert meter.sample().energy_j is not None


@pytest.mark.parametrize(
    ("failing", "field"),
    [
        (POWER, "power"),
        (AVERAGE, "average_power"),
        ("nvmlDeviceGetTemperature", "temperature"),
        ("nvmlDeviceGetClockInfo", "clock"),
        ("nvmlDeviceGetCurrentClocksEventReasons", "clock_events"),
        ("nvmlDeviceGetEnforcedPowerLimit", "power_limits"),
    ],
)
def test_one_field_without_permission_costs_that_field_alone(failing: str | int, field: str) -> None:
    meter = opened(Gpu(UUIDS[0], codes={failing: pynvml.NVML_ERROR_NO_PERMISSION}))
    names = ("energy", "power", "average_power", "temperature", "clock", "clock_events", "power_limits")
    absent = {name: getattr(meter.capabilities, name) for name in names if getattr(meter.capabilities, name)}
    assert list(absent) == [field]
    assert "no permission" in absent[field]
    assert meter.sample().energy_j is not None


def test_functions_that_an_old_package_lacks_are_absent() -> None:
    library = FakeNvml(Clock())
    library.missing = {"nvmlDeviceGetCurrentClocksEventReasons"}
    meter = NvmlMeter("0", library, {})
    assert "nvmlDeviceGetCurrentClocksEventReasons" in meter.capabilities.clock_events
    assert meter.sample().clock_events == frozenset()


def test_a_field_of_unknown_type_is_absent() -> None:
    meter = opened(Gpu(UUIDS[0], codes={"type": 99}))
    assert "unknown type 99" in meter.capabilities.power
    assert meter.source is EnergySource.COUNTER


def test_without_energy_and_power_there_is_no_source() -> None:
    denied = pynvml.NVML_ERROR_NO_PERMISSION
    assert opened(Gpu(UUIDS[0], codes={ENERGY: denied, POWER: denied})).source is EnergySource.UNMETERED


def test_mig_is_refused_however_it_shows() -> None:
    with pytest.raises(MigError):
        opened(Gpu(UUIDS[0], mig=(1, 1)))
    with pytest.raises(MigError):
        opened(device="MIG-aaaa1111-0000-0000-0000-000000000000")
    with pytest.raises(MigError):
        opened(visible="MIG-aaaa1111-0000-0000-0000-000000000000")
    assert opened(Gpu(UUIDS[0], mig=(0, 1))).source is EnergySource.COUNTER
    assert opened(Gpu(UUIDS[0], codes={"nvmlDeviceGetMigMode": pynvml.NVML_ERROR_NOT_SUPPORTED})).uuid == UUIDS[0]


@pytest.mark.parametrize(
    ("device", "visible", "uuid"),
    [
        ("0", None, UUIDS[0]),
        ("1", None, UUIDS[1]),
        ("0", "1", UUIDS[1]),
        ("1", "1,0", UUIDS[0]),
        ("0", f"{UUIDS[1]},0", UUIDS[1]),
        ("0", "GPU-bbbb", UUIDS[1]),
        (UUIDS[1], "0", UUIDS[1]),
        (UUIDS[1].removeprefix("GPU-"), None, UUIDS[1]),
    ],
)
def test_the_device_is_the_one_that_cuda_would_use(device: str, visible: str | None, uuid: str) -> None:
    assert opened(device=device, visible=visible).uuid == uuid


@pytest.mark.parametrize(
    ("device", "visible"),
    [("0", ""), ("1", "0"), ("1", "0,-1,1"), ("0", "NoDevFiles"), ("2", None), ("GPU-", None), ("GPU-cccc", None)],
)
def test_devices_that_are_not_visible_are_refused(device: str, visible: str | None) -> None:
    library = FakeNvml(Clock())
    environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    with pytest.raises(NoDeviceError):
        NvmlMeter(device, library, environ)
    assert library.users == 0


def test_a_lost_gpu_does_not_hide_another() -> None:
    lost = Gpu(UUIDS[0], codes={"nvmlDeviceGetUUID": pynvml.NVML_ERROR_GPU_IS_LOST})
    assert opened(lost, Gpu(UUIDS[1]), device=UUIDS[1]).uuid == UUIDS[1]


def test_nvml_is_given_back() -> None:
    library = FakeNvml(Clock())
    meter = NvmlMeter("0", library, {})
    assert library.users == 1
    meter.close()
    assert library.users == 0


@pytest.mark.parametrize("bit", EVENT_BITS)
def test_every_event_bit_has_its_name(bit: int) -> None:
    assert clock_events(bit) == {EVENT_BITS[bit]}


def test_the_event_bits_are_those_of_nvml() -> None:
    assert sum(EVENT_BITS) == pynvml.nvmlClocksEventReasonAll
    assert clock_events(0x400 | 0x20) == {ClockEvent.UNKNOWN, ClockEvent.SW_THERMAL}
    assert (ENERGY, POWER, AVERAGE) == (
        pynvml.NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION,
        pynvml.NVML_FI_DEV_POWER_INSTANT,
        pynvml.NVML_FI_DEV_POWER_AVERAGE,
    )


def metered(gpu: Gpu, fail_at_ns: int | None = None) -> str:
    """Why three seconds of work on this GPU gave no energy; "" where they did."""
    clock = Clock(step_ns=MS // 4)
    meter = opened(gpu, clock=clock)
    start_ns = clock.now_ns

    def wait(seconds: float) -> bool:
        clock.wait(seconds)
        if fail_at_ns is not None and clock.now_ns - start_ns > fail_at_ns:
            gpu.codes["fields"] = pynvml.NVML_ERROR_GPU_IS_LOST
        return clock.now_ns - start_ns > 3_000 * MS

    with Sampler(meter, clock=clock, wait=wait) as sampler:
        pass
    return energy(sampler.recording, [(start_ns, 0.0), (start_ns + 2_900 * MS, 1000.0)]).voided


def ticking(now_ns: int) -> float:
    return now_ns // (100 * MS) * 50_000


def test_a_sound_counter_gives_an_energy() -> None:
    assert metered(Gpu(UUIDS[0], millijoules=ticking)) == ""


@pytest.mark.parametrize(
    ("counter", "reason"),
    [
        (lambda now_ns: ticking(now_ns) % 2**20, "went back"),
        (lambda now_ns: ticking(now_ns) if now_ns < 2_500 * MS else ticking(now_ns) - ticking(2_500 * MS), "went back"),
        (lambda now_ns: ticking(min(now_ns, 2_500 * MS)), "did not change"),
        (lambda now_ns: math.nan if now_ns > 2_500 * MS else ticking(now_ns), "nan"),
        (lambda now_ns: -1.0 if now_ns > 2_500 * MS else ticking(now_ns), "energy_j read -0.001"),
        (lambda now_ns: ticking(now_ns) + (2**40 if now_ns > 2_500 * MS else 0), "differ"),
    ],
    ids=["wrap", "reset", "stale", "nan", "negative", "jump"],
)
def test_a_faulty_counter_gives_no_energy(counter: object, reason: str) -> None:
    assert reason in metered(Gpu(UUIDS[0], millijoules=counter))  # type: ignore[arg-type]


def test_a_gpu_lost_midway_gives_no_energy() -> None:
    assert "the GPU is lost" in metered(Gpu(UUIDS[0], millijoules=ticking), fail_at_ns=1_500 * MS)


@pytest.mark.parametrize("bit", [0x08, 0x20, 0x40, 0x80])
def test_a_slowed_gpu_gives_no_energy(bit: int) -> None:
    assert "slowed itself down" in metered(Gpu(UUIDS[0], millijoules=ticking, events=bit))


@pytest.mark.parametrize("bit", [0x01, 0x02, 0x04, 0x10, 0x100, 0x800])
def test_a_capped_or_idle_gpu_gives_its_energy(bit: int) -> None:
    assert metered(Gpu(UUIDS[0], millijoules=ticking, events=bit)) == ""


def test_errors_cross_processes_with_their_code() -> None:
    error = UnknownCodeError("energy: NVML returned code 4711", "see nvml.h", 4711)
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  our own
    assert isinstance(copy, MeterError)
    assert (str(copy), copy.code) == (str(error), 4711)


def test_no_setter_is_ever_called() -> None:
    library = FakeNvml(Clock())
    meter = NvmlMeter("0", library, {})
    for _ in range(3):
        meter.sample()
    assert meter.power_limits.enforced_w == 700
    meter.close()
    assert library.setters == []
    library.nvmlDeviceSetPowerManagementLimit(library.gpus[0], 1)  # type: ignore[operator]
    assert library.setters == ["nvmlDeviceSetPowerManagementLimit"]


def test_no_setter_is_named_in_the_package() -> None:
    setter = re.compile(r"nvmlDeviceSet|nvml\w*Set\w*\(|amdsmi_set|amdsmi_reset|write_text|nvmlDeviceReset")
    sources = list(Path(quasim.meters.__file__).parent.glob("*.py"))
    assert len(sources) > 8
    assert [f"{p.name}: {m}" for p in sources for m in setter.findall(p.read_text())] == []
