"""Tasks leave hot devices: sixteen simulated GPUs for an hour of simulated time, with and without moves.

Devices, air and loads are made up (``quasim.energy.plant``), the decisions are those of ``quasim.energy.migration``,
and what they go by is what a node sees: a late sensor in whole degrees, power, and a thermal model that is 15 % wrong.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.harness import Bar, Row, main, say
from quasim.energy.heat import Forecast, HeatWatch
from quasim.energy.migration import HeatReport, Move, MoveCost, Task, advise
from quasim.energy.plant import Physics, SimulatedGpu

NODES = 16
TASKS_A_NODE = 3
HOUR_S = 3600
SEEDS = range(5)
SECOND_NS = 1_000_000_000

AIR_C = (30.0, 46.0)
"""Of the coolest and the warmest place."""

HEAT_WAVES = 16
WAVE_K, WAVE_S = 8.0, (600, 1200)
"""Warmer air on one node for ten to twenty minutes, so often in the hour."""

BUSY = (0.12, 0.33)
"""Share of a device's time that a task takes."""

POWER_W = (380.0, 700.0)
"""Of the device while a task runs; it changes when the task comes to other variants, every few minutes."""

PHASE_S = (180, 480)
TRIAL_S = (2, 8)
MOVE_S = (1, 3)
"""From the last trial at home to the first one away."""

ASSUMED_COST_S = 3.0
MODEL_ERROR = 0.15
RETURN_S = 600
"""A task that comes back to where it left in less than ten minutes plays ping-pong."""


@dataclass(slots=True)
class Work:
    """One task of the simulation.

    Attributes:
        done_s: seconds of a device at its top clock.
        away_until_s: it moves until then.
        moves: (second, source, target).
    """

    name: str
    busy: float
    power_w: float
    phase_end_s: int
    trial_end_s: int = 0
    since_s: int = -60
    away_until_s: int = 0
    done_s: float = 0.0
    lost_s: float = 0.0
    moves: list[tuple[int, int, int]] = field(default_factory=list)


class Observer:
    """What a node makes of sensor and power: the air's temperature, by a model that is a little wrong.

    ``τ dx/dt = R·P − x`` is the heat that the load has brought so far; what the sensor shows beyond it is air,
    smoothed over half a minute.
    """

    def __init__(self, physics: Physics, error: float) -> None:
        self._r = physics.resistance_k_per_w * (1 + error)
        self._tau_s = physics.tau_s * (1 - error)
        self._slowdown_c = physics.slowdown_c
        self._heat_k = self._r * physics.idle_w
        self._air_c: float | None = None

    def see(self, temperature_c: float, power_w: float) -> Forecast:
        """One sample a second."""
        self._heat_k += (self._r * power_w - self._heat_k) / self._tau_s
        seen = temperature_c - self._heat_k
        self._air_c = seen if self._air_c is None else self._air_c + (seen - self._air_c) / 30
        return Forecast(temperature_c, self._air_c + self._r * power_w, self._tau_s, self._r, self._slowdown_c)


class Hall:
    """The simulated machines and what runs on them; the same seed, the same hour."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        air = self._rng.permutation(np.linspace(*AIR_C, NODES))
        self.gpus = [SimulatedGpu(Physics(ambient_c=float(each))) for each in air]
        self.observers = [
            Observer(gpu.physics, float(self._rng.choice([-MODEL_ERROR, MODEL_ERROR]))) for gpu in self.gpus
        ]
        self.watches = [HeatWatch() for _ in self.gpus]
        self.waves = [self._wave() for _ in range(HEAT_WAVES)]
        self.last_moves: dict[int, tuple[int, float]] = {}
        self.at: list[list[Work]] = [[self._work(node, n) for n in range(TASKS_A_NODE)] for node in range(NODES)]
        self._chances = {work.name: np.random.default_rng([seed, n]) for n, work in enumerate(self.works)}

    @property
    def works(self) -> list[Work]:
        """Every task, wherever it is."""
        return sorted((work for here in self.at for work in here), key=lambda work: work.name)

    def _wave(self) -> tuple[int, int, int]:
        begin = int(self._rng.integers(0, HOUR_S - WAVE_S[0]))
        return int(self._rng.integers(NODES)), begin, begin + int(self._rng.integers(*WAVE_S))

    def _work(self, node: int, number: int) -> Work:
        busy, power_w = float(self._rng.uniform(*BUSY)), float(self._rng.uniform(*POWER_W))
        return Work(f"task-{node:02}-{number}", busy, power_w, int(self._rng.integers(*PHASE_S)))

    def second(self, now_s: int) -> list[HeatReport]:
        """Let a second pass everywhere; what each node reports at its end."""
        for node, (gpu, here) in enumerate(zip(self.gpus, self.at, strict=True)):
            waves = sum(WAVE_K for where, begin, end in self.waves if where == node and begin <= now_s < end)
            gpu.inlet_c = gpu.physics.ambient_c + waves
            self._run(gpu, [work for work in here if work.away_until_s <= now_s], now_s)
        return [self._report(node, now_s + 1) for node in range(NODES)]

    def _run(self, gpu: SimulatedGpu, here: Sequence[Work], now_s: int) -> None:
        busy = sum(work.busy for work in here)
        mean_w = sum(work.busy * work.power_w for work in here) / busy if busy else gpu.physics.idle_w
        gpu.load(min(1.0, busy), mean_w)
        before = gpu.work_s
        gpu.advance((now_s + 1) * SECOND_NS)
        for work in here:
            work.done_s += (gpu.work_s - before) * work.busy / busy
            self._go_on(work, now_s)

    def _go_on(self, work: Work, now_s: int) -> None:
        """Draws are the task's own, so that both hours hold the same work."""
        chance = self._chances[work.name]
        if now_s >= work.phase_end_s:
            work.power_w = float(chance.uniform(*POWER_W))
            work.phase_end_s = now_s + int(chance.integers(*PHASE_S))
        if now_s >= work.trial_end_s:
            work.trial_end_s = now_s + TRIAL_S[0] + (work.phase_end_s + now_s) % (TRIAL_S[1] - TRIAL_S[0])

    def _report(self, node: int, now_s: int) -> HeatReport:
        gpu = self.gpus[node]
        forecast = self.observers[node].see(gpu.reading_c, gpu.power_w)
        hot = self.watches[node].see(forecast, now_s)
        tasks = tuple(_task(work, gpu.physics.idle_w, now_s) for work in self.at[node])
        moved_s, arrived_w = self.last_moves.get(node, (-math.inf, 0.0))
        return HeatReport(str(node), 0.0, forecast, hot, tasks, gpu.throttled, now_s - moved_s, arrived_w)

    def move(self, move: Move, now_s: int) -> float:
        """The task goes; the seconds that it did not work."""
        source, target = int(move.source), int(move.target)
        (work,) = [work for work in self.at[source] if work.name == move.task]
        cost_s = int(self._chances[work.name].spawn(1)[0].integers(MOVE_S[0], MOVE_S[1] + 1))
        self.at[source].remove(work)
        self.at[target].append(work)
        work.since_s, work.away_until_s = now_s, now_s + cost_s
        work.lost_s += cost_s * work.busy
        work.moves.append((now_s, source, target))
        self.last_moves.update({source: (now_s, 0.0), target: (now_s, move.power_w)})
        return float(cost_s)


