from __future__ import annotations

import copy
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from quasim.errors import ConfigError, DataError, SpaceError, StorageError, UnknownNameError
from quasim.search import strategy
from quasim.space import Divides, Kind, Parameter, SearchSpace
from quasim.targets.replay import ReplayTarget, read_recording, read_t4, write_t4
from quasim.targets.replay.t4 import STATUSES
from quasim.trial import EnergySource, ErrorAgainst, Genome, Problem, Status, Timing, Trial
from tests.quasim.targets.recordings import Json, kernel_tuner_file, write

SPACE = SearchSpace(
    (Parameter("tile", (8, 16, 24)), Parameter("micro", (2, 3)), Parameter("layout", ("r", "c"), Kind.CATEGORICAL)),
    (Divides("micro", ("tile",)),),
    Genome({"tile": 16, "micro": 2, "layout": "c"}),
)
PROBLEM = Problem.of("matmul", m=64, n=48, k=7)


def own_trials(problem: Problem = PROBLEM) -> list[Trial]:
    """One of each status, with figures that no decimal fraction holds; the first is metered."""
    trials = []
    for cell, status in enumerate(list(Status)[: SPACE.size]):
        ok = status is Status.OK
        trials.append(
            Trial(
                problem=problem,
                target="triton",
                genome=SPACE.genome_at(cell),
                status=status,
                timing=Timing(1e5 / 3, 1e5 / 7, 1e6 / 7, 11) if ok else None,
                error_frobenius=1e-7 / 3 if ok else None,
                error_against=ErrorAgainst.DEFAULT if ok else ErrorAgainst.FLOAT64,
                energy_j=0.1 / 3 if ok else None,
                energy_source=EnergySource.COUNTER if ok else EnergySource.UNMETERED,
                energy_low_j=0.1 / 7 if ok else None,
                energy_above_idle_j=0.1 / 9 if ok else None,
                compile_ns=12345,
                check_ns=None if cell else 678,
                detail="" if ok else f"{status.value}, as ever",
            )
        )
    return trials


def others_file() -> Json:
    """As Kernel Tuner's ``t4`` output writes it: no problem, no device, no parameters; times in ms."""

    def one(configuration: Json, invalidity: str, time: object, runtimes: list[float]) -> Json:
        return {
            "timestamp": "2025-01-01 00:00:00+00:00",
            "configuration": configuration,
            "times": {"compilation": 2.5, "benchmark": 9, "framework": 0.5, "validation": 0, "runtimes": runtimes},
            "invalidity": invalidity,
            "correctness": 1,
            "measurements": [
                {"name": "time", "value": time, "unit": "ms"},
                {"name": "energy", "value": 0.5, "unit": ""},
                {"name": "clocks", "value": [1, 2], "unit": ""},
            ],
            "objectives": ["time"],
        }

    return {
        "schema_version": "1.0.0",
        "metadata": {"timeunit": "milliseconds"},
        "results": [
            one({"tile": 4, "layout": "row"}, "correct", 3.0, [2.0, 3.0, 4.0]),
            one({"tile": 1, "layout": "row"}, "correct", 2.0, [0.5]),
            one({"tile": 1, "layout": "column"}, "compile", "CompilationFailedConfig", []),
            one({"tile": 2, "layout": "row"}, "runtime", 1e20, []),
        ],
    }


@pytest.mark.parametrize("name", ["own.t4.json", "own.t4.json.gz"])
def test_written_trials_are_replayed_exactly_with_their_joules(tmp_path: Path, name: str) -> None:
    trials = own_trials()
    write_t4(tmp_path / name, "NVIDIA H100 80GB HBM3", PROBLEM, trials, SPACE)
    target = ReplayTarget("triton", [(0, tmp_path / name)])
    assert (target.problems, target.device.name) == ((PROBLEM,), "NVIDIA H100 80GB HBM3")
    assert target.evaluate(PROBLEM, [trial.genome for trial in trials]) == trials
    assert target.playoff(PROBLEM, [trials[0].genome])[0].energy_source is EnergySource.COUNTER
    recording = read_t4(tmp_path / name)
    assert recording.trials("triton") == trials
    assert recording.default == SPACE.default


