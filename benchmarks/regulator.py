"""Energy regulation on simulated plants: heat kept, work done, faults survived. All figures are a model's."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from actors.energy import NodeMeter
from actors.regulation import NoRegulation
from benchmarks.harness import Bar, Row, main
from quasim.energy import Action, Wanted
from quasim.energy.actuators import Setting
from quasim.energy.loop import ControlLoop, observed
from quasim.energy.plant import Physics, SimulatedGpu
from quasim.energy.plant_meter import RecordedMeter, SimulatedMeter
from quasim.energy.regulator import DeviceRegulator, prior_of
from quasim.energy.thermal import Prior
from quasim.energy.trace import read_turns, samples
from quasim.energy.tuning import Tuning
from quasim.meters import NoMeter, Sample
from quasim.trial import Problem

SET_POINT_C = 75.0
SECONDS = 600
SCAN_SECONDS = 400
LAST_S = 100
"""Ripple and mean are of a run's last stretch, long after any disturbance."""

SETTLED = 0.05
"""A run has settled once it stays within this share of its whole rise, the usual band of step responses."""

AMBIENT_STEP_K = 8.0
SQUARE_S, SQUARE_LOW = 30, 0.2
FAULT_TRIALS = 40
SEED = 42

Floats = NDArray[np.float64]
Disturb = Callable[[SimulatedGpu, int], None]
Spoil = Callable[[Sample, Sample | None, int], Sample | None]


def steady(gpu: SimulatedGpu, second: int) -> None:
    """All work from the first second on."""
    gpu.load(1.0)


def warmer(gpu: SimulatedGpu, second: int) -> None:
    """All work, and warmer air from half time on."""
    gpu.load(1.0)
    if second == SCAN_SECONDS // 2:
        gpu.inlet_c += AMBIENT_STEP_K


