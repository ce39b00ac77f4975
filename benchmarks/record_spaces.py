"""Records search spaces on this machine's GPU as T4 files, so that a fleet of such GPUs can be replayed anywhere.

Of each space: time and error of 320 configurations or of all, joules of the 64 fastest and of 64 others. It takes long,
and may be cut off at any time: every batch is written, and run again it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from benchmarks.harness import say
from quasim.energy.racing import Metering
from quasim.errors import ConfigError, DataError, QuasimError
from quasim.kernels import statevector
from quasim.meters import BRIEF_WORK_NS
from quasim.targets import Target
from quasim.targets.replay.survey import BATCH, METERED, batches, to_meter, with_joules
from quasim.targets.replay.t4file import read_t4, write_t4
from quasim.trial import Genome, Problem, Status, Trial

SHAPES = ((4096, 4096, 4096), (8192, 1024, 4096), (8192, 8192, 8192))

MEASURED_STEPS = (0.2, 0.5, 1.0)
"""All spaces are brought to one of these shares before any is to the next, so that each file is useful early."""

METERED_STEPS = (0.125, 0.375, 1.0)


@dataclass(frozen=True, slots=True)
class Extent:
    """How much of a space is recorded.

    Attributes:
        configurations: to be timed and checked.
        best, others: of these to be metered, the fastest and some of the rest.
        batch: so many are measured before the file is written.
    """

    configurations: int = 320
    best: int = 64
    others: int = 64
    batch: int = BATCH
    seed: int = 42


EXTENT = Extent()


def problems() -> tuple[Problem, ...]:
    """What is recorded, quick ones first."""
    products = [Problem.of("matmul", m=m, n=n, k=k) for m, n, k in SHAPES]
    return (
        Problem.of("softmax", rows=4096, cols=4096),
        Problem.of("stencil2d", h=8192, w=8192),
        statevector.problem(26, (3,)),
        *products,
    )


def file_name(label: str, problem: Problem) -> str:
    """``h100-softmax-4096x4096.t4.json.gz``."""
    return f"{label}-{problem.kernel}-{'x'.join(map(str, problem.dims.values()))}.t4.json.gz"


class Deadline:
    """Says when to stop: before a batch that would not end in time, judged by the longest one before it.

    Args:
        seconds: from now on; None: never.
        clock: in seconds.
    """

    def __init__(self, seconds: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = None if seconds is None else clock() + seconds
        self._longest = 0.0

    def passed(self) -> bool:
        """Whether no other batch should begin."""
        return self._end is not None and self._clock() + self._longest >= self._end

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Time one batch."""
        begin = self._clock()
        yield
        self._longest = max(self._longest, self._clock() - begin)