def test_the_default_is_the_spaces_where_it_was_recorded(tmp_path: Path) -> None:
    trials = own_trials()
    write_t4(tmp_path / "all.json", "gpu", PROBLEM, trials, SPACE)
    write_t4(tmp_path / "one.json", "gpu", PROBLEM, trials[:1], SPACE)
    spaces = [ReplayTarget("r", [(0, tmp_path / name)]).space(PROBLEM) for name in ("all.json", "one.json")]
    assert [space.default for space in spaces] == [SPACE.default, None]


def test_a_space_of_ours_is_replayed_alike_from_either_form(recorded_space: Path, tmp_path: Path) -> None:
    device = ReplayTarget("c", [(0, recorded_space)])
    space = device.space(device.problem)
    trials = device.evaluate(device.problem, [space.genome_at(cell) for cell in range(space.size)])
    write_t4(tmp_path / "a.t4.json.gz", device.device.name, device.problem, trials, space)
    copied = ReplayTarget("c", [(0, tmp_path / "a.t4.json.gz")])
    assert copied.space(device.problem) == space
    assert copied.evaluate(device.problem, [trial.genome for trial in trials]) == trials


def test_equal_trials_are_equal_bytes_and_their_order_is_kept(tmp_path: Path) -> None:
    one, two, turned = (tmp_path / f"{name}.json.gz" for name in ("one", "two", "turned"))
    write_t4(one, "gpu", PROBLEM, own_trials(), SPACE)
    write_t4(two, "gpu", PROBLEM, own_trials(), SPACE)
    write_t4(turned, "gpu", PROBLEM, own_trials()[::-1], SPACE)
    assert one.read_bytes() == two.read_bytes()
    assert read_t4(turned).trials("triton") == own_trials()[::-1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.json.gz", "turned.json.gz", "two.json.gz"]


def test_written_file_says_in_the_formats_own_words_what_was_measured(tmp_path: Path) -> None:
    write_t4(tmp_path / "own.json", "gpu", PROBLEM, own_trials(), SPACE)
    content = json.loads((tmp_path / "own.json").read_bytes())
    assert (content["schema_version"], content["metadata"]["timeunit"]) == ("1.0.0", "nanoseconds")
    words = [(one["invalidity"], one["correctness"]) for one in content["results"]]
    assert words[:5] == [("correct", 1), ("compile", 0), ("runtime", 0), ("correctness", 0), ("timeout", 0)]
    first = content["results"][0]
    assert first["configuration"] == {"tile": 8, "micro": 2, "layout": "r"}
    figures = {one["name"]: (one["value"], one["unit"]) for one in first["measurements"]}
    assert figures["time"] == (1e5 / 3, "ns")
    assert figures["energy"] == (0.1 / 3, "J")
    assert first["times"] == {"compilation_time": 12345, "runtimes": [1e5 / 3], "validation": 678}


def test_a_file_of_others_needs_no_more_than_the_format_asks(tmp_path: Path) -> None:
    target = ReplayTarget("replay", [(0, write(tmp_path / "convolution.A100.json", others_file()))])
    assert target.problem == Problem("convolution", ())
    assert target.device.name == "convolution"
    space = target.space(target.problem)
    assert space.parameters == (
        Parameter("tile", (1, 2, 4)),
        Parameter("layout", ("row", "column"), Kind.CATEGORICAL),
    )
    wanted = [(4, "row"), (1, "row"), (1, "column"), (2, "row")]
    trials = target.evaluate(target.problem, [Genome({"tile": tile, "layout": layout}) for tile, layout in wanted])
    assert [(trial.status, trial.timing) for trial in trials] == [
        (Status.OK, Timing(3e6, 2e6, 4e6, 3)),
        (Status.OK, Timing(2e6, 2e6, 2e6, 1)),  # its repeats are of another clock
        (Status.COMPILE_ERROR, None),
        (Status.LAUNCH_ERROR, None),
    ]
    assert trials[2].detail == "recorded as compile"
    assert (trials[0].compile_ns, trials[0].measure_ns) == (2_500_000, 9_000_000)
    # Joules of unknown origin are not handed on.
    assert {(trial.energy_j, trial.energy_source) for trial in trials} == {(None, EnergySource.UNMETERED)}


@pytest.mark.parametrize(("unit", "time_ns"), [("seconds", 3e9), ("microseconds", 3e3), ("nanoseconds", 3.0)])
def test_a_figure_without_a_unit_is_in_the_files(unit: str, time_ns: float, tmp_path: Path) -> None:
    content = others_file()
    content["metadata"] = {"timeunit": unit}
    results(content)[0]["measurements"] = [{"name": "time", "value": 3.0, "unit": ""}]
    recording = read_t4(write(tmp_path / "a.json", {**content, "results": results(content)[:1]}))
    timing = recording.facts[0].timing
    assert timing is not None
    assert timing.median_ns == pytest.approx(time_ns)


def results(content: Json) -> list[Json]:
    return cast("list[Json]", content["results"])


def _set(*place: str | int, value: object) -> Callable[[Json], object]:
    def damage(content: Json) -> None:
        node = cast("dict[str | int, object]", content)
        for step in place[:-1]:
            node = cast("dict[str | int, object]", node[step])
        node[place[-1]] = value

    return damage


def _measured(**named: object) -> Callable[[Json], object]:
    figures = [{"name": name, "value": value, "unit": ""} for name, value in {"time": 1.0, **named}.items()]
    return _set("results", 1, "measurements", value=figures)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_set("schema_version", value="2.0.0"), r"a\.json cannot be read: schema_version '2\.0\.0' is not 1\.x\.x"),
        (_set("schema_version", value=1), r"a\.json cannot be read: .*schema_version.*it is '1'"),
        (_set("metadata", "timeunit", value="hours"), r"'hours'.*timeunit"),
        (_set("results", value=[]), r"a\.json holds no configuration"),
        (_set("results", value="none"), r"a\.json cannot be read: .*results.*it is 'none'"),
        (_set("results", 1, value={}), r"missing required field .*results\[1\]"),
        (_set("results", 1, "invalidity", value="sometimes"), r"'sometimes'.*results\[1\]\.invalidity"),
        (_set("results", 1, "correctness", value=0.5), r"correctness 0\.5 is neither 0 nor 1.*results\[1\]"),
        (_set("results", 1, "correctness", value=0), r"'correct' contradicts correctness 0.*results\[1\]"),
        (_set("results", 1, "times", "validation", value="1 ms"), r"results\[1\]\.times\.validation.*it is '1 ms'"),
        (_set("results", 1, "times", "validation", value=None), r"results\[1\]\.times\.validation.*it is 'None'"),
        (_set("results", 1, "times", "validation", value=-1), r"validation=-1.* is negative.*results\[1\]\.times"),
        (_set("results", 1, "times", "runtimes", value=[-2.0]), r"results\[1\]: time .*-2.* are not all positive"),
        (_set("results", 1, "configuration", value=[]), r"results\[1\]\.configuration"),
        (_set("results", 1, "configuration", "tile", value=[1]), r"results\[1\]\.configuration"),
        (_set("results", 1, "configuration", value={"tile": 1}), r"results\[1\]: configuration names \['tile'\]"),
        (_set("results", 1, "configuration", "tile", value=4), r"two entries are of one configuration"),
        (_set("results", 1, "measurements", value=[]), r"results\[1\]: a correct result has no measurement 'time'"),
        (_measured(time="fast"), r"results\[1\]: measurement 'time' is 'fast', not a number"),
        (_measured(time=[1.0]), r"results\[1\]: measurement 'time' is an array, not a number"),
        (_measured(time=-1), r"results\[1\]: time -1.* are not all positive"),
        (_measured(status="tired"), r"results\[1\]: 'tired' is not a valid Status"),
        (_measured(status="crashed"), r"results\[1\]: status 'crashed' contradicts invalidity 'correct'"),
        (_measured(energy_source="guess"), r"results\[1\]: 'guess' is not a valid EnergySource"),
        (_measured(energy_source="counter"), r"results\[1\]: energy_j=None does not go with source counter"),
        (_measured(energy_source="counter", energy=-1.0), r"results\[1\]: energy_j=-1.0 is not positive"),
        (_measured(energy_source="counter", energy="1"), r"results\[1\]: measurement 'energy' is '1', not a number"),
        (_measured(time_low=2.0, time_high=3.0, time_samples=5), r"results\[1\]: not an interval of times"),
        (_measured(time_low=1.0, time_high=1.0, time_samples=5.5), r"'time_samples' is 5\.5, not a whole number"),
        (
            _set("results", 1, "measurements", value=[{"name": "time", "value": 1, "unit": "days"}]),
            r"results\[1\]: measurement 'time' has unit 'days'",
        ),
        (
            _set("results", 1, "measurements", value=[{"name": "time", "value": 1}, {"name": "time", "value": 2}]),
            r"measurements name \['time'\] twice.*results\[1\]",
        ),
    ],
)
def test_wrong_content_is_named_with_file_place_and_value(
    damage: Callable[[Json], object], message: str, tmp_path: Path
) -> None:
    content = copy.deepcopy(others_file())
    damage(content)
    with pytest.raises(DataError, match=message):
        read_t4(write(tmp_path / "a.json", content))