def _task(work: Work, idle_w: float, now_s: int) -> Task:
    movable = work.trial_end_s <= now_s and work.away_until_s <= now_s
    return Task(work.name, work.busy * (work.power_w - idle_w), work.busy, now_s - work.since_s, movable)


def hour(seed: int, *, migrate: bool) -> Hall:
    """An hour of the hall."""
    hall, cost = Hall(seed), MoveCost(ASSUMED_COST_S)
    for now_s in range(HOUR_S):
        reports = hall.second(now_s)
        move = advise(reports, cost.seconds) if migrate else None
        if move is not None:
            cost.took(hall.move(move, now_s + 1))
    return hall


def shortest_stay_s(works: Sequence[Work]) -> float:
    """Least time between two moves of one task; infinity where none moved twice."""
    pairs = [(a[0], b[0]) for work in works for a, b in zip(work.moves, work.moves[1:], strict=False)]
    return min((later - earlier for earlier, later in pairs), default=math.inf)


def returns(works: Sequence[Work]) -> int:
    """How often a task came back to a node that it had left less than ``RETURN_S`` before."""
    return sum(
        later[2] == earlier[1] and later[0] - earlier[0] < RETURN_S
        for work in works
        for number, earlier in enumerate(work.moves)
        for later in work.moves[number + 1 :]
    )


def measure(given: argparse.Namespace) -> tuple[list[Row], list[Bar]]:
    """Both hours of each seed."""
    rows: list[Row] = []
    for seed in range(given.seeds):
        without, with_moves = hour(seed, migrate=False), hour(seed, migrate=True)
        rows.append(_row(seed, without, with_moves))
        say(f"seed {seed}: {rows[-1]}")
    stays = [row["shortest_stay_s"] for row in rows if isinstance(row["shortest_stay_s"], float)]
    return rows, [
        Bar.at_most("throttle time, share of that without moves, worst seed", _most(rows, "throttled_share"), 0.5),
        Bar.at_least("shortest time between two moves of one task, s", min(stays, default=math.inf), 60),
        Bar.at_most("tasks that came back within ten minutes", _most(rows, "returns"), 0),
        Bar.at_most("work lost by moving, share", _most(rows, "lost_share"), 0.01),
        Bar.at_least("work done, in units of that without moves, worst seed", _least(rows, "work_ratio"), 1.0),
    ]


def _row(seed: int, without: Hall, with_moves: Hall) -> Row:
    before, after = (sum(gpu.throttled_s for gpu in hall.gpus) for hall in (without, with_moves))
    work_before, work_after = (sum(work.done_s for work in hall.works) for hall in (without, with_moves))
    stay_s = shortest_stay_s(with_moves.works)
    return {
        "seed": seed,
        "throttled_without_s": before,
        "throttled_s": after,
        "throttled_share": after / before,
        "moves": sum(len(work.moves) for work in with_moves.works),
        "shortest_stay_s": None if math.isinf(stay_s) else float(stay_s),
        "returns": returns(with_moves.works),
        "lost_share": sum(work.lost_s for work in with_moves.works) / work_after,
        "work_ratio": work_after / work_before,
    }


def _most(rows: Sequence[Row], name: str) -> float:
    return max(float(row[name] or 0) for row in rows)


def _least(rows: Sequence[Row], name: str) -> float:
    return min(float(row[name] or 0) for row in rows)


def options(parser: argparse.ArgumentParser) -> None:
    """How many hours."""
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="halls, each simulated with and without moves")


if __name__ == "__main__":
    main("migration", __doc__, measure, options)
