"""What an error budget buys on one GPU: every plan on every class of data, and the manager's choice for each budget."""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.gpu_headline import BASE, DOUBLES, OURS, PLAIN, SEED, TF32, genomes, open_device
from benchmarks.harness import Bar, Row, main, say
from benchmarks.precision_schedules import BLOCKED
from quasim.kernels import family
from quasim.lease import Lease
from quasim.measure import timing
from quasim.precision import split
from quasim.precision.budget import Budget, Measured
from quasim.precision.choice import Choice, choose
from quasim.precision.classes import CLASSES, draw
from quasim.precision.formats import Floats
from quasim.precision.plan import PLANS
from quasim.precision.rewrite import FLAG
from quasim.targets.gpu.build import compiled
from quasim.targets.gpu.image import Bundle, CompileFailure, Loadable
from quasim.targets.gpu.pool import LocalCompiler
from quasim.targets.triton.plans import planned
from quasim.trial import Genome, Value
from quasim.worker.protocol import Plan

if TYPE_CHECKING:
    from benchmarks.products import Contestant, Device, Matrices

SIDE = 4096

BUDGETS = (1e-6, 1e-4, 1e-2, 5e-2)

BENIGN = ("normal", "uniform")
"""Data of one magnitude, as layers of networks and Monte Carlo have them; the other classes are hostile to few bits."""

DECLARED: dict[str, tuple[str, ...]] = {"normal and uniform": BENIGN, "every class": tuple(CLASSES)}

SPEED_AT_1E_2 = 9.0

TRIES = Plan(rounds=7, window_ns=10_000_000, min_samples=3)
"""Of each plan, in turn with all others: a hot device slows down for a while, and that must not be one plan's lot."""

_WORDS = ("fp16", "bf16", "e4m3r")
"""Plans of one word with one scale a row or none; those of more, and those that the units split by themselves, are
scheduled as in gpu_headline."""

BF16, BF16_CONVERTED = "cuBLAS bf16, converted before", "cuBLAS bf16, conversion included"


def schedules() -> dict[str, list[Genome]]:
    """What is tried for each plan."""
    known = genomes()
    found = {
        "fp64": known[DOUBLES],
        "fp32": known[PLAIN],
        "bf16x6": known["bf16x6"],
        "tf32x3": known["tf32x3"],
        "fp16x2": known[OURS],
    }
    found["fp16x2f"] = [Genome({**genome, "plan": "fp16x2f"}) for genome in known[OURS]]
    found["tf32"] = [Genome({**genome, "plan": "tf32"}) for genome in known["tf32x3"]]
    return found | {plan: _one_word(plan) for plan in _WORDS} | BLOCKED


def _one_word(plan: str) -> list[Genome]:
    """Large tiles: one product for each pair of words leaves room for them."""
    depths = (64, 128) if plan == "e4m3r" else (64,)
    tiles = ((128, 256), (256, 128), (128, 128))
    return [
        Genome({**_fixed(plan), "block_m": m, "block_n": n, "block_k": k, "stages": stages, "walk": walk})
        for (m, n), k, stages, walk in product(tiles, depths, (3, 4), ("tiles", "persistent", "flat"))
    ]


def _fixed(plan: str) -> dict[str, Value]:
    return {"warps": 8, "group": 8, "access": "descriptor", "epilogue": 4, "plan": plan, "promote": 0}


