"""The replay target: recorded times as a device, with neither clock nor chance, so that runs repeat to the bit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from quasim.errors import ConfigError, DataError, ShapeError, SpaceError, UnknownNameError
from quasim.space import Floats, Listed, SearchSpace
from quasim.targets._base import DeviceFacts
from quasim.targets.replay.cachefile import Recording, read_cache
from quasim.targets.replay.schema import Entry
from quasim.trial import Genome, Problem, Status, Trial


class _Served:
    """One recording, looked up by cell of the target's space."""

    def __init__(self, recording: Recording, space: SearchSpace) -> None:
        self._recording = recording
        self._at: npt.NDArray[np.int64] = np.full(space.size, -1)
        self._at[space.cells(recording.rows)] = np.arange(len(recording.rows))

    def trial(self, target: str, genome: Genome, cell: int) -> Trial:
        problem = self._recording.problem
        if cell < 0 or self._at[cell] < 0:
            status, detail = Status.LAUNCH_ERROR, f"not recorded in {self._recording.path.name}"
            return Trial(problem=problem, target=target, genome=genome, status=status, detail=detail)
        entry: Entry = self._recording.entries[int(self._at[cell])]
        return entry.trial(problem, target, genome)

    @cached_property
    def times_ns(self) -> Floats:
        """Median time of every configuration that works."""
        timings = (entry.facts().timing for entry in self._recording.entries)
        return np.array([timing.median_ns for timing in timings if timing is not None])


class ReplayTarget:
    """A device that answers from recordings of one problem.

    With several, the device changes: each recording holds from its cycle on. The space is the union of all that was
    recorded, since the device keeps its kernel; a configuration that the current recording lacks fails with
    ``launch_error``. The device keeps its name: that it changed is for the tuner to notice.

    Raises:
        ConfigError: no recording, none for cycle 0, or two for the same cycle.
        DataError: a recording cannot be read, or they are not of the same problem and parameters.
    """

    def __init__(self, name: str, recordings: Sequence[tuple[int, Path]]) -> None:
        self.name = name
        chain = sorted(recordings, key=lambda pair: pair[0])
        cycles = [cycle for cycle, _ in chain]
        if not cycles or cycles[0] != 0 or len(set(cycles)) < len(cycles):
            raise ConfigError(f"recordings hold from cycles {cycles}", "give one from cycle 0, and each its own cycle")
        read = [read_cache(path) for _, path in chain]
        for other in read[1:]:
            _check_alike(read[0], other)
        rows = np.unique(np.concatenate([recording.rows for recording in read]), axis=0)
        self._first, self.problem = read[0], read[0].problem
        self._space = SearchSpace(read[0].parameters, (Listed(tuple(map(tuple, rows.tolist()))),))
        self._chain = [(cycle, _Served(recording, self._space)) for cycle, recording in zip(cycles, read, strict=True)]
        self._digests = tuple((f"recording-{cycle}", r.digest) for cycle, r in zip(cycles, read, strict=True))
        self._serving = self._chain[0][1]

    @property
    def device(self) -> DeviceFacts:
        """The device of the first recording; its family marks it as replayed."""
        name = self._first.device_name or self._first.path.name.split(".")[0]
        return DeviceFacts(name, "replay-" + re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-"), self._digests)

    def space(self, problem: Problem) -> SearchSpace:
        """The search space of the recorded problem.

        Raises:
            UnknownNameError, ShapeError: it is not the recorded one.
        """
        if problem.kernel != self.problem.kernel:
            raise UnknownNameError(f"kernel {problem.kernel!r} is not recorded", f"ask for {self.problem}")
        if problem != self.problem:
            raise ShapeError(f"{problem} is not recorded", f"ask for {self.problem}")
        return self._space

    def evaluate(self, problem: Problem, genomes: Sequence[Genome]) -> list[Trial]:
        """One trial for each genome, in order, as recorded.

        Raises:
            UnknownNameError, ShapeError: it is not the recorded problem.
        """
        space = self.space(problem)
        return [self._serving.trial(self.name, genome, _cell(space, genome)) for genome in genomes]

    def playoff(self, problem: Problem, genomes: Sequence[Genome], *, metered: bool = True) -> list[Trial]:
        """The same as ``evaluate``: a recording is as fair as it gets."""
        return self.evaluate(problem, genomes)

    def start_cycle(self, cycle: int) -> None:
        """Serve the last recording whose cycle has come."""
        self._serving = [served for since, served in self._chain if since <= max(cycle, 0)][-1]

    def optimum_ns(self) -> float:
        """Least recorded median time of the current recording; infinity where nothing worked."""
        return float(self._serving.times_ns.min(initial=np.inf))

    def close(self) -> None:
        """Nothing is held."""


def _cell(space: SearchSpace, genome: Genome) -> int:
    try:
        return space.cell(genome)
    except SpaceError:
        return -1


def _check_alike(first: Recording, other: Recording) -> None:
    if other.problem != first.problem:
        raise DataError(f"{other.path} records {other.problem}, {first.path} {first.problem}", "chain one problem")
    if other.parameters != first.parameters:
        ours, theirs = ({p.name: p.values for p in r.parameters} for r in (first, other))
        unlike = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
        what = f"in {', '.join(unlike)}" if unlike else "in their order"
        raise DataError(f"parameters of {other.path} differ from {first.path} {what}", "chain one space")
