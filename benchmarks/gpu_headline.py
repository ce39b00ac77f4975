"""float32 products by scaled fp16 words against cuBLAS FP32 on one GPU: time, joules, errors on every class of data."""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.harness import Bar, Row, main, say
from quasim.errors import MissingToolError
from quasim.kernels import family
from quasim.kernels.accuracy import Errors
from quasim.lease import Lease
from quasim.measure import Ratio, Windows, paired_ratio, timing
from quasim.meters import Energy
from quasim.precision.classes import CLASSES
from quasim.precision.plan import SAFE
from quasim.precision.probe import Refusal
from quasim.targets.gpu.build import compiled
from quasim.targets.gpu.image import Bundle, CompileFailure, Loadable
from quasim.targets.gpu.pool import LocalCompiler
from quasim.targets.triton.plans import planned
from quasim.trial import Genome, Value

if TYPE_CHECKING:
    from benchmarks.products import Contestant, Device, Matrices

SIDES = (4096, 8192)
SEED = 42

BASE, TF32 = "cuBLAS FP32", "cuBLAS TF32"
OURS, PLAIN, UNTUNED = "fp16x2, tuned", "fp32, tuned", "fp16x2, untuned"
DOUBLES = "fp64, tuned"

SPEED, JOULES, SAVING, FROBENIUS = 3.0, 0.5, 0.4, 1e-6
"""What has to be reached: times as fast as cuBLAS FP32, its joules, the lower end of the saving, and the error."""

_TILES: dict[str, Value] = {"group": 8, "access": "descriptor", "epilogue": 2, "promote": 1}
_PLAIN: dict[str, Value] = {"group": 8, "access": "pointer", "epilogue": 1, "promote": 0}
_UNTUNED: dict[str, Value] = {
    "block_m": 64,
    "block_n": 64,
    "block_k": 32,
    "warps": 4,
    "stages": 3,
    "group": 8,
    "access": "pointer",
    "walk": "tiles",
}
"""The default of a float32 product, which knows nothing of words."""


def genomes() -> dict[str, list[Genome]]:
    """What is tried for each tuned contestant: all schedules of the space that could be good."""
    walks = ("tiles", "persistent", "flat")
    tiles = ((128, 128, 8), (128, 64, 4), (64, 128, 4), (128, 128, 4))
    words = [
        _genome("fp16x2", _TILES, m, n, k, warps, stages, walk)
        for (m, n, warps), (k, stages), walk in product(tiles, ((64, 3), (64, 2), (32, 4)), walks)
    ]
    units = {
        name: [
            _genome(name, _PLAIN | {"access": access}, m, n, k, warps, stages, "tiles")
            for (m, n, warps), (k, stages), access in product(
                tiles[:3], ((32, 2), (32, 3), (64, 2)), ("pointer", "descriptor")
            )
        ]
        for name in ("bf16x6", "tf32x3")
    }
    doubles = [
        _genome("fp64", _PLAIN | {"access": access}, m, n, k, warps, stages, walk)
        for (m, n, warps), (k, stages), access, walk in product(
            ((128, 128, 8), (128, 64, 8), (64, 128, 8), (64, 64, 4)),
            ((16, 2), (16, 3), (16, 4)),
            ("pointer", "descriptor"),
            walks[:2],
        )
    ]
    plain = [
        _genome("fp32", _PLAIN, m, n, k, warps, stages, "tiles")
        for (m, n, warps), (k, stages) in product(((64, 64, 4), (128, 64, 8), (128, 128, 8)), ((16, 3), (32, 2)))
    ]
    return {OURS: words, PLAIN: plain, DOUBLES: doubles} | units


def _genome(plan: str, base: Mapping[str, Value], m: int, n: int, k: int, warps: int, stages: int, walk: str) -> Genome:
    shape: dict[str, Value] = {"block_m": m, "block_n": n, "block_k": k, "warps": warps, "stages": stages}
    return Genome({**base, **shape, "walk": walk, "plan": plan})


def untuned() -> Genome:
    """The words under the schedule that nobody tuned: what precision alone is worth."""
    return Genome({**_UNTUNED, "epilogue": 2, "plan": "fp16x2", "promote": 1})


@dataclass(frozen=True, slots=True)
class Shown:
    """What a contestant showed on normal data.

    Attributes:
        energy: None where it was not metered.
        schedule: its genome; empty for libraries.
    """

    windows: Windows
    errors: Errors
    energy: Energy | None = None
    schedule: str = ""


@dataclass(frozen=True, slots=True)
class Judged:
    """Ours and cuBLAS FP32 on one class of data."""

    data: str
    ours: Errors
    base: Errors
    ours_ns: float
    base_ns: float
    refused: Refusal


def options(parser: argparse.ArgumentParser) -> None:
    """Sides, seed, and the GPU."""
    parser.add_argument("--side", type=int, action="append", help="of the matrices; may be given again")
    parser.add_argument("--seed", type=int, default=SEED, help="of data and order (default %(default)s)")
    parser.add_argument("--device", type=int, default=0, help="index of the GPU")