def options(parser: argparse.ArgumentParser) -> None:
    """Seed, side and the GPU."""
    parser.add_argument("--side", type=int, default=SIDE, help="of the matrices (default %(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="of the data (default %(default)s)")
    parser.add_argument("--device", type=int, default=0, help="index of the GPU")


def measure(given: argparse.Namespace) -> tuple[list[Row], list[Bar]]:
    """Rows of plans on classes of data, of libraries, of choices, and of int4 storage."""
    device = open_device(given.device)
    with (
        tempfile.TemporaryDirectory(prefix="quasim-gpu-precision-") as folder,
        LocalCompiler(folder=Path(folder)) as compiler,
    ):
        images = compile_all(given.side, device.gpu.arch, compiler)
    with Lease(device.gpu.uuid).exclusive():
        bench = _Plans(device, given.side, given.seed, images)
        measured, base_ns = bench.run()
        libraries = bench.libraries()
    choices = {(name, budget): _choice(budget, classes, measured) for name, classes, budget in _asked()}
    rows = [*plan_rows(measured, base_ns, bench.best), *libraries]
    rows += choice_rows(choices, measured, base_ns)
    return [*rows, int4_row(given.side, given.seed)], choice_bars(choices, measured, base_ns)


def _asked() -> list[tuple[str, tuple[str, ...], float]]:
    return [(name, classes, budget) for name, classes in DECLARED.items() for budget in BUDGETS]


def _choice(budget: float, classes: tuple[str, ...], measured: Sequence[Measured]) -> Choice:
    return choose(Budget("matmul", budget, classes), measured)


def compile_all(side: int, arch: str, compiler: LocalCompiler) -> dict[str, dict[Genome, Loadable]]:
    """The variants of every plan that can be launched."""
    kernel, dims = family("matmul").kernel, {"m": side, "n": side, "k": side}
    listed = [(name, genome) for name, each in schedules().items() for genome in each]
    results = compiled([planned(kernel, genome, dims) for _, genome in listed], arch, compiler)
    images: dict[str, dict[Genome, Loadable]] = {name: {} for name, _ in listed}
    for (name, genome), result in zip(listed, results, strict=True):
        if not isinstance(result, CompileFailure):
            images[name][genome] = result
    say("gpu_precision: " + ", ".join(f"{len(each)} of {name}" for name, each in images.items()))
    return images


class _Plans:
    """The best variant of each plan, and what it does to each class of data.

    Attributes:
        best: its genome, for each plan.
    """

    def __init__(self, device: Device, side: int, seed: int, images: Mapping[str, Mapping[Genome, Loadable]]) -> None:
        self._device, self._side, self._seed, self._images = device, side, seed, images
        self.best: dict[str, Genome] = {}

    def run(self) -> tuple[list[Measured], dict[str, float]]:
        """Every plan on every class of data, and cuBLAS FP32's time in ns on each."""

        matrices = self._matrices("normal")
        for plan, images in self._images.items():
            times = {genome: self._time(matrices, image) for genome, image in images.items()}
            if times:
                self.best[plan] = min(times, key=times.__getitem__)
                say(f"gpu_precision: {plan}: {times[self.best[plan]] / 1e6:.3f} ms by {self.best[plan]}")
        measured: list[Measured] = []
        base_ns: dict[str, float] = {}
        for data in CLASSES:
            matrices = self._matrices(data)
            times_ns = self._compete(matrices)
            base_ns[data] = times_ns[BASE]
            measured += [self._judge(plan, data, matrices, times_ns[plan]) for plan in self.best]
        return measured, base_ns

    def _compete(self, matrices: Matrices) -> dict[str, float]:
        """Median times in ns of every plan and of cuBLAS FP32, in the same rounds."""
        from benchmarks import products

        clocks = {plan: matrices.clock(self._contestant(plan)) for plan in self.best}
        clocks[BASE] = matrices.clock(products.library(tf32=False))
        windows = products.interleaved(clocks, self._seed, TRIES)
        return {name: timing(each).median_ns for name, each in windows.items()}

    def _matrices(self, data: str) -> Matrices:
        from benchmarks import products

        return products.Matrices.of(data, self._side, self._seed, self._device.device)

    def _time(self, matrices: Matrices, image: Loadable) -> float:
        from benchmarks import products

        clock = matrices.clock(self._device.variant(image, self._side))
        return timing((products.timed(clock),)).median_ns

    def _contestant(self, plan: str) -> Contestant:
        return self._device.variant(self._images[plan][self.best[plan]], self._side)

    def _judge(self, plan: str, data: str, matrices: Matrices, time_ns: float) -> Measured:
        """A plan's errors beside its time, and who refused it."""
        from benchmarks import products
        from quasim.worker.cuda.launcher import LoadedBundle, loaded

        image = self._images[plan][self.best[plan]]
        kernel = loaded(image, self._device.gpu)
        contestant: Contestant = partial(kernel.prepare, products.square(self._side).dims)
        errors = matrices.errors(contestant)
        judged = isinstance(image, Bundle) and FLAG.name in {buffer.name for buffer in image.workspace}
        refused = products.refused(kernel, self._side) if isinstance(kernel, LoadedBundle) and judged else ""
        frobenius, component = (
            norm if math.isfinite(norm) else None for norm in (errors.frobenius, errors.componentwise)
        )
        return Measured(plan, data, frobenius, component, time_ns, refused)

    def libraries(self) -> list[Row]:
        """The vendor's products on normal data."""
        import torch

        from benchmarks import products

        matrices = self._matrices("normal")
        known: dict[str, Contestant] = {
            BASE: products.library(tf32=False),
            TF32: products.library(tf32=True),
            BF16: products.library_prepared(torch.bfloat16),
            BF16_CONVERTED: products.library_converted(torch.bfloat16),
        }
        rows: list[Row] = []
        for name, contestant in known.items():
            errors = matrices.errors(contestant)
            milliseconds = timing((products.timed(matrices.clock(contestant)),)).median_ns / 1e6
            rows.append({"library": name, "ms": milliseconds, "error (Frobenius)": errors.frobenius})
        return rows


def plan_rows(measured: Sequence[Measured], base_ns: Mapping[str, float], best: Mapping[str, Genome]) -> list[Row]:
    """One row a plan and class of data."""
    return [
        {
            "plan": one.plan,
            "data": one.data,
            "ms": one.time_ns / 1e6,
            "speed": base_ns[one.data] / one.time_ns,
            "error (Frobenius)": one.frobenius,
            "error (component)": one.componentwise,
            "refused by": one.refused or None,
            "genome": str(best[one.plan]),
        }
        for one in measured
    ]


def choice_rows(
    choices: Mapping[tuple[str, float], Choice], measured: Sequence[Measured], base_ns: Mapping[str, float]
) -> list[Row]:
    """One row a budget: the plan that is chosen, its worst error over the declared classes, and its speed."""
    rows: list[Row] = []
    for (name, budget), choice in choices.items():
        chosen = [one for one in measured if one.plan == choice.ladder[0] and one.data in DECLARED[name]]
        rows.append(
            {
                "budget": budget,
                "declared": name,
                "chosen": choice.ladder[0],
                "then": ", ".join(choice.ladder[1:]),
                "worst error (Frobenius)": _worst(chosen),
                "speed": speed(choice.ladder[0], measured, base_ns),
                "rejected": "; ".join(f"{one.plan}: {one.reason}" for one in choice.rejected),
            }
        )
    return rows


def _worst(chosen: Sequence[Measured]) -> float | None:
    errors = [one.frobenius for one in chosen]
    return max((error for error in errors if error is not None), default=None) if None not in errors else None


def speed(plan: str, measured: Sequence[Measured], base_ns: Mapping[str, float]) -> float:
    """On normal data, in units of cuBLAS FP32's; 0 where it was not measured."""
    found = [one for one in measured if (one.plan, one.data) == (plan, "normal")]
    return base_ns["normal"] / found[0].time_ns if found else 0.0


def choice_bars(
    choices: Mapping[tuple[str, float], Choice], measured: Sequence[Measured], base_ns: Mapping[str, float]
) -> list[Bar]:
    """At 1e-2 nine times cuBLAS FP32; at 5e-2 a plan of 8 bits that is faster than that."""
    (benign, _) = DECLARED
    speeds = {budget: speed(choices[benign, budget].ladder[0], measured, base_ns) for budget in BUDGETS}
    eight = PLANS[choices[benign, 5e-2].ladder[0]].format.bits == 8
    return [
        Bar.at_least(f"1e-2, {benign}: speed in units of {BASE}'s", speeds[1e-2], SPEED_AT_1E_2),
        Bar.at_least(f"5e-2, {benign}: words of 8 bits chosen", float(eight), 1.0),
        Bar.at_least(f"5e-2, {benign}: speed in units of that at 1e-2", _over(speeds[5e-2], speeds[1e-2]), 1.0),
    ]


def _over(value: float, unit: float) -> float:
    return value / unit if unit else 0.0


def int4_row(side: int, seed: int) -> Row:
    """Operands stored in 4 bits and a scale for 32 of them, taken back to float32, multiplied in float64."""
    plan = PLANS["int4"]
    a, b = draw("normal", seed, side, side, side)
    stored = [_through(rows, plan.name) for rows in (a, np.ascontiguousarray(b.T))]
    exact = a.astype(np.float64) @ b.astype(np.float64)
    error = np.linalg.norm(stored[0].astype(np.float64) @ stored[1].T.astype(np.float64) - exact)
    return {
        "plan": plan.name,
        "data": "normal",
        "what": f"storage only: 4 bits, and an exponent for {plan.block} of them",
        "error (Frobenius)": float(error / np.linalg.norm(exact)),
    }


def _through(rows: Floats, name: str) -> Floats:
    """The rows as they come back from storage."""
    plan = PLANS[name]
    exponent = split.by_element(split.scale_exponents(rows, plan), rows.shape[1], plan)
    (word,) = split.words(split.scaled(rows, exponent), plan)
    return split.scaled(word, -exponent)


if __name__ == "__main__":
    main("gpu_precision", __doc__ or "", measure, options)
