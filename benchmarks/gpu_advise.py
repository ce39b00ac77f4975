"""On one GPU, read-only: the regulator advises beside campaigns for joules; their winners against eager PyTorch.

Windows in which the device slowed itself down are void; it may cool before each turn, and a void window is taken again.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from actors.drive import drive
from actors.node_loop import NodeLoop
from actors.node_loop import Plan as Task
from actors.regulation import BesideWork
from benchmarks.gpu_meter import count_setters, settings
from benchmarks.harness import Bar, Row, main, say
from quasim.energy import Action, Caps, Observation, Regulator, RegulatorSnapshot, Wanted
from quasim.energy.actuators import Setting
from quasim.energy.aimed import aimed
from quasim.energy.loop import ControlLoop, Regulated
from quasim.energy.nvml_caps import nvml_caps
from quasim.energy.objective import Objective, best_of
from quasim.energy.plant import Physics, SimulatedGpu
from quasim.energy.regulator import DeviceRegulator
from quasim.energy.trace import Turn, write_turns
from quasim.kernels import statevector
from quasim.meters import MIN_WORK_NS, Energy, Meter, idle_power_w, open_meter
from quasim.search import strategy
from quasim.targets.gpu.build import build
from quasim.targets.gpu.pool import LocalCompiler
from quasim.targets.triton.device import TritonTarget
from quasim.targets.triton.plans import triton_plan
from quasim.trial import Genome, Problem
from quasim.worker.protocol import Entry, Peer, PeerKind, Plan, Run

PROBLEMS: dict[str, Problem] = {
    "softmax": Problem.of("softmax", rows=4096, cols=4096),
    "stencil2d": Problem.of("stencil2d", h=8192, w=8192),
    "statevector": statevector.problem(26, (12,)),
    "matmul": Problem.of("matmul", m=4096, n=4096, k=4096),
}

OURS, DEFAULT, FUNCTION, PRIMITIVES = "ours", "default", "PyTorch's function", "PyTorch's primitive operations"
RIVALS: dict[str, Entry] = {FUNCTION: Peer(PeerKind.LIBRARY), PRIMITIVES: Peer(PeerKind.EAGER)}
METERED = Plan(rounds=1, window_ns=10_000_000, min_samples=1, energy_window_ns=MIN_WORK_NS)
WINDOWS, MOST_TURNS = 3, 6
"""Metered windows of each entry, in turns; the middle one by joules stands for it. Void ones are taken again."""

COOL_C, LONGEST_REST_S = 60.0, 15.0
"""Before a turn the device rests until it is so cool, or for so long: hot, it slows down, and its windows are void."""

SAVING, FAMILIES = 0.4, 3
"""What the winners have to save of PyTorch's own joules, and on how many of the four families."""

ENERGY = Objective("energy")
STRATEGY, BUDGET, SEED = "portfolio", 60, 42
PERIOD_S = 1.0
CAP_SHARE = 0.7
"""Of the board's default power: the operator's limit of the simulated part."""

SIMULATED_S, LAST_S = 300, 100


class Noting:
    """A regulator that keeps its turns: the telemetry of a campaign with the advice beside it."""

    def __init__(self, regulator: DeviceRegulator) -> None:
        self._regulator: Regulator = regulator
        self.turns: list[Turn] = []

    def step(self, seen: Observation | None, now_ns: int) -> Action:
        """As the regulator's, noted."""
        action = self._regulator.step(seen, now_ns)
        self.turns.append(Turn(seen, action))
        return action

    def state(self) -> bytes:
        """The regulator's."""
        return self._regulator.state()

    def restore(self, state: bytes) -> None:
        """The regulator's."""
        self._regulator.restore(state)

    def snapshot(self) -> RegulatorSnapshot:
        """The regulator's."""
        return self._regulator.snapshot()