def square(gpu: SimulatedGpu, second: int) -> None:
    """All work and little work by turns."""
    gpu.load(1.0 if second // SQUARE_S % 2 == 0 else SQUARE_LOW)


LOADS: dict[str, Disturb] = {"step": steady, f"ambient +{AMBIENT_STEP_K:g} K": warmer, f"square {SQUARE_S} s": square}


@dataclass
class Run:
    """What a closed loop did, second by second.

    Attributes:
        temperature_c: true ones, as they were at the end of each second.
        actions: of the regulator at the start of each second.
        commands: (second, watts) written.
        work_s: done, in seconds of full rate.
        energy_j: drawn.
    """

    start_c: float
    temperature_c: list[float] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    commands: list[tuple[int, float]] = field(default_factory=list)
    work_s: float = 0.0
    energy_j: float = 0.0

    @property
    def truth(self) -> Floats:
        """Temperatures as an array, (seconds,)."""
        return np.array(self.temperature_c)

    @property
    def overshoot_k(self) -> float:
        """Most above the set point; below 0 where it was never reached."""
        return float(self.truth.max() - SET_POINT_C)

    @property
    def ripple_k(self) -> float:
        """Peak to peak of the last stretch."""
        return float(np.ptp(self.truth[-LAST_S:]))

    @property
    def mean_c(self) -> float:
        """Of the last stretch."""
        return float(self.truth[-LAST_S:].mean())

    @property
    def settled_s(self) -> int:
        """When the temperature entered the band around the set point for good."""
        outside = np.abs(self.truth - SET_POINT_C) > SETTLED * (SET_POINT_C - self.start_c)
        return int(outside.nonzero()[0].max(initial=-1)) + 1

    @property
    def writes_a_minute(self) -> int:
        """Most writes in any minute."""
        seconds = np.array([second for second, _ in self.commands])
        return max(int(((seconds >= at) & (seconds < at + 60)).sum()) for at in seconds)

    @property
    def least_write_w(self) -> float:
        """The smallest change of the cap that was written."""
        return min(abs(b - a) for (_, a), (_, b) in itertools.pairwise(self.commands))

    @property
    def steepest_w_per_s(self) -> float:
        """Steepest change of the cap."""
        pairs = itertools.pairwise(self.commands)
        return max((abs(b - a) / (late - early) for (early, a), (late, b) in pairs), default=0.0)


def simulate(
    physics: Physics,
    seconds: int,
    disturb: Disturb = steady,
    *,
    law: str = "predictive",
    tuning: Tuning | None = None,
    prior: Prior | None = None,
    spoil: Spoil = lambda sample, last, second: sample,
    seed: int = SEED,
) -> Run:
    """One closed loop, sampled once a second.

    Args:
        disturb: sets load and air at the start of each second.
        spoil: what becomes of a sample on its way, told the last one that arrived; None: it is lost.
    """
    gpu = SimulatedGpu(physics)
    meter = SimulatedMeter(gpu, lambda: gpu.now_ns, np.random.default_rng(seed))
    regulator = DeviceRegulator(physics.caps, Wanted(temperature_c=SET_POINT_C), law=law, tuning=tuning, prior=prior)
    run = Run(gpu.temperature_c)
    last: Sample | None = None
    for second in range(seconds):
        disturb(gpu, second)
        last = spoil(meter.sample(), last, second)
        action = regulator.step(None if last is None else observed(last), gpu.now_ns)
        cap_w = action.power_cap_w
        if cap_w is not None and (not run.commands or run.commands[-1][1] != cap_w):
            run.commands.append((second, cap_w))
            gpu.command(Setting(cap_w))
        gpu.advance((second + 1) * 1_000_000_000)
        run.temperature_c.append(gpu.temperature_c)
        run.actions.append(action)
    run.work_s, run.energy_j = gpu.work_s, gpu.energy_j
    return run


def constant(physics: Physics, seconds: int, cap_w: float) -> tuple[float, float]:
    """(mean temperature of the last stretch, work) under one cap from the beginning."""
    gpu = SimulatedGpu(physics)
    gpu.load(1.0)
    gpu.command(Setting(cap_w))
    temperatures = []
    for second in range(seconds):
        gpu.advance((second + 1) * 1_000_000_000)
        temperatures.append(gpu.temperature_c)
    return float(np.mean(temperatures[-LAST_S:])), gpu.work_s


def best_constant(physics: Physics, seconds: int, mean_c: float) -> tuple[float, float]:
    """(cap, work) of the constant cap that ends at this temperature, by bisection to a tenth of a watt."""
    low_w, high_w = physics.power_min_w, physics.power_max_w
    while high_w - low_w > 0.1:
        middle_w = (low_w + high_w) / 2
        low_w, high_w = (middle_w, high_w) if constant(physics, seconds, middle_w)[0] < mean_c else (low_w, middle_w)
    return low_w, constant(physics, seconds, low_w)[1]


def nominal(law: str) -> tuple[Row, list[Bar]]:
    """The plant that the bars name, from idle to full load."""
    run = simulate(Physics(), SECONDS, law=law)
    cap_w, work_s = best_constant(Physics(), SECONDS, run.mean_c)
    row: Row = {
        "law": law,
        "overshoot [K]": run.overshoot_k,
        "settled [s]": run.settled_s,
        "ripple [K]": run.ripple_k,
        "mean - set point [K]": run.mean_c - SET_POINT_C,
        "writes a minute": run.writes_a_minute,
        "slew [W/s]": run.steepest_w_per_s,
        "smallest write [W]": run.least_write_w,
        "work of best constant cap": run.work_s / work_s,
        "that cap [W]": cap_w,
    }
    bars = [
        Bar.at_most("nominal: overshoot [K]", run.overshoot_k, 2.5),
        Bar.at_most(f"nominal: settled within {SETTLED:.0%} of the rise [s]", run.settled_s, 60),
        Bar.at_most("nominal: ripple, peak to peak [K]", run.ripple_k, 1.5),
        Bar.at_most("nominal: mean off the set point [K]", abs(run.mean_c - SET_POINT_C), 1.5),
        Bar.at_most("nominal: writes in any minute", run.writes_a_minute, 12),
        Bar.at_most("nominal: steepest change of the cap [W/s]", run.steepest_w_per_s, Tuning().slew_w_per_s),
        Bar.at_least("nominal: smallest write [W]", run.least_write_w, 15),
        Bar.at_least("nominal: work in units of the best constant cap's", run.work_s / work_s, 0.95),
    ]
    return row, bars


def wrong_plants() -> Iterator[Physics]:
    """All 81: R, τ and leakage off by a fifth either way or not, and three delays."""
    right, off = Physics(), (0.8, 1.0, 1.2)
    for resistance, tau, leakage, delay_s in itertools.product(off, off, off, (0.0, 1.0, 2.0)):
        yield msgspec.structs.replace(
            right,
            resistance_k_per_w=right.resistance_k_per_w * resistance,
            tau_s=right.tau_s * tau,
            leakage_w_per_k=right.leakage_w_per_k * leakage,
            delay_s=delay_s,
        )


def scan(law: str, load: str) -> tuple[Row, list[Bar]]:
    """Every wrong plant under one load. A square load swings the temperature by itself: its ripple has no bar."""
    runs = [simulate(physics, SCAN_SECONDS, LOADS[load], law=law) for physics in wrong_plants()]
    overshoots, ripples = [run.overshoot_k for run in runs], [run.ripple_k for run in runs]
    row: Row = {
        "law": law,
        "load": load,
        "plants": len(runs),
        "median overshoot [K]": float(np.median(overshoots)),
        "worst overshoot [K]": max(overshoots),
        "worst ripple [K]": max(ripples),
        "most writes a minute": max(run.writes_a_minute for run in runs),
    }
    bars = [
        Bar.at_most(f"81 plants, {load}: median overshoot [K]", float(np.median(overshoots)), 3.0),
        Bar.at_most(f"81 plants, {load}: worst overshoot [K]", max(overshoots), 9.0),
    ]
    if LOADS[load] is not square:
        bars.append(Bar.at_most(f"81 plants, {load}: worst ripple [K]", max(ripples), 2.0))
    return row, bars


def gain(law: str) -> tuple[Row, list[Bar]]:
    """Four times the gain: of the law, and of a device that heats four times as much as the fit starts from."""
    quarter = msgspec.structs.replace(
        prior_of(Physics().caps), resistance_k_per_w=prior_of(Physics().caps).resistance_k_per_w / 4
    )
    runs = {
        "law's gain x 4": simulate(Physics(), SECONDS, law=law, tuning=Tuning(gain=4.0)),
        "prior R / 4": simulate(Physics(), SECONDS, law=law, prior=quarter),
    }
    row: Row = {"law": law}
    bars = []
    for name, run in runs.items():
        row |= {f"{name}: overshoot [K]": run.overshoot_k, f"{name}: ripple [K]": run.ripple_k}
        bars.append(Bar.at_most(f"{name}: ripple at the end [K]", run.ripple_k, 2.0))
    return row, bars


def faults(law: str) -> tuple[Row, list[Bar]]:
    """Telemetry that stops or freezes at a random second, for good: how many periods until the safe cap holds."""
    rng = np.random.default_rng(SEED)
    spent: dict[str, list[int]] = {"stops": [], "freezes": []}
    for trial in range(FAULT_TRIALS):
        kind, at = ("stops", "freezes")[trial % 2], int(rng.integers(5, 200))

        def spoil(sample: Sample, last: Sample | None, second: int, kind: str = kind, at: int = at) -> Sample | None:
            return sample if second < at else None if kind == "stops" else last

        run = simulate(Physics(), at + 10, law=law, spoil=spoil, seed=trial)
        caps = [action.power_cap_w == Physics().power_min_w and action.safe for action in run.actions]
        safe = next((second for second in range(at, at + 10) if caps[second] and all(caps[second:])), at + 10)
        spent[kind].append(safe - at + 1)
    row: Row = {"law": law, "trials": FAULT_TRIALS, **{f"{kind}: most periods": max(n) for kind, n in spent.items()}}
    return row, [Bar.at_most(f"telemetry {kind}: periods until the safe cap", max(n), 3) for kind, n in spent.items()]


def advice(law: str) -> tuple[Row, list[Bar]]:
    """The agents' own loop in ``advise``: what it wanted, and what it moved."""
    gpu = SimulatedGpu(Physics())
    gpu.load(1.0)
    meter = SimulatedMeter(gpu, lambda: gpu.now_ns, np.random.default_rng(SEED))
    loop = ControlLoop(meter, DeviceRegulator(Physics().caps, Wanted(temperature_c=SET_POINT_C), law=law))
    moved = 0
    for second in range(SECONDS):
        loop.step(gpu.now_ns)
        gpu.advance((second + 1) * 1_000_000_000)
        moved += gpu.setting != Setting(Physics().power_default_w)
    seen = loop.regulated()
    row: Row = {"law": law, "mode": seen.mode, "advices": seen.advices, "setter calls": seen.writes, "moved": moved}
    return row, [Bar.at_most("setter calls in advise", seen.writes + moved, 0)]


def replayed(path: Path, law: str) -> Row:
    """Advice on telemetry that was recorded on a device: what the law would have wanted there."""
    taken = samples(read_turns(path))
    now_ns = [0]
    meter = RecordedMeter(taken, lambda: now_ns[0], f"recorded in {path.name}")
    loop = ControlLoop(meter, DeviceRegulator(Physics().caps, Wanted(temperature_c=SET_POINT_C), law=law))
    while now_ns[0] <= taken[-1].ts_ns - taken[0].ts_ns:
        loop.step(now_ns[0])
        now_ns[0] += 1_000_000_000
    seen = loop.regulated()
    return {
        "replayed": path.name,
        "law": law,
        "samples": seen.samples,
        "mean W": seen.mean_power_w,
        "top °C": seen.top_temperature_c,
        "advices": seen.advices,
        "lowest cap [W]": seen.lowest_cap_w,
        "safe": seen.safe,
    }


def nothing_said() -> tuple[Row, list[Bar]]:
    """What a machine without a meter says of joules, watts and degrees: how many numbers."""
    tally = NodeMeter(NoMeter("cpu", "there is none")).tally()
    tally.lap(Problem("matmul", ()))
    spent, seen = tally.spent(), NoRegulation("there is no meter").regulated()
    figures = (spent.joules, spent.above_idle_j, seen.mean_power_w, seen.top_power_w, seen.top_temperature_c)
    numbers = sum(figure is not None for figure in figures) + len(spent.by_problem)
    return {"without a meter": spent.detail, "numbers": numbers}, [Bar.at_most("numbers without a meter", numbers, 0)]


def measure(given: argparse.Namespace) -> tuple[list[Row], list[Bar]]:
    """One row a law and scenario; bars are of the predictive law unless ``--law`` says otherwise."""
    parts = [nominal(given.law), gain(given.law), faults(given.law), advice(given.law), nothing_said()]
    parts += [scan(given.law, load) for load in ([] if given.quick else LOADS)]
    rows, bars = [row for row, _ in parts], [bar for _, found in parts for bar in found]
    if given.telemetry is not None:
        rows.append(replayed(given.telemetry, given.law))
    return _alike_together(rows), bars


def _alike_together(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: tuple(row))


def options(parser: argparse.ArgumentParser) -> None:
    """Law, and whether to leave out the scans."""
    parser.add_argument("--law", default="predictive", choices=("predictive", "pi"))
    parser.add_argument("--telemetry", type=Path, help="also advise on what benchmarks.gpu_advise recorded here")
    parser.add_argument("--quick", action="store_true", help="leave out the 243 runs of wrong plants")


if __name__ == "__main__":
    main("regulator", __doc__ or "", measure, options)