@pytest.mark.parametrize(("invalidity", "status"), STATUSES.items())
def test_each_recorded_invalidity_has_its_status(invalidity: str, status: Status, tmp_path: Path) -> None:
    content = others_file()
    results(content)[1]["invalidity"] = invalidity
    assert read_t4(write(tmp_path / "a.json", content)).facts[1].status is status


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_set("metadata", "quasim", "problem", value=7), r"metadata\.quasim\.problem.*it is '7'"),
        (_set("metadata", "quasim", "default", value=7), r"genome 7 is not a mapping"),
        (_set("metadata", "quasim", "parameters", 0, "values", value=[8, 8, 16, 24]), r"'tile' lists a value twice"),
        (_set("metadata", "quasim", "parameters", 0, "values", value=[8]), r"results\[2\]: tile=16 is not in \(8,\)"),
        (_set("metadata", "quasim", "hint", value=7), r"unknown field `hint`"),
    ],
)
def test_what_a_file_of_ours_adds_is_read_as_strictly(
    damage: Callable[[Json], object], message: str, tmp_path: Path
) -> None:
    write_t4(tmp_path / "own.json", "gpu", PROBLEM, own_trials(), SPACE)
    content = json.loads((tmp_path / "own.json").read_bytes())
    damage(content)
    with pytest.raises(DataError, match=message):
        read_t4(write(tmp_path / "own.json", content))


