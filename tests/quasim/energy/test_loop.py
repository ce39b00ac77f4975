"""The loop, its faults, and the hands behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from quasim.energy import Action, Wanted
from quasim.energy.actuators import Permissions, Setting, SimulatedActuator
from quasim.energy.duty import Aimd
from quasim.energy.enforcer import RETRY_NS, Enforcer
from quasim.energy.hands import SimulatedHands
from quasim.energy.lease import CapLease, CapLeaseError, Charge
from quasim.energy.loop import ControlLoop, Gauges, Regulated
from quasim.energy.nvml_caps import nvml_caps
from quasim.energy.plant import Physics, SimulatedGpu
from quasim.energy.plant_meter import SimulatedMeter
from quasim.energy.regulator import DeviceRegulator
from quasim.meters import (
    BusyError,
    Capabilities,
    GpuLostError,
    MeterError,
    NvmlMeter,
    PermissionDeniedError,
    PowerLimits,
    Sample,
)
from quasim.trial import EnergySource
from tests.quasim.energy.settable_nvml import SettableNvml
from tests.quasim.meters.fake_nvml import UUIDS

SECOND = 1_000_000_000


class Faulty:
    """A simulated GPU's meter whose samples go through a hand of the test's."""

    name = "simulated"
    source = EnergySource.MODEL
    device = "simulated GPU"
    capabilities = Capabilities("", "", "", "", "", "", "")
    power_limits = PowerLimits(None, None, None)

    def __init__(self, gpu: SimulatedGpu, spoil: Callable[[Sample], Sample]) -> None:
        self._meter = SimulatedMeter(gpu, lambda: gpu.now_ns, np.random.default_rng(3))
        self._spoil = spoil
        self.closed = False

    def sample(self) -> Sample:
        return self._spoil(self._meter.sample())

    def close(self) -> None:
        self.closed = True


def regulator(temperature_c: float = 75.0) -> DeviceRegulator:
    return DeviceRegulator(Physics().caps, Wanted(temperature_c=temperature_c))


def live(loop: ControlLoop, gpu: SimulatedGpu, seconds: int, *, heed: bool = False) -> list[Action]:
    """Turns once a second; heed: somebody sets by hand what is advised."""
    actions = []
    for _ in range(seconds):
        actions.append(loop.step(gpu.now_ns))
        if heed:
            gpu.command(Setting(actions[-1].power_cap_w))
        gpu.advance(gpu.now_ns + SECOND)
    return actions


def raising(error: MeterError) -> Callable[[Sample], Sample]:
    def spoil(sample: Sample) -> Sample:
        raise error

    return spoil


def not_a_number(sample: Sample) -> Sample:
    return Sample(sample.ts_ns, 0, sample.energy_j, float("nan"), None, float("nan"))


def frozen() -> Callable[[Sample], Sample]:
    kept: list[Sample] = []

    def spoil(sample: Sample) -> Sample:
        kept.append(sample)
        return kept[0]

    return spoil


FAULTS: dict[str, Callable[[], Callable[[Sample], Sample]]] = {
    "busy": lambda: raising(BusyError("no answer")),
    "lost": lambda: raising(GpuLostError("fell off the bus")),
    "forbidden": lambda: raising(PermissionDeniedError("no")),
    "no number": lambda: not_a_number,
    "frozen": frozen,
    "no temperature": lambda: lambda sample: Sample(sample.ts_ns, 0, power_w=sample.power_w),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_of_a_meter_ends_in_the_safe_cap_within_three_periods(fault: str) -> None:
    gpu = SimulatedGpu(Physics())
    gpu.load(1.0)
    spoil: list[Callable[[Sample], Sample]] = [lambda sample: sample]
    loop = ControlLoop(Faulty(gpu, lambda sample: spoil[0](sample)), regulator())
    live(loop, gpu, 60)
    spoil[0] = FAULTS[fault]()
    # A frozen sample is known by its repetition: the first one that freezes is good.
    actions = live(loop, gpu, 3 + (fault == "frozen"))
    assert actions[-1].safe
    assert actions[-1].power_cap_w == Physics().power_min_w


def test_after_a_fault_the_cap_comes_back_by_a_ramp() -> None:
    gpu = SimulatedGpu(Physics())
    gpu.load(1.0)
    broken = [False]

    def spoil(sample: Sample) -> Sample:
        if broken[0]:
            raise BusyError("no answer")
        return sample

    loop = ControlLoop(Faulty(gpu, spoil), regulator())
    live(loop, gpu, 120, heed=True)
    broken[0] = True
    live(loop, gpu, 10, heed=True)
    broken[0] = False
    caps = [action.power_cap_w or 0.0 for action in live(loop, gpu, 120, heed=True)]
    assert caps[0] == Physics().power_min_w
    assert caps[10] < 500
    assert caps[-1] > 500


def test_advice_moves_nothing_and_sums_up_what_it_saw() -> None:
    gpu = SimulatedGpu(Physics())
    gpu.load(1.0)
    loop = ControlLoop(Faulty(gpu, lambda sample: sample), regulator())
    live(loop, gpu, 100)
    seen = loop.regulated()
    assert (seen.mode, seen.writes, seen.rested_s) == ("advise", 0, 0.0)
    assert (seen.samples, seen.missed, seen.source) == (100, 0, EnergySource.MODEL)
    assert seen.seconds == 99
    assert seen.top_temperature_c is not None
    assert seen.top_temperature_c > 75
    assert loop.pause_s(10.0) == 0
    assert gpu.setting == Setting(Physics().power_default_w)
    assert loop.regulated().samples == 0


def test_advice_on_an_nvml_device_calls_no_setter() -> None:
    library = SettableNvml()
    caps = nvml_caps(UUIDS[0], library, {})
    loop = ControlLoop(
        NvmlMeter(UUIDS[0], library, {}, library.clock),
        DeviceRegulator(caps, Wanted(power_w=300.0, temperature_c=40.0)),
    )
    actions = [loop.step(library.clock() + n * SECOND) for n in range(50)]
    loop.close()
    assert actions[-1].power_cap_w is not None
    assert actions[-1].power_cap_w <= 300
    assert library.written == []
    assert library.setters == []


def test_advice_that_claims_to_have_moved_something_cannot_be_built() -> None:
    with pytest.raises(ValueError, match="advice moves nothing"):
        Regulated(mode="advise", writes=1)


@pytest.fixture
def enforced(tmp_path: Path) -> Iterator[tuple[ControlLoop, SimulatedGpu, Path]]:
    """A closed loop with a real lease, its watchdog, and a device whose settings are a file."""
    gpu = SimulatedGpu(Physics())
    gpu.load(1.0)
    path = tmp_path / "gpu.json"
    charge = Charge(SimulatedHands(str(path)), str(tmp_path), "gpu", silence_s=60)
    hands = Enforcer(SimulatedActuator(path, moved=gpu.command), lambda: CapLease(charge), Aimd())
    loop = ControlLoop(Faulty(gpu, lambda sample: sample), regulator(), hands)
    yield loop, gpu, path
    loop.close()


def test_enforcing_keeps_the_temperature_and_counts_its_writes(
    enforced: tuple[ControlLoop, SimulatedGpu, Path],
) -> None:
    loop, gpu, path = enforced
    live(loop, gpu, 300)
    seen = loop.regulated()
    assert abs(gpu.temperature_c - 75) < 1.5
    assert seen.mode == "enforce"
    assert 0 < seen.writes == seen.advices
    assert gpu.setting.power_cap_w == SimulatedActuator(path).setting().power_cap_w == seen.last_cap_w


def test_a_look_at_an_enforced_loop_shows_the_cap_that_holds(enforced: tuple[ControlLoop, SimulatedGpu, Path]) -> None:
    loop, gpu, _ = enforced
    live(loop, gpu, 5)
    seen = loop.gauges()
    assert seen.cap_w == gpu.setting.power_cap_w
    assert seen.power_w is not None
    assert (seen.source, seen.why) == (EnergySource.MODEL, "")


def test_a_look_at_advice_shows_no_cap_and_asks_the_device_nothing() -> None:
    gpu = SimulatedGpu(Physics())
    asked: list[int] = []

    def count(sample: Sample) -> Sample:
        asked.append(sample.ts_ns)
        return sample

    loop = ControlLoop(Faulty(gpu, count), regulator())
    assert loop.gauges() == Gauges(source=EnergySource.MODEL)
    live(loop, gpu, 3)
    seen = [loop.gauges() for _ in range(10)]
    assert {gauges.cap_w for gauges in seen} == {None}
    assert seen[0].temperature_c is not None
    assert len(asked) == 3


def test_a_look_after_a_read_that_failed_says_so_and_shows_nothing_old() -> None:
    gpu = SimulatedGpu(Physics())
    spoil: list[Callable[[Sample], Sample]] = [lambda sample: sample]
    loop = ControlLoop(Faulty(gpu, lambda sample: spoil[0](sample)), regulator())
    live(loop, gpu, 2)
    spoil[0] = raising(BusyError("no answer"))
    live(loop, gpu, 1)
    assert loop.gauges() == Gauges(source=EnergySource.MODEL, why="the last read of the device failed")


def test_closing_puts_back_what_was(enforced: tuple[ControlLoop, SimulatedGpu, Path]) -> None:
    loop, gpu, path = enforced
    live(loop, gpu, 5)
    assert SimulatedActuator(path).setting() != Setting()
    loop.close()
    assert SimulatedActuator(path).setting() == Setting()


def test_where_power_may_not_be_capped_work_rests_and_no_lease_is_taken(tmp_path: Path) -> None:
    actuator = SimulatedActuator(tmp_path / "gpu.json", Permissions("only an administrator may", "nor clocks"))
    enforcer = Enforcer(actuator, no_lease, Aimd())
    for second in range(60):
        enforcer.follow(Action(300.0, reasons=("power",)), 600.0, second * SECOND)
    assert enforcer.share < 1
    assert enforcer.pause_s(1.0) > 0
    assert enforcer.writes == 0
    assert enforcer.detail == "only an administrator may"


def test_without_a_lease_nothing_is_written_and_work_rests(tmp_path: Path) -> None:
    def refused() -> CapLease:
        raise CapLeaseError("another holds the device")

    actuator = SimulatedActuator(tmp_path / "gpu.json")
    enforcer = Enforcer(actuator, refused, Aimd())
    enforcer.follow(Action(300.0), 600.0, SECOND)
    assert actuator.writes == 0
    assert enforcer.share < 1
    assert "another holds" in enforcer.detail


def test_a_refused_lease_is_not_asked_for_at_every_turn(tmp_path: Path) -> None:
    asked: list[int] = []

    def refused() -> CapLease:
        asked.append(1)
        raise CapLeaseError("another holds the device")

    enforcer = Enforcer(SimulatedActuator(tmp_path / "gpu.json"), refused, Aimd())
    for second in range(RETRY_NS // SECOND + 1):
        enforcer.follow(Action(300.0), 100.0, second * SECOND)
    assert len(asked) == 2


def test_once_caps_hold_again_work_does_not_rest_any_more(tmp_path: Path) -> None:
    charge = Charge(SimulatedHands(str(tmp_path / "gpu.json")), str(tmp_path), "gpu", silence_s=60)
    refusals = [CapLeaseError("another holds the device")]

    def lease() -> CapLease:
        if refusals:
            raise refusals.pop()
        return CapLease(charge)

    enforcer = Enforcer(SimulatedActuator(tmp_path / "gpu.json"), lease, Aimd())
    enforcer.follow(Action(300.0), 600.0, 0)
    rested = enforcer.share
    enforcer.follow(Action(300.0), 600.0, RETRY_NS)
    capped = enforcer.share
    enforcer.close()
    assert rested < 1
    assert capped == 1


def test_a_clock_that_the_operator_set_stays_while_power_is_capped(tmp_path: Path) -> None:
    actuator = SimulatedActuator(tmp_path / "gpu.json")
    actuator.apply(Setting(None, 990.0))
    charge = Charge(SimulatedHands(str(tmp_path / "gpu.json")), str(tmp_path), "gpu", silence_s=60)
    enforcer = Enforcer(actuator, lambda: CapLease(charge), Aimd())
    enforcer.follow(Action(300.0), 600.0, 0)
    held = actuator.setting()
    enforcer.close()
    assert held == Setting(300.0, 990.0)
    assert actuator.setting() == Setting(None, 990.0)


def test_readings_that_are_no_numbers_are_in_no_figure_and_do_not_stop_the_duty_cycle(tmp_path: Path) -> None:
    gpu = SimulatedGpu(Physics())
    gpu.load(1.0)
    spoil: list[Callable[[Sample], Sample]] = [not_a_number]
    hands = Enforcer(SimulatedActuator(tmp_path / "gpu.json", Permissions("no", "no")), no_lease, Aimd())
    loop = ControlLoop(Faulty(gpu, lambda sample: spoil[0](sample)), regulator(), hands)
    live(loop, gpu, 20)
    seen = loop.regulated()
    assert (seen.mean_power_w, seen.top_power_w, seen.top_temperature_c) == (None, None, None)
    assert seen.lowest_duty < 1
    gpu.load(0.0)
    spoil[0] = lambda sample: sample
    live(loop, gpu, 120)
    assert hands.share == 1


def no_lease() -> CapLease:
    raise AssertionError("a lease was taken")
