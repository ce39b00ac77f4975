"""Regulation beside a node's work: a thread where there is a device, simulated time where there is none."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np

from actors.energy import NodeMeter, OnGpu
from quasim.energy.actuators import Setting, SimulatedActuator
from quasim.energy.duty import Aimd
from quasim.energy.enforcer import Enforcer
from quasim.energy.hands import NvmlHands, SimulatedHands
from quasim.energy.heat import Heat
from quasim.energy.lease import CapLease, Charge
from quasim.energy.loop import ControlLoop, Gauges, Regulated
from quasim.energy.nvml_caps import nvml_caps
from quasim.energy.plant import SimulatedGpu
from quasim.energy.plant_meter import SimulatedMeter
from quasim.energy.regulator import DeviceRegulator
from quasim.energy.spec import RegulationSpec
from quasim.errors import DataError
from quasim.lease import runtime_folder
from quasim.meters import MIN_WORK_NS, MeterError, open_meter
from quasim.targets import Target
from quasim.trial import Trial
from storage.files import write_atomic

LOG = logging.getLogger(__name__)

LEARNED = "regulator"
"""File of a node's folder with what its regulator has learned of the device, for after a restart of the agent."""

BOOT = Path("/proc/sys/kernel/random/boot_id")
"""Monotonic clocks begin anew with it, and so does what a regulator remembers of moments."""

STEP_NS = 100_000_000
"""Simulated work ends at a multiple of this."""


class Regulation(Protocol):
    """What an agent knows of the regulation of its node."""

    def worked(self, trials: Sequence[Trial]) -> None:
        """These have just been measured. Returns once the next work may begin."""

    def regulated(self) -> Regulated:
        """What was since the last call."""

    def heat(self) -> Heat | None:
        """How hot the device is and will be; None where that is not known."""

    def gauges(self) -> Gauges:
        """What was last read, for whoever looks on from another thread."""

    def close(self) -> None:
        """Put back what was set."""


class NoRegulation:
    """Of a device that cannot be watched."""

    def __init__(self, why: str) -> None:
        self._why = why

    def worked(self, trials: Sequence[Trial]) -> None:
        """Nothing follows from it."""

    def regulated(self) -> Regulated:
        """Nothing but the reason."""
        return Regulated(detail=self._why)

    def heat(self) -> Heat | None:
        """Not known."""
        return None

    def gauges(self) -> Gauges:
        """Nothing but the reason."""
        return Gauges(why=self._why)

    def close(self) -> None:
        """Nothing is held."""


