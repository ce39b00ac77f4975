"""Whether an NVIDIA GPU's energy meter can be believed: same work, double work, counter against power, no setter."""

from __future__ import annotations

import argparse
import importlib
import random
import re
import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Protocol

from benchmarks.harness import Bar, Row, main, say
from quasim.errors import MissingToolError
from quasim.measure import median_interval
from quasim.meters import (
    MIN_WORK_NS,
    Energy,
    MeterError,
    NvmlMeter,
    Progress,
    Sampler,
    energy,
    infer_tick_ns,
    mean_power,
)
from quasim.meters.nvml_library import Nvml

ROUNDS = 8
"""The fewest rounds whose extremes enclose the median with more than 99 % (1 − 2·2⁻⁸)."""

LAUNCHES = 100
ELEMENTS = 64 << 20
"""Of each of three float32 arrays: 768 MiB a launch, far beyond a 50 MB L2. Adding draws less than the power cap, so
that clocks stay."""

WARM_UP_NS = 600_000_000
"""Power settles, and two stale replays drain, before progress counts."""

WORK_NS = MIN_WORK_NS
LONG_WORK_NS = 31_000_000_000
DEPTH = 3
TRIES = 3

Replay = Callable[[], object]


class _Event(Protocol):
    def synchronize(self) -> None:
        """Wait until the device has passed it."""


class Gpu:
    """torch, the meter of its first device, and graphs of the same kernel under several names."""

    def __init__(self) -> None:
        self.torch = _torch()
        self.meter = NvmlMeter(str(self.torch.cuda.get_device_properties(0).uuid))
        generator = self.torch.Generator("cuda").manual_seed(0)
        self._arrays = [self.torch.randn(ELEMENTS, device="cuda", generator=generator) for _ in range(3)]

    def graph(self, launches: int) -> Replay:
        """A CUDA graph that adds two arrays so many times."""
        a, b, c = self._arrays
        self.torch.add(a, b, out=c)
        self.torch.cuda.synchronize()
        graph = self.torch.cuda.CUDAGraph()
        with self.torch.cuda.graph(graph):
            for _ in range(launches):
                self.torch.add(a, b, out=c)
        replay: Replay = graph.replay
        return replay

    def work(self, replay: Replay, duration_ns: int) -> Progress:
        """Replay for so long after warming up; a mark is taken when the device is known to have finished a replay."""
        queue: deque[_Event] = deque()
        marks: list[tuple[int, float]] = []
        start_ns = time.monotonic_ns()
        while queue or not marks:
            while len(queue) < DEPTH and time.monotonic_ns() - start_ns < WARM_UP_NS + duration_ns:
                replay()
                event = self.torch.cuda.Event(blocking=True)
                event.record()
                queue.append(event)
            queue.popleft().synchronize()
            marks.append((time.monotonic_ns(), len(marks) + 1.0))
        return [mark for mark in marks if mark[0] - start_ns > WARM_UP_NS]

    def energy(self, replay: Replay, duration_ns: int, idle_power_w: float | None) -> Energy:
        """Joules of one replay."""
        with Sampler(self.meter) as sampler:
            progress = self.work(replay, duration_ns)
        return energy(sampler.recording, progress, idle_power_w=idle_power_w)

    def valid_energy(self, replay: Replay, duration_ns: int, idle_power_w: float | None) -> Energy:
        """The same, measured again when the window was voided.

        Raises:
            MeterError: every try was voided.
        """
        for _ in range(TRIES):
            found = self.energy(replay, duration_ns, idle_power_w)
            if not found.voided:
                return found
            say(f"voided: {found.voided}")
        raise MeterError(
            f"{TRIES} windows were voided, the last because {found.voided}", "let the GPU cool, or free it"
        )


def measure(_: argparse.Namespace) -> tuple[list[Row], list[Bar]]:
    setters = count_setters()
    gpu = Gpu()
    before = settings(gpu.meter.uuid)
    say("tick, read cost and idle power")
    ticks, idle_power_w = _ticks(gpu)
    say(f"{ROUNDS} rounds of the same kernel under two names and of double the work")
    rounds, comparisons, bars = _compare(gpu, idle_power_w)
    say("counter against integrated power over 30 s")
    long = gpu.valid_energy(gpu.graph(LAUNCHES), LONG_WORK_NS, idle_power_w)
    after = settings(gpu.meter.uuid)
    changed = [name for name in before if before[name] != after[name]]
    gpu.meter.close()
    bars += [
        Bar.at_least("long window, s", long.window_ns / 1e9, 30),
        Bar.at_most("counter against integrated power, |difference|", _known(long.cross_check, "power"), 0.02),
        Bar("power limits and clock settings that changed", len(changed), "== 0", not changed),
        Bar("setter calls", len(setters), "== 0", not setters),
    ]
    settled: list[Row] = [{"setting": name, "before": before[name], "after": after[name]} for name in before]
    return [ticks, *rounds, *comparisons, _row("30 s", 0, long), *settled], bars


def _ticks(gpu: Gpu) -> tuple[Row, float]:
    """What the meter itself is like, on the idle device, and the idle power in watts."""
    gpu.torch.cuda.synchronize()
    with Sampler(gpu.meter, period_ns=5_000_000) as sampler:
        time.sleep(4)
    samples = sampler.recording.samples
    tick_ns = infer_tick_ns(samples)
    costs_ms = sorted(sample.read_ns / 1e6 for sample in samples)
    idle = mean_power(sampler.recording)
    row: Row = {
        "device": gpu.meter.device,
        "source": gpu.meter.source.value,
        "tick_ms": None if tick_ns is None else tick_ns / 1e6,
        "read_ms": statistics.median(costs_ms),
        "read_worst_ms": costs_ms[-1],
        "idle_w": _known(idle.j_per_op, f"idle power: {idle.voided}"),
        "idle_low_w": idle.low,
        "idle_high_w": idle.high,
    }
    return row, _known(idle.j_per_op, "idle power")