def measure(given: argparse.Namespace) -> tuple[list[Row], list[Bar]]:
    """Rows of contestants, of stages and of classes of data, for each side."""
    device = open_device(given.device)
    rows: list[Row] = []
    bars: list[Bar] = []
    with (
        tempfile.TemporaryDirectory(prefix="quasim-gpu-headline-") as folder,
        LocalCompiler(folder=Path(folder)) as compiler,
    ):
        for side in given.side or SIDES:
            images = compile_all(side, device.gpu.arch, compiler)
            with Lease(device.gpu.uuid).exclusive():
                found, judged, extra = _Side(device, side, given.seed, images).run()
            rows += [*contestant_rows(side, found), *extra, *class_rows(side, judged)]
            bars += [*headline_bars(side, found), *class_bars(side, judged)]
    return rows, bars


def open_device(index: int) -> Device:
    """The GPU, in this process.

    Raises:
        MissingToolError: the driver, a package or the GPU is missing.
    """
    try:
        from benchmarks.products import Device
    except ImportError as error:
        raise MissingToolError(f"{error.name} cannot be imported", "pip install 'quasim-fleet[gpu]'") from error
    return Device(index)


Images = dict[str, dict[Genome, Loadable]]


def compile_all(side: int, arch: str, compiler: LocalCompiler) -> Images:
    """The variants of every contestant that can be launched."""
    kernel, dims = family("matmul").kernel, {"m": side, "n": side, "k": side}
    asked = genomes() | {UNTUNED: [untuned()]}
    listed = [(name, genome) for name, each in asked.items() for genome in each]
    results = compiled([planned(kernel, genome, dims) for _, genome in listed], arch, compiler)
    images: Images = {name: {} for name in asked}
    for (name, genome), result in zip(listed, results, strict=True):
        if not isinstance(result, CompileFailure):
            images[name][genome] = result
    say(f"gpu_headline: {side}: " + ", ".join(f"{len(each)} of {name}" for name, each in images.items()))
    return images


class _Side:
    """All that is measured at one size."""

    def __init__(self, device: Device, side: int, seed: int, images: Images) -> None:
        self._device, self._side, self._seed, self._images = device, side, seed, images

    def run(self) -> tuple[dict[str, Shown], list[Judged], list[Row]]:
        """What contestants showed, what classes of data did to ours, and the times of our stages."""
        from benchmarks import products

        normal = products.Matrices.of("normal", self._side, self._seed, self._device.device)
        best = {name: self._best(normal, each) for name, each in self._images.items()}
        contestants: dict[str, Contestant] = {BASE: products.library(tf32=False), TF32: products.library(tf32=True)}
        chosen = {name: each for name, each in best.items() if each is not None}
        contestants |= {name: self._device.variant(image, self._side) for name, (_, image) in chosen.items()}
        clocks = {name: normal.clock(contestant) for name, contestant in contestants.items()}
        windows = products.interleaved(clocks, self._seed)
        schedules = {name: str(genome) for name, (genome, _) in chosen.items()}
        found = {
            name: Shown(
                windows[name],
                normal.errors(contestants[name]),
                self._device.energy(clocks[name]),
                schedules.get(name, ""),
            )
            for name in contestants
        }
        if OURS not in chosen:
            return found, [], []
        ours = chosen[OURS][1]
        stages = self._stages(normal, ours)
        del clocks, contestants, normal  # as much memory is needed for each class of data
        return found, [self._judge(name, ours) for name in CLASSES], stages

    def _best(self, matrices: Matrices, images: Mapping[Genome, Loadable]) -> tuple[Genome, Loadable] | None:
        """The fastest that is right."""
        from benchmarks import products

        times: dict[Genome, float] = {}
        for genome, image in images.items():
            contestant = self._device.variant(image, self._side)
            if matrices.errors(contestant).frobenius <= family("matmul").tolerance:
                times[genome] = timing((products.timed(matrices.clock(contestant)),)).median_ns
        if not times:
            return None
        best = min(times, key=times.__getitem__)
        say(f"gpu_headline: {self._side}: {times[best] / 1e6:.3f} ms by {best}, {len(times)} were right")
        return best, images[best]

    def _stages(self, matrices: Matrices, ours: Loadable) -> list[Row]:
        from benchmarks import products
        from quasim.worker.cuda.timing import GraphClock

        if not isinstance(ours, Bundle):
            return []
        launches = self._device.stages(ours, self._side, matrices.sets[0])
        return [
            {
                "side": self._side,
                "stage": stage.kernel,
                "ms": timing((products.timed(GraphClock([launches[stage.kernel]])),)).median_ns / 1e6,
                "registers (compiler)": stage.resources.registers,
                "local bytes (compiler)": stage.resources.local_bytes,
            }
            for stage in ours.stages
        ]

    def _judge(self, data: str, ours: Loadable) -> Judged:
        from benchmarks import products
        from quasim.worker.cuda.launcher import LoadedBundle

        assert isinstance(ours, Bundle)  # as of every plan of words
        matrices = products.Matrices.of(data, self._side, self._seed, self._device.device, count=1)
        kernel, base = LoadedBundle(ours, self._device.gpu), products.library(tf32=False)
        dims = products.square(self._side).dims

        contestant: Contestant = partial(kernel.prepare, dims)
        errors = matrices.errors(contestant)
        refused = products.refused(kernel, self._side)
        times = [timing((products.timed(matrices.clock(each)),)).median_ns for each in (contestant, base)]
        say(f"gpu_headline: {self._side}: {data}: {refused or 'nothing'} refused, {times[0] / 1e6:.3f} ms")
        return Judged(data, errors, matrices.errors(base), times[0], times[1], refused)