def test_missing_truncated_and_corrupt_files_are_data_errors(tmp_path: Path) -> None:
    whole = gzip.compress(json.dumps(others_file()).encode())
    for bad in (whole[:-20], gzip.compress(b'{"results": ['), b'{"results": [NaN]}', b"", b"[]", b"\xff\xfe"):
        path = tmp_path / "bad.json.gz"
        path.write_bytes(bad)
        with pytest.raises(DataError, match=r"bad\.json\.gz cannot be read"):
            read_recording(path)
    with pytest.raises(DataError, match=r"none\.json .*not there: .*python -m benchmarks\.record_spaces"):
        read_recording(tmp_path / "none.json")


def test_what_cannot_be_recorded_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    path, trials = tmp_path / "own.json", own_trials()
    for none in ([], own_trials(Problem.of("softmax", rows=1))):
        with pytest.raises(DataError, match=r"not all of .* trials are of matmul"):
            write_t4(path, "gpu", PROBLEM, none, SPACE)
    with pytest.raises(DataError, match="two entries"):
        write_t4(path, "gpu", PROBLEM, [trials[0], trials[0]], SPACE)
    with pytest.raises(SpaceError, match="genome names"):
        write_t4(path, "gpu", PROBLEM, trials, SearchSpace(SPACE.parameters[:1]))
    with pytest.raises(StorageError, match="cannot be written"):
        write_t4(tmp_path / "no" / "own.json", "gpu", PROBLEM, trials, SPACE)
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(StorageError, match="cannot be written"):
        write_t4(tmp_path / "folder.json", "gpu", PROBLEM, trials, SPACE)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.json"]