def _compare(gpu: Gpu, idle_power_w: float) -> tuple[list[Row], list[Row], list[Bar]]:
    """Rounds that give each name one window, in shuffled order, and the ratios within them."""
    names = {"this": gpu.graph(LAUNCHES), "same": gpu.graph(LAUNCHES), "double": gpu.graph(2 * LAUNCHES)}
    order = random.Random(0)
    rows: list[Row] = []
    joules: dict[str, list[float]] = {name: [] for name in names}
    for number in range(ROUNDS):
        for name in order.sample(list(names), len(names)):
            found = gpu.valid_energy(names[name], WORK_NS, idle_power_w)
            joules[name].append(_known(found.j_per_op, name))
            rows.append(_row(name, number, found))
    same, double = (_ratio(joules[name], joules["this"]) for name in ("same", "double"))
    comparisons: list[Row] = [
        {"ratio": f"{name} / this", "median": ratio[0], "low": ratio[1], "high": ratio[2], "rounds": ROUNDS}
        for name, ratio in (("same", same), ("double", double))
    ]
    # 0 where the interval of the ratio holds 1: no difference that the rounds could tell.
    apart = max(0.0, same[1] - 1, 1 - same[2])
    bars = [
        Bar("same kernel under two names: what its interval lies apart from 1", apart, "== 0", apart == 0),
        Bar.at_most("same kernel under two names: |ratio - 1|", abs(same[0] - 1), 0.02),
        Bar.at_most("double work: |J ratio / 2 - 1|", abs(double[0] / 2 - 1), 0.05),
    ]
    return rows, comparisons, bars


def _ratio(over: Sequence[float], under: Sequence[float]) -> tuple[float, float, float]:
    return median_interval([a / b for a, b in zip(over, under, strict=True)])


def _row(name: str, number: int, found: Energy) -> Row:
    return {
        "work": name,
        "round": number,
        "j_per_replay": found.j_per_op,
        "low": found.low,
        "high": found.high,
        "above_idle_j": found.idle_subtracted_j_per_op,
        "power_w": found.power_w,
        "cross_check": found.cross_check,
        "window_s": found.window_ns / 1e9,
        "replays": found.operations,
        "events": " ".join(found.events),
    }


def _known(value: float | None, what: str) -> float:
    if value is None:
        raise MeterError(f"{what} was not measured", "see `quasim meter` for what this GPU reads")
    return value


def settings(uuid: str) -> dict[str, str]:
    """Whatever an administrator could have set of power and clocks, as text; why not, where it cannot be read."""
    nvml = Nvml()
    nvml.call("nvmlInit", "NVML")
    handle = nvml.call("nvmlDeviceGetHandleByUUID", uuid, uuid)
    getters: dict[str, tuple[object, ...]] = {
        "nvmlDeviceGetPowerManagementLimit": (),
        "nvmlDeviceGetPowerManagementDefaultLimit": (),
        "nvmlDeviceGetEnforcedPowerLimit": (),
        "nvmlDeviceGetPowerManagementLimitConstraints": (),
        "nvmlDeviceGetPersistenceMode": (),
        "nvmlDeviceGetComputeMode": (),
        "nvmlDeviceGetMigMode": (),
        "nvmlDeviceGetMinMaxClockOfPState SM": (1, 0),
        "nvmlDeviceGetApplicationsClock SM": (1,),
        "nvmlDeviceGetApplicationsClock memory": (2,),
        "nvmlDeviceGetMaxClockInfo SM": (1,),
        "nvmlDeviceGetMaxClockInfo memory": (2,),
        "nvmlDeviceGetMaxCustomerBoostClock SM": (1,),
    }
    found = {}
    for name, arguments in getters.items():
        try:
            found[name] = str(nvml.call(name.split()[0], name, handle, *arguments))
        except MeterError as error:
            found[name] = error.what
    nvml.call("nvmlShutdown", "NVML")
    return found


def count_setters() -> list[str]:
    """Replace every setter of pynvml by one that also notes its name; the list is what was called."""
    pynvml = _imported("pynvml", "pip install nvidia-ml-py")
    called: list[str] = []
    # nvmlEventSet… are calls on sets of events.
    for name in [n for n in dir(pynvml) if re.match(r"nvml(?!EventSet)\w*(Set|Reset|Clear)[A-Z]", n)]:
        setattr(pynvml, name, _noting(name, getattr(pynvml, name), called))
    return called


def _noting(name: str, function: Callable[..., object], called: list[str]) -> Callable[..., object]:
    def noted(*arguments: object) -> object:
        called.append(name)
        return function(*arguments)

    return noted


def _torch() -> ModuleType:
    torch = _imported("torch", "pip install torch")
    if not torch.cuda.is_available():
        raise MissingToolError("torch sees no CUDA GPU", "run this benchmark on a machine that has one")
    return torch


def _imported(name: str, do: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingToolError(f"the package {name} is not installed", do) from error


if __name__ == "__main__":
    main("gpu_meter", __doc__ or "", measure)
