"""200 deliberately bad variants, each followed by a good one: all end with the right status, and the run goes on."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from benchmarks.bad_variants import PROBLEM, Fault, variant
from benchmarks.harness import Bar, Row, main, say
from quasim.targets.gpu.build import Built, built
from quasim.targets.gpu.image import Image
from quasim.targets.gpu.pool import LocalCompiler
from quasim.targets.gpu.resources import limits
from quasim.targets.triton.device import TritonTarget
from quasim.trial import Status
from quasim.worker.process import Limits
from quasim.worker.protocol import Binary, Outcome, Plan, Run

EACH = 50

EXPECTED: dict[Fault, Status] = {
    "illegal address": Status.CRASHED,
    "endless loop": Status.TIMEOUT,
    "too much shared memory": Status.LAUNCH_ERROR,
    "NaN": Status.WRONG_RESULT,
    "none": Status.OK,
}

RUN_S = 3.0
"""For one entry, which takes a tenth of that: an endless loop costs it whole."""

SPARES = 4
"""A hundred of the faults cost a worker each, and one takes seconds to start."""

QUICK = Plan(window_ns=2_000_000, min_samples=3, max_samples=20)


def measure(given: argparse.Namespace) -> tuple[list[Row], list[Bar]]:
    """Run all of them, one after the other, bad and good in turn."""
    limits_ = Limits(memory_bytes=16 << 30, run_s=RUN_S)
    with TritonTarget(index=given.device, limits=limits_, spares=SPARES, energy_window_ns=0) as target:
        order = [(fault, n) for n in range(given.each) for fault in EXPECTED if fault != "none"]
        say(f"gpu_faults: compiling {len(order)} bad variants and the good one")
        bad = _compiled(order, target.gpu.arch)
        (good,) = _compiled([("none", 0)], target.gpu.arch)
        begin = time.monotonic()
        outcomes = list(_judged(target, order, bad, good))
        wall_s = time.monotonic() - begin
        starts, device = target.station.starts, target.device
    rows = [_row(fault, [o for f, o in outcomes if f == fault]) for fault in EXPECTED]
    rows.append(
        {"what": "whole run", "runs": len(outcomes), "wall [s]": wall_s, "workers started": starts, "GPU": device.name}
    )
    return rows, [_bar(fault, [o for f, o in outcomes if f == fault]) for fault in EXPECTED]


def _judged(
    target: TritonTarget, order: Sequence[tuple[Fault, int]], bad: Sequence[Built], good: Built
) -> Iterator[tuple[Fault, Outcome]]:
    for at, ((fault, _), one) in enumerate(zip(order, bad, strict=True)):
        yield fault, _run(target, one)
        yield "none", _run(target, good)
        if at % 20 == 19:
            say(f"gpu_faults: {at + 1} of {len(order)}")


def _run(target: TritonTarget, one: Built) -> Outcome:
    if one.entry is None:
        return Outcome(status=one.status, detail=one.detail)
    (outcome,) = target.station.run(Run(PROBLEM, 0, (one.entry,), QUICK))
    return outcome


def _compiled(order: Sequence[tuple[Fault, int]], arch: str) -> list[Built]:
    """Every other variant with too much shared memory is found out by the driver instead of the compiler's facts."""
    greedy = [fault == "too much shared memory" and bool(number % 2) for fault, number in order]
    sources = [variant("none" if g else fault, number) for (fault, number), g in zip(order, greedy, strict=True)]
    with LocalCompiler() as compiler:
        results = [built(result) for result in compiler.compile_all(sources, arch)]
    return [_greedy(one, arch) if g else one for one, g in zip(results, greedy, strict=True)]


def _greedy(one: Built, arch: str) -> Built:
    assert isinstance(one.image, Image)
    image = msgspec.structs.replace(one.image, shared_bytes=limits(arch).shared_bytes + 1024)
    return Built(Binary(image), image)


def _row(fault: Fault, outcomes: Sequence[Outcome]) -> Row:
    counts = Counter(outcome.status.value for outcome in outcomes)
    return {
        "fault": fault,
        "variants": len(outcomes),
        "expected": EXPECTED[fault].value,
        "ended as": ", ".join(f"{count} {status}" for status, count in counts.items()),
        "such as": outcomes[0].detail,
    }


def _bar(fault: Fault, outcomes: Sequence[Outcome]) -> Bar:
    right = sum(outcome.status is EXPECTED[fault] for outcome in outcomes)
    return Bar.at_least(f"{fault}: variants that end as {EXPECTED[fault].value}", right, len(outcomes))


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--each", type=int, default=EACH, help="variants of each fault")
    parser.add_argument("--device", type=int, default=0, help="index of the GPU")


if __name__ == "__main__":
    main("gpu_faults", __doc__ or "", measure, _options)
