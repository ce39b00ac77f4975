"""Time to the best of the same 64 configurations of users' kernels: ours against ``triton.autotune``, cold caches."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.autotune_peer import Found
from benchmarks.harness import Bar, Row, main, say
from quasim.codec import from_json
from quasim.errors import QuasimError
from quasim.measure import Ratio, fastest, paired_ratio
from quasim.targets.gpu.build import build
from quasim.targets.gpu.pool import LocalCompiler
from quasim.targets.gpu.target import ROUNDS
from quasim.targets.triton.device import TritonTarget
from quasim.targets.triton.plans import triton_plan
from quasim.trial import Genome, Problem, Status
from quasim.worker.process import ROOT
from quasim.worker.protocol import Entry, Run

CASES = {
    "matmul": Problem.of("foreign:matmul", m=4096, n=4096, k=4096),
    "row_scale": Problem.of("foreign:row_scale", rows=8192, cols=4096),
}
"""Files under examples/: one that takes the compiler long, and one that it has done with at once."""

REPEATS = 3

FINALISTS = 5

SOONER = 4.0

SAME = 1.02
"""Two configurations whose times differ by less are the same best: as far as two runs of one configuration do."""

PEER_TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class Pick:
    """What one side chose, and when.

    Attributes:
        seconds: from having nothing compiled to knowing the best.
        compile_s: of that, spent on compiling what could be timed; None where that was not measured apart.
        check_s: of that, spent on comparing answers with the reference; None likewise.
        measure_s: of that, spent on timing outside the playoff; None likewise.
        configurations: how many ran.
    """

    genome: Genome
    seconds: float
    compile_s: float | None
    check_s: float | None
    measure_s: float | None
    configurations: int


def options(parser: argparse.ArgumentParser) -> None:
    """How often, and where."""
    parser.add_argument("--repeats", type=int, default=REPEATS, help="of both sides, in turn (default %(default)s)")
    parser.add_argument("--only", choices=CASES, action="append", help="this kernel alone")
    parser.add_argument("--device", type=int, default=0, help="index of the GPU")


def measure(given: argparse.Namespace) -> tuple[list[Row], list[Bar]]:
    """Both sides in turn; a row each time, and how the picks compare."""
    rows: list[Row] = []
    bars: list[Bar] = []
    for name in given.only or CASES:
        race = Race(name, given.device)
        found = [race.run(number) for number in range(given.repeats)]
        rows += found
        bars += _bars(name, found)
    return rows, bars


class Race:
    """Both sides on one kernel."""

    def __init__(self, name: str, device: int) -> None:
        self._problem, self._device = CASES[name], device
        self._place = f"{ROOT / 'examples' / name}.py:KERNEL"

    def run(self, number: int) -> Row:
        """Each side once; what they chose then meets in interleaved windows."""
        with TritonTarget(index=self._device, energy_window_ns=0, spares=0, foreign=self._place) as target:
            with target.station.leased():
                theirs = autotuned(self._place, self._problem, self._device)
            say(f"gpu_first_best: triton.autotune took {theirs.seconds:.1f} s: {theirs.genome}")
            ours = tuned(self._place, self._problem, self._device)
            say(f"gpu_first_best: ours took {ours.seconds:.1f} s: {ours.genome}")
            return _row(
                self._problem, number, ours, theirs, compared(target, self._problem, ours.genome, theirs.genome)
            )


def tuned(place: str, problem: Problem, device: int) -> Pick:
    """Compile all in parallel, race them, and let the fastest meet again; the float64 reference is part of it.

    A worker is running, as PyTorch is where the user's program calls its kernel; nothing is compiled or prepared.
    """
    with (
        tempfile.TemporaryDirectory(prefix="quasim-first-best-") as folder,
        LocalCompiler(folder=Path(folder)) as cold,
        TritonTarget(index=device, energy_window_ns=0, spares=0, compiler=cold, foreign=place) as target,
    ):
        space = target.space(problem)
        genomes = [space.genome_at(cell) for cell in range(space.size)]
        begin = time.monotonic()
        trials = target.evaluate(problem, genomes)
        finalists = sorted((t for t in trials if t.status is Status.OK), key=lambda t: t.time_ns)[:FINALISTS]
        best = fastest(target.playoff(problem, [trial.genome for trial in finalists]))
        seconds = time.monotonic() - begin
    if best is None:
        raise QuasimError(f"nothing worked: {trials[0].detail}", "see the worker's error output")
    # Each trial carries its share of the batch.
    compile_s = _seconds([trial.compile_ns for trial in trials])
    check_s, measure_s = _seconds([t.check_ns for t in trials]), _seconds([t.measure_ns for t in trials])
    return Pick(best.genome, seconds, compile_s, check_s, measure_s, len(trials))


def _seconds(times_ns: Sequence[int | None]) -> float:
    return sum(each or 0 for each in times_ns) / 1e9


def autotuned(place: str, problem: Problem, device: int) -> Pick:
    """Triton's own tuner in a process of its own, with a cache of its own that is empty.

    Raises:
        QuasimError: it failed.
    """
    with tempfile.TemporaryDirectory(prefix="quasim-autotune-") as folder:
        answer = Path(folder) / "found.json"
        command = [
            sys.executable,
            "-m",
            "benchmarks.autotune_peer",
            place,
            problem.shape_text,
            str(device),
            str(answer),
        ]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, "TRITON_CACHE_DIR": f"{folder}/cache"},
            stdout=sys.stderr,
            timeout=PEER_TIMEOUT_S,
            check=False,
        )
        if done.returncode:
            raise QuasimError(f"triton.autotune ended with exit code {done.returncode}", "see its error output above")
        found = from_json(answer.read_bytes(), Found, "what triton.autotune found")
    return Pick(found.genome, found.seconds, None, None, None, found.configurations)


def compared(target: TritonTarget, problem: Problem, ours: Genome, theirs: Genome) -> Ratio:
    """Time of our pick in units of theirs, in interleaved windows.

    Raises:
        QuasimError: one of them does not run.
    """
    with LocalCompiler() as compiler:
        both = build(problem, target.space(problem), [ours, theirs], target.gpu.arch, compiler, triton_plan)
    entries: tuple[Entry, ...] = tuple(one.entry for one in both if one.entry is not None)
    outcomes = target.station.run(Run(problem, 0, entries, ROUNDS), quiet=True)
    if len(outcomes) < 2 or any(outcome.status is not Status.OK for outcome in outcomes):
        raise QuasimError("one of the picks does not run", "see the worker's error output")
    return paired_ratio(outcomes[0].windows, outcomes[1].windows)


def _row(problem: Problem, number: int, ours: Pick, theirs: Pick, ratio: Ratio) -> Row:
    return {
        "problem": str(problem),
        "repeat": number,
        "configurations": ours.configurations,
        "configurations of triton.autotune": theirs.configurations,
        "ours [s]": ours.seconds,
        "of it compiling [s]": ours.compile_s,
        "of it checking [s]": ours.check_s,
        "of it timing [s]": ours.measure_s,
        "triton.autotune [s]": theirs.seconds,
        "times sooner": theirs.seconds / ours.seconds,
        "our pick's time / theirs": ratio.median,
        "low": ratio.low,
        "high": ratio.high,
        "our pick": str(ours.genome),
        "their pick": str(theirs.genome),
    }


def _bars(name: str, rows: Sequence[Row]) -> list[Bar]:
    def middle(column: str) -> float:
        return median(float(row[column] or 0.0) for row in rows)

    tried = min(int(row[column] or 0) for row in rows for column in rows[0] if column.startswith("configurations"))
    return [
        Bar.at_least(f"{name}: configurations that both sides tried", tried, 64),
        Bar.at_least(f"{name}: times sooner than triton.autotune at the best (median)", middle("times sooner"), SOONER),
        Bar.at_most(f"{name}: time of our pick in units of theirs (median)", middle("our pick's time / theirs"), SAME),
    ]


if __name__ == "__main__":
    main("gpu_first_best", __doc__ or "", measure, options)