class BesideWork:
    """A thread that turns the loop once a period, while the agent's own thread measures.

    Args:
        learned: where the regulator's state is kept.
        wait: sleeps for seconds, for the duty cycle.
    """

    def __init__(
        self,
        loop: ControlLoop,
        period_s: float,
        learned: Path,
        clock: Callable[[], int] = time.monotonic_ns,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._loop, self._period_s, self._learned = loop, period_s, learned
        self._clock, self._wait = clock, wait
        self._turn = threading.Lock()
        self._stop = threading.Event()
        self._since_ns = clock()
        self._fault = ""
        self._resting = False
        self._thread = threading.Thread(target=self._run, name="regulation", daemon=True)
        recall(loop, learned)
        self._thread.start()

    def worked(self, trials: Sequence[Trial]) -> None:
        """Rest as the duty cycle asks."""
        busy_s = (self._clock() - self._since_ns) / 1e9
        with self._turn:
            pause_s = self._loop.pause_s(busy_s)
        if pause_s:
            self._resting = True
            self._wait(pause_s)
            self._resting = False
        self._since_ns = self._clock()

    def regulated(self) -> Regulated:
        """What was since the last call."""
        with self._turn:
            remember(self._loop, self._learned)
            result = self._loop.regulated()
        return msgspec.structs.replace(result, detail=self._fault or result.detail)

    def heat(self) -> Heat | None:
        """As of the last turn."""
        with self._turn:
            return self._loop.heat(self._clock())

    def gauges(self) -> Gauges:
        """As of the last turn; whether it rests, as of now."""
        fault = self._fault
        read = Gauges(why=fault) if fault else self._loop.gauges()
        return msgspec.structs.replace(read, resting=self._resting)

    def close(self) -> None:
        """End the thread, put back."""
        self._stop.set()
        self._thread.join()
        if not self._fault:
            self._loop.close()

    def _run(self) -> None:
        while not self._stop.wait(self._period_s):
            with self._turn:
                try:
                    self._loop.step(self._clock())
                except Exception as error:
                    # Without this the thread would end without a word and leave its last cap in force.
                    LOG.exception("regulation of this node has ended")
                    self._fault = f"regulation has ended: {error}"
                    self._loop.close()
                    return


class OfSimulation:
    """Lets a simulated GPU live through what recorded trials would have been, in a time of its own.

    A trial's work is a metered window, at the power that was recorded, stretched where caps slow the device; what was
    compiled or failed leaves it idle.

    Args:
        now: the simulation's clock, shared with its meter.
    """

    def __init__(self, loop: ControlLoop, gpu: SimulatedGpu, now: SimulatedTime, period_s: float) -> None:
        self._loop, self._gpu, self._now = loop, gpu, now
        self._period_ns = round(period_s * 1e9)
        self._due_ns = now()

    def worked(self, trials: Sequence[Trial]) -> None:
        """Live through them, one after the other."""
        for trial in trials:
            self._pass((trial.compile_ns or 0) + (trial.check_ns or 0))
            if trial.timing is not None:
                watts = None if trial.energy_j is None else trial.energy_j / trial.timing.median_ns * 1e9
                self._work(watts, MIN_WORK_NS)

    def regulated(self) -> Regulated:
        """What was since the last call."""
        return self._loop.regulated()

    def heat(self) -> Heat | None:
        """As of the last turn, in simulated time."""
        return self._loop.heat(self._now())

    def gauges(self) -> Gauges:
        """As of the last turn."""
        return self._loop.gauges()

    def close(self) -> None:
        """Put back what was set."""
        self._loop.close()

    def _work(self, watts: float | None, full_rate_ns: int) -> None:
        begin_ns, done_s = self._now(), self._gpu.work_s + full_rate_ns / 1e9
        self._gpu.load(1.0, None if watts is None else max(watts, self._gpu.physics.idle_w))
        while self._gpu.work_s < done_s:
            self._pass(STEP_NS)
        self._gpu.load(0.0)
        self._pass(round(self._loop.pause_s((self._now() - begin_ns) / 1e9) * 1e9))

    def _pass(self, duration_ns: int) -> None:
        end_ns = self._now() + duration_ns
        while self._now() < end_ns:
            self._now.ns = min(end_ns, self._due_ns)
            self._gpu.advance(self._now())
            if self._now() >= self._due_ns:
                self._loop.step(self._now())
                self._due_ns += self._period_ns


class SimulatedTime:
    """A clock that whoever holds it moves."""

    def __init__(self) -> None:
        self.ns = 0

    def __call__(self) -> int:
        """Simulated ns."""
        return self.ns


def open_regulation(
    spec: RegulationSpec, target: Target, folder: Path, *, alone: bool, seed: int
) -> tuple[NodeMeter, Regulation]:
    """The meter of a node, and the regulation of what it meters.

    Args:
        folder: of the node.
        alone: nobody else uses the device now.
        seed: of a simulated sensor's noise.
    """
    if spec.simulated is not None:
        return _simulated(spec, folder, seed)
    meter = NodeMeter.of(target, alone=alone)
    if not isinstance(target, OnGpu):
        return meter, NoRegulation(f"the {target.name} target has no device that can be regulated")
    try:
        return meter, _of_gpu(spec, target.gpu.uuid, folder)
    except MeterError as error:
        return meter, NoRegulation(str(error))


def _of_gpu(spec: RegulationSpec, uuid: str, folder: Path) -> Regulation:
    """A thread beside the work on a GPU.

    Raises:
        MeterError: the GPU does not tell its limits.
    """
    caps = nvml_caps(uuid)
    regulator = DeviceRegulator(caps, spec.wanted, law=spec.law)
    enforcer = _enforcer(NvmlHands(uuid)) if spec.mode == "enforce" else None
    return BesideWork(
        ControlLoop(open_meter(uuid), regulator, enforcer, caps.slowdown_c), spec.period_s, folder / LEARNED
    )


def _enforcer(hands: NvmlHands) -> Enforcer:
    charge = Charge(hands, str(runtime_folder()), hands.uuid)
    return Enforcer(hands.open(), lambda: CapLease(charge), Aimd())


def _simulated(spec: RegulationSpec, folder: Path, seed: int) -> tuple[NodeMeter, Regulation]:
    assert spec.simulated is not None
    now = SimulatedTime()
    gpu = SimulatedGpu(spec.simulated)
    meter = SimulatedMeter(gpu, now, np.random.default_rng(seed), f"simulated GPU of {folder.name}")
    regulator = DeviceRegulator(spec.simulated.caps, spec.wanted, law=spec.law)
    enforcer = _simulated_enforcer(folder, gpu.command) if spec.mode == "enforce" else None
    loop = ControlLoop(meter, regulator, enforcer, spec.simulated.slowdown_c)
    return NodeMeter(meter, spec.simulated.settled_idle_w, now), OfSimulation(loop, gpu, now, spec.period_s)


def _simulated_enforcer(folder: Path, moved: Callable[[Setting], None]) -> Enforcer:
    """With the lease and the watchdog of a real device, which put back the file that stands for it."""
    path = folder.resolve() / "caps.json"
    charge = Charge(SimulatedHands(str(path)), str(path.parent), "simulated")
    return Enforcer(SimulatedActuator(path, moved=moved), lambda: CapLease(charge), Aimd())


def recall(loop: ControlLoop, path: Path) -> None:
    """Let a regulator go on from what its predecessor learned since the machine started; else it learns anew."""
    with suppress(FileNotFoundError):
        boot, _, state = path.read_bytes().partition(b"\n")
        if boot == BOOT.read_bytes().strip():
            try:
                loop.regulator.restore(state)
            except DataError as error:
                LOG.warning("the regulator learns anew: %s", error)


def remember(loop: ControlLoop, path: Path) -> None:
    """Keep what a regulator has learned."""
    write_atomic(path, BOOT.read_bytes().strip() + b"\n" + loop.regulator.state())