class Record:
    """One space and its file.

    Raises:
        DataError: the file is there, but of another device, problem or space.
    """

    def __init__(self, target: Target, problem: Problem, path: Path, deadline: Deadline, extent: Extent) -> None:
        self._target, self._problem, self._path = target, problem, path
        self._deadline, self._extent = deadline, extent
        self._space = target.space(problem)
        self._known = self._earlier()
        self._count = min(extent.configurations, self._space.size)
        self._batches = batches(self._space, extent.seed, self._known, self._count, extent.batch)
        self._tried: set[Genome] = {genome for genome, trial in self._known.items() if trial.energy_j is not None}

    @property
    def trials(self) -> tuple[Trial, ...]:
        """What the file holds, in the order measured."""
        return tuple(self._known.values())

    def measure(self, share: float) -> None:
        """Time and check configurations until such a share of them is known, or time is up."""
        while len(self._known) < share * self._count and not self._deadline.passed():
            with self._deadline.batch():
                trials = self._target.evaluate(self._problem, next(self._batches))
            self._keep(trials)

    def meter(self, share: float) -> None:
        """Read the joules of such a share of those to be metered, once all configurations are measured."""
        if len(self._known) < self._count or not isinstance(self._target, Metering):
            return
        extent = self._extent
        chosen = to_meter(self.trials, extent.seed, extent.best, extent.others)
        wanted = chosen[: math.ceil(share * len(chosen))]
        while not self._deadline.passed():
            genomes = [genome for genome in wanted if genome not in self._tried][:METERED]
            if not genomes:
                return
            with self._deadline.batch():
                metered = self._target.meter(self._problem, genomes, BRIEF_WORK_NS)
            self._tried.update(genomes)
            self._keep([with_joules(self._known[trial.genome], trial) for trial in metered])

    def text(self) -> str:
        """What the file holds."""
        worked = sum(trial.status is Status.OK for trial in self.trials)
        metered = sum(trial.energy_j is not None for trial in self.trials)
        size = self._path.stat().st_size if self._path.exists() else 0
        measured = f"{len(self._known)} of {self._count} configurations, {worked} work, {metered} metered"
        return f"{self._problem}: {measured}, {size} bytes"

    def _keep(self, trials: Iterable[Trial]) -> None:
        self._known.update({trial.genome: trial for trial in trials})
        write_t4(self._path, self._target.device.name, self._problem, self.trials, self._space)

    def _earlier(self) -> dict[Genome, Trial]:
        if not self._path.exists():
            return {}
        found = read_t4(self._path)
        device = self._target.device.name
        if (found.device_name, found.problem) != (device, self._problem):
            what = f"{self._path} records {found.problem} on {found.device_name}, not {self._problem} on {device}"
            raise DataError(what, "record to another folder, or under another --device-name")
        if found.parameters != self._space.parameters or (self._space.cells(found.rows) < 0).any():
            raise DataError(f"{self._path} records another space of {self._problem}", "move it away to record anew")
        return {trial.genome: trial for trial in found.trials(self._target.name)}


def record(
    target: Target,
    wanted: Sequence[Problem],
    folder: Path,
    label: str,
    deadline: Deadline,
    extent: Extent = EXTENT,
) -> list[Record]:
    """Bring the files of these problems forward until all are complete or time is up.

    Args:
        label: of the device in the files' names; a part of its own name, such as ``h100``.

    Raises:
        ConfigError: the device is not called so.
        DataError: a file is there, but of another device, problem or space.
        StorageError: a file cannot be written.
    """
    if not label or label.lower() not in target.device.name.lower():
        raise ConfigError(f"--device-name {label!r} is no part of {target.device.name!r}", "give one that is")
    folder.mkdir(parents=True, exist_ok=True)
    records = [
        Record(target, problem, folder / file_name(label.lower(), problem), deadline, extent) for problem in wanted
    ]
    for steps, go in ((MEASURED_STEPS, Record.measure), (METERED_STEPS, Record.meter)):
        for step, one in product(steps, records):
            before = one.trials
            go(one, step)
            if one.trials != before:
                say(f"record_spaces: {one.text()}")
    return records


def main() -> None:
    """Record on a GPU of this machine."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.record_spaces", description=__doc__)
    parser.add_argument("--device-name", required=True, help="part of the GPU's name that the files begin with: h100")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the files, such as quasim/targets/replay/spaces"
    )
    parser.add_argument("--minutes", type=float, help="stop after so many; default: when all is recorded")
    parser.add_argument("--only", action="append", help="this kernel alone; may be given again")
    parser.add_argument("--device", type=int, default=0, help="index of the GPU")
    given = parser.parse_args()
    wanted = [problem for problem in problems() if given.only is None or problem.kernel in given.only]
    if not wanted:
        parser.error(f"--only {' '.join(given.only)}: use {', '.join(dict.fromkeys(p.kernel for p in problems()))}")
    deadline = Deadline(None if given.minutes is None else 60 * given.minutes)
    # The GPU's modules: only for who has one.
    from quasim.targets.triton.device import TritonTarget

    try:
        with TritonTarget(index=given.device) as target:
            record(target, wanted, given.out, given.device_name, deadline)
    except QuasimError as error:
        say(f"error: {error}")
        raise SystemExit(int(error.exit_code)) from error


if __name__ == "__main__":
    main()
