"""The replay target: recorded times as a device, with neither clock nor chance, so that runs repeat to the bit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from quasim.errors import ConfigError, DataError, ShapeError, SpaceError, UnknownNameError
from quasim.space import Listed, SearchSpace
from quasim.targets._base import DeviceFacts
from quasim.targets.replay.read import read_recording
from quasim.targets.replay.recording import Recording
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
        return self._recording.facts[int(self._at[cell])].trial(problem, target, genome)

    def optimum_ns(self) -> float:
        timings = (facts.timing for facts in self._recording.facts)
        return min((timing.median_ns for timing in timings if timing is not None), default=np.inf)


class _Chain:
    """The recordings of one problem, each from its cycle on, and the space that they share."""

    def __init__(self, recordings: Sequence[tuple[int, Recording]]) -> None:
        self.recordings = sorted(recordings, key=lambda pair: pair[0])
        cycles = [cycle for cycle, _ in self.recordings]
        read = [recording for _, recording in self.recordings]
        self.first = read[0]
        if cycles[0] != 0 or len(set(cycles)) < len(cycles):
            files = ", ".join(recording.path.name for recording in read)
            raise ConfigError(
                f"recordings of {self.first.problem} ({files}) hold from cycles {cycles}",
                "give one from cycle 0, and each its own cycle",
            )
        for other in read[1:]:
            _check_alike(self.first, other)
        rows = np.unique(np.concatenate([recording.rows for recording in read]), axis=0)
        self.space = _space(self.first, Listed.of(rows))
        self._served = [(cycle, _Served(recording, self.space)) for cycle, recording in self.recordings]
        self.serving = self._served[0][1]

    def start_cycle(self, cycle: int) -> None:
        self.serving = [served for since, served in self._served if since <= max(cycle, 0)][-1]


class ReplayTarget:
    """A device that answers from recordings of one or several problems, in the order in which these are first named.

    With several of one problem, the device changes: each recording holds from its cycle on. The space is the union of
    all that was recorded, since the device keeps its kernel; a configuration that the current recording lacks fails
    with ``launch_error``. The device keeps its name: that it changed is for the tuner to notice.

    Raises:
        ConfigError: no recording, or of a problem none for cycle 0, or two for the same cycle.
        DataError: a recording cannot be read, those of one problem are not of the same parameters, or the problems
            were first recorded on different devices.
    """

    def __init__(self, name: str, recordings: Sequence[tuple[int, Path]]) -> None:
        self.name = name
        if not recordings:
            raise ConfigError("a replay target has no recordings", "give one from cycle 0")
        by_problem: dict[Problem, list[tuple[int, Recording]]] = {}
        for cycle, path in recordings:
            recording = read_recording(path)
            by_problem.setdefault(recording.problem, []).append((cycle, recording))
        self._chains = {problem: _Chain(chain) for problem, chain in by_problem.items()}
        self._first = next(iter(self._chains.values())).first
        for chain in self._chains.values():
            _check_device(self._first, chain.first)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What was recorded."""
        return tuple(self._chains)

    @property
    def problem(self) -> Problem:
        """The recorded problem of a device that knows only one.

        Raises:
            ConfigError: it knows several.
        """
        if len(self._chains) > 1:
            raise ConfigError(f"{len(self._chains)} problems are recorded", f"name one of {_listed(self.problems)}")
        return self._first.problem

    @property
    def device(self) -> DeviceFacts:
        """The device of the first recordings; its family marks it as replayed."""
        name = self._first.device_name or self._first.path.name.split(".")[0]
        digests = tuple(
            (f"recording-{cycle} of {problem}", recording.digest)
            for problem, chain in self._chains.items()
            for cycle, recording in chain.recordings
        )
        return DeviceFacts(name, "replay-" + re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-"), digests)

    def space(self, problem: Problem) -> SearchSpace:
        """The search space of a recorded problem.

        Raises:
            UnknownNameError, ShapeError: it was not recorded.
        """
        return self._chain(problem).space

    def evaluate(self, problem: Problem, genomes: Sequence[Genome]) -> list[Trial]:
        """One trial for each genome, in order, as recorded, with joules where these were recorded.

        Raises:
            UnknownNameError, ShapeError: the problem was not recorded.
        """
        chain = self._chain(problem)
        return [chain.serving.trial(self.name, genome, _cell(chain.space, genome)) for genome in genomes]

    def playoff(self, problem: Problem, genomes: Sequence[Genome], *, metered: bool = True) -> list[Trial]:
        """The same as ``evaluate``: a recording is as fair as it gets."""
        return self.evaluate(problem, genomes)

    def start_cycle(self, cycle: int) -> None:
        """Serve of each problem the last recording whose cycle has come."""
        for chain in self._chains.values():
            chain.start_cycle(cycle)

    def optimum_ns(self, problem: Problem | None = None) -> float:
        """Least recorded median time in the current recording; infinity where nothing worked.

        Args:
            problem: None: the only one.
        """
        return self._chain(problem or self.problem).serving.optimum_ns()

    def close(self) -> None:
        """Nothing is held."""

    def _chain(self, problem: Problem) -> _Chain:
        if problem in self._chains:
            return self._chains[problem]
        if problem.kernel not in {known.kernel for known in self._chains}:
            raise UnknownNameError(f"kernel {problem.kernel!r} is not recorded", f"ask for {_listed(self.problems)}")
        raise ShapeError(f"{problem} is not recorded", f"ask for {_listed(self.problems)}")


def _listed(problems: Sequence[Problem]) -> str:
    return ", ".join(map(str, problems))


def _space(first: Recording, listed: Listed) -> SearchSpace:
    space = SearchSpace(first.parameters, (listed,))
    if first.default is None or not space.contains(first.default):
        return space
    return SearchSpace(first.parameters, (listed,), first.default)


def _cell(space: SearchSpace, genome: Genome) -> int:
    try:
        return space.cell(genome)
    except SpaceError:
        return -1


def _check_alike(first: Recording, other: Recording) -> None:
    if other.parameters != first.parameters:
        ours, theirs = ({p.name: p.values for p in r.parameters} for r in (first, other))
        unlike = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
        what = f"in {', '.join(unlike)}" if unlike else "in their order"
        raise DataError(f"parameters of {other.path} differ from {first.path} {what}", "chain one space")


def _check_device(first: Recording, other: Recording) -> None:
    if other.device_name != first.device_name:
        raise DataError(
            f"{other.path} was recorded on {other.device_name!r}, {first.path} on {first.device_name!r}",
            "a target is one device: replay each in a target of its own",
        )