@pytest.fixture
def device(tmp_path: Path) -> list[tuple[int, Path]]:
    """Two problems in three files of either form; the first changes in cycle 2."""
    cache, t4 = kernel_tuner_file(), tmp_path / "b.t4.json.gz"
    slower = {name: {"time": 7.0} for name in cast("Json", cache["cache"])}
    write_t4(t4, cast("str", cache["device_name"]), PROBLEM, own_trials(), SPACE)
    later = {**cache, "device_name": "the same, throttled", "cache": slower}
    return [(0, write(tmp_path / "a.json", cache)), (0, t4), (2, write(tmp_path / "c.json", later))]


def test_a_device_serves_several_problems_each_with_its_chain(device: list[tuple[int, Path]]) -> None:
    target = ReplayTarget("replay", device)
    blur = Problem.of("blur", x=640, y=480)
    assert target.problems == (blur, PROBLEM)
    assert [target.space(problem).size for problem in target.problems] == [6, 8]
    seen = []
    for cycle in range(3):
        target.start_cycle(cycle)
        seen.append([target.optimum_ns(problem) for problem in target.problems])
    assert seen == [[1.25e6, 1e5 / 3], [1.25e6, 1e5 / 3], [7e6, 1e5 / 3]]
    assert len({name for name, _ in target.device.versions}) == 3
    with pytest.raises(ConfigError, match=r"2 problems are recorded: name one of blur.*, matmul"):
        _ = target.problem
    with pytest.raises(UnknownNameError, match=r"'softmax' is not recorded: ask for blur.*, matmul"):
        target.space(Problem.of("softmax", rows=1))


def tuned(device: list[tuple[int, Path]]) -> list[Trial]:
    """Three cycles over all problems."""
    target = ReplayTarget("replay", device)
    searches = {problem: strategy("evolution", target.space(problem), 3) for problem in target.problems}
    trials = []
    for cycle in range(3):
        target.start_cycle(cycle)
        for problem, search in searches.items():
            search.tell(target.playoff(problem, [trial.genome for trial in search.best(2)]))
            batch = target.evaluate(problem, search.ask(2))
            search.tell(batch)
            trials += batch
    return trials


def test_replay_of_several_problems_repeats_to_the_bit(device: list[tuple[int, Path]]) -> None:
    once, again = tuned(device), tuned(device)
    assert once == again
    assert len(once) == 12
    assert {trial.problem.kernel for trial in once} == {"blur", "matmul"}


def test_recordings_of_two_devices_are_no_target(device: list[tuple[int, Path]], tmp_path: Path) -> None:
    write_t4(tmp_path / "b.t4.json.gz", "NVIDIA H200", PROBLEM, own_trials(), SPACE)
    with pytest.raises(DataError, match=r"b\.t4\.json\.gz was recorded on 'NVIDIA H200', .*a\.json on 'NVIDIA A100"):
        ReplayTarget("replay", device)


def test_each_problem_needs_a_recording_from_the_start(device: list[tuple[int, Path]]) -> None:
    late = [(1, path) if path.name == "b.t4.json.gz" else (cycle, path) for cycle, path in device]
    with pytest.raises(ConfigError, match=r"recordings of matmul.*b\.t4\.json\.gz.* hold from cycles \[1\]"):
        ReplayTarget("replay", late)


def test_a_failure_among_recorded_times_is_no_optimum(tmp_path: Path) -> None:
    failed = [trial for trial in own_trials() if trial.timing is None]
    write_t4(tmp_path / "a.json", "gpu", PROBLEM, failed, SPACE)
    assert ReplayTarget("r", [(0, tmp_path / "a.json")]).optimum_ns() == np.inf