@dataclass(frozen=True, slots=True)
class Found:
    """A problem's campaign and contest.

    Attributes:
        energies: by contestant; voided where there is no figure.
        metered: variants whose joules the campaign read.
        advice: of the regulator while the campaign ran.
    """

    problem: Problem
    genome: Genome
    energies: Mapping[str, Energy]
    campaign_s: float
    metered: int
    advice: Regulated

    @property
    def own(self) -> str:
        """PyTorch's own eager operation: its function, or its primitive operations where it has none."""
        return PRIMITIVES if self.energies[FUNCTION].j_per_op is None else FUNCTION

    def saving(self, rival: str) -> tuple[float, float] | None:
        """(share of a rival's joules that ours save, its lower end); None where one of us has no figure."""
        ours, other = self.energies[OURS], self.energies[rival]
        if ours.j_per_op is None or ours.high is None or other.j_per_op is None or not other.low:
            return None
        return 1 - ours.j_per_op / other.j_per_op, 1 - ours.high / other.low


def options(parser: argparse.ArgumentParser) -> None:
    """Budget, seed, families, limits."""
    parser.add_argument("--budget", type=int, default=BUDGET, help="evaluations a problem (default %(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="of the search (default %(default)s)")
    parser.add_argument("--only", choices=PROBLEMS, action="append", help="this family alone; may be given again")
    parser.add_argument("--temperature-c", type=float, help="the operator's limit; default: the device's")
    parser.add_argument("--telemetry", type=Path, help="file for every sample and advice, one JSON document a line")


def measure(given: argparse.Namespace) -> tuple[list[Row], list[Bar]]:
    """Campaigns one after the other, the regulator beside all of them."""
    called = count_setters()
    with (
        tempfile.TemporaryDirectory(prefix="quasim-gpu-advise-") as folder,
        LocalCompiler(folder=Path(folder) / "cache") as compiler,
        TritonTarget(index=0, energy_window_ns=MIN_WORK_NS, compiler=compiler) as target,
    ):
        uuid = target.gpu.uuid
        before, idle_w, caps = settings(uuid), _idle_w(target), nvml_caps(uuid)
        noting = Noting(DeviceRegulator(caps, Wanted(temperature_c=given.temperature_c)))
        beside = BesideWork(ControlLoop(open_meter(uuid), noting), PERIOD_S, Path(folder) / "learned")
        try:
            names = given.only or PROBLEMS
            found = {name: _compete(target, compiler, PROBLEMS[name], beside, given) for name in names}
        finally:
            beside.close()
        changed = [name for name, value in settings(uuid).items() if before[name] != value]
    if given.telemetry is not None:
        write_turns(given.telemetry, noting.turns)
    learned = noting.snapshot()
    rows: list[Row] = [_device(caps, learned, idle_w, len(noting.turns))]
    rows += [_row(one) for one in found.values()]
    rows += [_ablation(one, caps, learned, idle_w) for one in found.values()]
    advised = sum(turn.action.power_cap_w is not None for turn in noting.turns)
    return rows, [*_bars(found.values()), *_untouched(called, changed, advised)]


def _untouched(called: list[str], changed: list[str], advised: int) -> list[Bar]:
    return [
        Bar("advices beside the campaigns", advised, "> 0", advised > 0),
        Bar("setter calls", len(called), "== 0", not called),
        Bar("power limits and clock settings that changed", len(changed), "== 0", not changed),
    ]


def _idle_w(target: TritonTarget) -> float | None:
    target.station.settle()
    meter = open_meter(target.gpu.uuid)
    try:
        return idle_power_w(meter)
    finally:
        meter.close()


def _compete(
    target: TritonTarget, compiler: LocalCompiler, problem: Problem, beside: BesideWork, given: argparse.Namespace
) -> Found:
    """Search for the least joules, then meter the winner, the default and PyTorch by turns."""
    say(f"gpu_advise: {problem}, {given.budget} evaluations")
    beside.regulated()
    begin = time.monotonic()
    space = target.space(problem)
    default = space.default
    assert default is not None  # as of every Triton space
    task = Task(problem, space, aimed(strategy(STRATEGY, space, given.seed), ENERGY), "campaign", ENERGY)
    loop = NodeLoop("node", target.name, [task], evaluations=given.budget, recheck=0)
    (done,) = drive(loop, target, 0).problems
    campaign_s = time.monotonic() - begin
    advice = beside.regulated()
    best = best_of(loop.known(problem), ENERGY)
    genome = best.genome if best else default
    ours, other = build(problem, space, [genome, default], target.gpu.arch, compiler, triton_plan)
    entries = {name: e for name, e in ((OURS, ours.entry), (DEFAULT, other.entry), *RIVALS.items()) if e is not None}
    energies = _meter(target, problem, entries, given.seed)
    return Found(problem, genome, energies, campaign_s, len(done.metered), advice)


def _meter(target: TritonTarget, problem: Problem, entries: Mapping[str, Entry], seed: int) -> dict[str, Energy]:
    """The middle of some windows of each entry; all of them in the same minutes."""
    windows: dict[str, list[Energy]] = {name: [] for name in (OURS, DEFAULT, *RIVALS)}
    meter = open_meter(target.gpu.uuid)
    try:
        for turn in range(MOST_TURNS):
            lacking = {name: entry for name, entry in entries.items() if _wanting(windows[name], turn)}
            if not lacking:
                break
            _rest(meter)
            outcomes = target.station.run(Run(problem, 0, tuple(lacking.values()), METERED, seed + turn), quiet=True)
            for name, outcome in zip(lacking, outcomes, strict=True):
                windows[name].append(outcome.energy or Energy(voided=outcome.detail or outcome.status.value))
    finally:
        meter.close()
    return {name: _middle(taken) for name, taken in windows.items()}


def _wanting(taken: list[Energy], turn: int) -> bool:
    """Whether an entry has too few windows that count; what nobody computes has none after the first turns either."""
    counted = sum(energy.j_per_op is not None for energy in taken)
    return counted < WINDOWS and (turn < WINDOWS or counted > 0 or any(energy.events for energy in taken))


def _rest(meter: Meter) -> None:
    end = time.monotonic() + LONGEST_REST_S
    while time.monotonic() < end:
        temperature_c = meter.sample().temperature_c
        if temperature_c is None or temperature_c <= COOL_C:
            return
        time.sleep(1.0)


def _middle(taken: list[Energy]) -> Energy:
    """Of those that count, the middle one, with an interval that holds all of theirs."""
    counted = sorted((e for e in taken if e.j_per_op is not None), key=lambda e: e.j_per_op or 0.0)
    if not counted:
        return taken[0] if taken else Energy(voided="it did not compile")
    low, high = min(e.low or 0.0 for e in counted), max(e.high or 0.0 for e in counted)
    return msgspec.structs.replace(counted[len(counted) // 2], low=low, high=high)


def _row(found: Found) -> Row:
    row: Row = {
        "problem": str(found.problem),
        "genome": str(found.genome),
        "campaign [s]": found.campaign_s,
        "metered": found.metered,
    }
    for name, energy in found.energies.items():
        row |= {
            f"{name} J": energy.j_per_op,
            f"{name} J low": energy.low,
            f"{name} J high": energy.high,
            f"{name} W": energy.power_w,
            f"{name} energy": energy.voided or energy.source.value,
        }
    for name in (FUNCTION, PRIMITIVES, DEFAULT):
        saved = found.saving(name)
        row |= {f"saved of {name}": saved and saved[0], f"saved of {name}, low": saved and saved[1]}
    seen = found.advice
    return row | {
        "samples beside": seen.samples,
        "missed": seen.missed,
        "mean W": seen.mean_power_w,
        "top °C": seen.top_temperature_c,
        "advised W": seen.last_cap_w,
        "lowest advised W": seen.lowest_cap_w,
        "advices": seen.advices,
        "reasons": ", ".join(f"{name} {turns}" for name, turns in seen.reasons),
        "writes": seen.writes,
    }


def _device(caps: Caps, learned: RegulatorSnapshot, idle_w: float | None, turns: int) -> Row:
    """What the device says of itself, and what the regulator fitted to it."""
    return {
        "limits [W]": f"{caps.power_min_w:g} to {caps.power_max_w:g}, default {caps.power_default_w:g}",
        "slowdown [°C]": caps.slowdown_c,
        "set point [°C]": learned.set_point_c,
        "idle [W]": idle_w,
        "turns": turns,
        "R fitted [K/W]": learned.resistance_k_per_w if learned.fitted else None,
        "tau fitted [s]": learned.tau_s if learned.fitted else None,
        "guard": learned.guard,
    }


def _ablation(found: Found, caps: Caps, learned: RegulatorSnapshot, idle_w: float | None) -> Row:
    """Joules an operation: PyTorch's, by variant alone (measured), by a cap alone and by both (the model's)."""
    own, ours = found.energies[found.own], found.energies[OURS]
    row: Row = {"ablation of": str(found.problem), "against": found.own, "PyTorch [J], measured": own.j_per_op}
    return row | {
        "variant only [J], measured": ours.j_per_op,
        f"cap of {CAP_SHARE:.0%} only [J], model": _capped_j(own, caps, learned, idle_w),
        "both [J], model": _capped_j(ours, caps, learned, idle_w),
    }


def _capped_j(energy: Energy, caps: Caps, learned: RegulatorSnapshot, idle_w: float | None) -> float | None:
    """Joules of an operation under the operator's limit: the measured ones times the ratio on a simulated device.

    The plant's work goes with the clock, so that what it says of a kernel that waits for memory is too pessimistic on
    time and joules alike. None where power or idle power was not measured.
    """
    if energy.j_per_op is None or energy.power_w is None or idle_w is None or energy.power_w <= idle_w:
        return None
    physics = Physics(
        idle_w=idle_w,
        busy_w=energy.power_w,
        leakage_w_per_k=0.0,
        resistance_k_per_w=learned.resistance_k_per_w,
        tau_s=learned.tau_s,
        power_min_w=caps.power_min_w,
        power_max_w=caps.power_max_w,
        power_default_w=caps.power_default_w,
        slowdown_c=caps.slowdown_c or Physics().slowdown_c,
    )
    free, capped = (_joules_a_second_of_work(physics, wanted) for wanted in (Wanted(), _limited(caps)))
    return energy.j_per_op * capped / free


def _limited(caps: Caps) -> Wanted:
    return Wanted(power_w=CAP_SHARE * caps.power_default_w)


def _joules_a_second_of_work(physics: Physics, wanted: Wanted) -> float:
    """Of the last stretch of a closed loop under full load."""
    gpu, regulator = SimulatedGpu(physics), DeviceRegulator(physics.caps, wanted)
    gpu.load(1.0)
    joules: list[float] = []
    work: list[float] = []
    for second in range(SIMULATED_S):
        # A hair of drift in power, as every sensor has: telemetry that repeats to the last digit counts as frozen.
        seen = Observation(gpu.now_ns, gpu.power_w + 1e-3 * (second % 7), gpu.reading_c, gpu.clock_mhz, gpu.throttled)
        gpu.command(Setting(regulator.step(seen, gpu.now_ns).power_cap_w))
        gpu.advance((second + 1) * 1_000_000_000)
        joules.append(gpu.energy_j)
        work.append(gpu.work_s)
    return (joules[-1] - joules[-LAST_S]) / (work[-1] - work[-LAST_S])


def _bars(found: Collection[Found]) -> list[Bar]:
    """How many families save enough, by the lower end; what each saves is in its row."""
    lows = [saved[1] for one in found if (saved := one.saving(one.own)) is not None]
    enough = sum(low >= SAVING for low in lows)
    name = f"families that save {SAVING:.0%} of PyTorch's own joules (lower end)"
    return [Bar.at_least(name, enough, min(FAMILIES, len(found)))]


if __name__ == "__main__":
    main("gpu_advise", __doc__ or "", measure, options)