def contestant_rows(side: int, found: Mapping[str, Shown]) -> list[Row]:
    """One row a contestant, in units of cuBLAS FP32's where that means something."""
    return [_contestant_row(side, name, shown, found[BASE]) for name, shown in found.items()]


def _contestant_row(side: int, name: str, shown: Shown, base: Shown) -> Row:
    timed, speed, energy = timing(shown.windows), paired_ratio(base.windows, shown.windows), shown.energy
    return {
        "side": side,
        "contestant": name,
        "ms": timed.median_ns / 1e6,
        "ms low": timed.low_ns / 1e6,
        "ms high": timed.high_ns / 1e6,
        "speed": speed.median,
        "speed low": speed.low,
        "speed high": speed.high,
        "J": energy.j_per_op if energy else None,
        "J low": energy.low if energy else None,
        "J high": energy.high if energy else None,
        "J above idle": energy.idle_subtracted_j_per_op if energy else None,
        "energy": (energy.voided or energy.source.value) if energy else None,
        "joules": joules(shown.energy, base.energy),
        "saving low": saving(shown.energy, base.energy),
        "error (Frobenius)": _finite(shown.errors.frobenius),
        "error (component)": _finite(shown.errors.componentwise),
        "genome": shown.schedule,
    }


def joules(ours: Energy | None, base: Energy | None) -> float | None:
    """Gross joules in units of another's; None where one has no figure."""
    if ours is None or base is None or ours.j_per_op is None or base.j_per_op is None:
        return None
    return ours.j_per_op / base.j_per_op


def saving(ours: Energy | None, base: Energy | None) -> float | None:
    """The least share of another's joules that is saved: the upper end of ours against the lower end of theirs."""
    if ours is None or base is None or ours.high is None or not base.low:
        return None
    return 1 - ours.high / base.low


def class_rows(side: int, judged: Sequence[Judged]) -> list[Row]:
    """One row a class of data."""
    return [
        {
            "side": side,
            "data": one.data,
            "plan": SAFE if one.refused else "fp16x2",
            "refused by": one.refused or None,
            "ms": one.ours_ns / 1e6,
            f"{BASE} ms": one.base_ns / 1e6,
            "speed": one.base_ns / one.ours_ns,
            "error (Frobenius)": _finite(one.ours.frobenius),
            f"{BASE} error (Frobenius)": _finite(one.base.frobenius),
            "error (component)": _finite(one.ours.componentwise),
            f"{BASE} error (component)": _finite(one.base.componentwise),
        }
        for one in judged
    ]


def headline_bars(side: int, found: Mapping[str, Shown]) -> list[Bar]:
    """Speed, joules and saving against cuBLAS FP32; what was not measured is missed."""
    ours, base = found.get(OURS), found[BASE]
    speed: Ratio | None = paired_ratio(base.windows, ours.windows) if ours else None
    ratio = joules(ours.energy, base.energy) if ours else None
    saved = saving(ours.energy, base.energy) if ours else None
    return [
        Bar.at_least(f"{side}: speed in units of {BASE}'s", speed.median if speed else 0.0, SPEED),
        Bar.at_most(f"{side}: joules in units of {BASE}'s", math.inf if ratio is None else ratio, JOULES),
        Bar.at_least(f"{side}: share of joules saved (lower end)", -math.inf if saved is None else saved, SAVING),
    ]


def class_bars(side: int, judged: Sequence[Judged]) -> list[Bar]:
    """Errors on each class. Float32 itself misses the first on cancelling data: its own errors stand in the rows."""
    bars: list[Bar] = []
    for one in judged:
        bars.append(Bar.at_most(f"{side}, {one.data}: error (Frobenius)", one.ours.frobenius, FROBENIUS))
        bars.append(
            Bar.at_most(f"{side}, {one.data}: error (component)", one.ours.componentwise, one.base.componentwise)
        )
    return bars or [Bar.at_least(f"{side}: classes of data judged", 0.0, len(CLASSES))]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


if __name__ == "__main__":
    main("gpu_headline", __doc__ or "", measure, options)
