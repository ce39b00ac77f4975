from __future__ import annotations

import copy
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from quasim.errors import DataError, SpaceError, StorageError
from quasim.space import Divides, Kind, Parameter, SearchSpace
from quasim.targets.replay import ReplayTarget, read_cache, record, write_cache
from quasim.targets.replay.schema import FAILURES
from quasim.trial import Problem, Status, Timing, Trial
from tests.quasim.targets.recordings import Json, kernel_tuner_file, write

SPACE = SearchSpace(
    (Parameter("tile", (8, 16, 24)), Parameter("micro", (2, 3)), Parameter("layout", ("r", "c"), Kind.CATEGORICAL)),
    (Divides("micro", ("tile",)),),
)
PROBLEM = Problem.of("matmul", m=64, n=48, k=7)


def own_trials() -> list[Trial]:
    """One of each status, with figures that no decimal fraction of a ms holds."""
    trials = []
    for cell, status in enumerate(list(Status)[: SPACE.size]):
        ok = status is Status.OK
        trials.append(
            Trial(
                problem=PROBLEM,
                target="c",
                genome=SPACE.genome_at(cell),
                status=status,
                timing=Timing(1e5 / 3, 1e5 / 7, 1e6 / 7, 11) if ok else None,
                error_frobenius=1e-7 / 3 if ok else None,
                detail="" if ok else f"{status.value}, as ever",
            )
        )
    return trials


@pytest.mark.parametrize("name", ["blur.json", "blur.json.gz"])
def test_reads_plain_and_gzipped_files(tmp_path: Path, name: str) -> None:
    recording = read_cache(write(tmp_path / name, kernel_tuner_file()))
    assert recording.problem == Problem.of("blur", x=640, y=480)
    assert recording.device_name == "NVIDIA A100-PCIE-40GB"
    assert recording.parameters == (
        Parameter("tile", (1, 2, 4)),
        Parameter("layout", ("row", "column"), Kind.CATEGORICAL),
        Parameter("pack", (True,)),
    )
    assert recording.rows.tolist() == [[0, 0, 0], [1, 0, 0], [2, 0, 0], [0, 1, 0], [1, 1, 0], [2, 1, 0]]


def test_equal_content_has_equal_digest_however_packed(tmp_path: Path) -> None:
    plain = read_cache(write(tmp_path / "a.json", kernel_tuner_file()))
    packed = read_cache(write(tmp_path / "a.json.gz", kernel_tuner_file()))
    assert plain.digest == packed.digest


def test_size_of_one_dimension_may_be_a_number(tmp_path: Path) -> None:
    assert read_cache(write(tmp_path / "a.json", {**kernel_tuner_file(), "problem_size": 7})).problem.dims == {"x": 7}


@pytest.mark.parametrize(("word", "status"), FAILURES.items())
def test_each_recorded_failure_has_its_status(word: str, status: Status, tmp_path: Path) -> None:
    content = kernel_tuner_file()
    content["cache"] = {"1,row,True": {"time": word}}
    target = ReplayTarget("replay", [(0, write(tmp_path / "a.json", content))])
    [trial] = target.evaluate(target.problem, [target.space(target.problem).genome_at(0)])
    assert (trial.status, trial.detail) == (status, f"recorded as {word}")


def entries(content: Json) -> dict[str, Json]:
    return cast("dict[str, Json]", content["cache"])


def _set(name: str, value: object) -> Callable[[Json], object]:
    return lambda content: content.update({name: value})


def _entry(value: object, key: str = "1,row,True") -> Callable[[Json], object]:
    return lambda content: entries(content).update({key: cast("Json", value)})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_set("kernel_name", 7), r"a\.json cannot be read: .*kernel_name"),
        (_set("problem_size", "x"), r"a\.json cannot be read: .*problem_size"),
        (_set("problem_size", [1, 2, 3, 4]), r"a\.json: problem_size .* does not go with dimensions"),
        (_set("problem_size", [-1]), r"a\.json: blur: x=-1 is negative"),
        (_set("problem_dims", ["m"]), r"a\.json: problem_size .* does not go with dimensions"),
        (_set("tune_params", {"tile": [1]}), r"a\.json: tune_params lacks 'layout'"),
        (
            _set("tune_params", {"tile": [1, 1], "layout": ["row"], "pack": [True]}),
            r"a\.json: .*'tile' lists a value twi",
        ),
        (_set("tune_params_keys", ["tile", "layout"]), r"a\.json: key '1,row,True' has 3 values"),
        (_set("cache", {}), r"a\.json holds no configuration"),
        (_set("cache", []), r"a\.json cannot be read: .*cache"),
        (_entry({"time": 1}, "8,row,True"), r"a\.json: key '8,row,True' has '8', not in tune_params"),
        (_entry({}), r"a\.json: entry '1,row,True': .*time"),
        (_entry(7), r"a\.json: entry '1,row,True': Expected `object`"),
        (_entry({"time": None}), r"a\.json: entry '1,row,True': .*time"),
        (_entry({"time": "SomeOtherConfig"}), r"a\.json: entry '1,row,True': time 'SomeOtherConfig' is neither"),
        (_entry({"time": 0}), r"a\.json: entry '1,row,True': .*not all positive"),
        (_entry({"time": 1.0, "times": [1.0, -1.0]}), r"a\.json: entry '1,row,True': .*not all positive"),
        (_entry({"time": 1.0, "times": "1.0"}), r"a\.json: entry '1,row,True': .*times"),
        (_entry({"time": 1.0, "quasim": {"status": "ok"}}), r"a\.json: entry '1,row,True': .*timing"),
    ],
)
def test_wrong_content_is_named_with_file_and_key(
    damage: Callable[[Json], object], message: str, tmp_path: Path
) -> None:
    content = copy.deepcopy(kernel_tuner_file())
    damage(content)
    with pytest.raises(DataError, match=message):
        read_cache(write(tmp_path / "a.json", content))


def test_missing_truncated_and_corrupt_files_are_data_errors(tmp_path: Path) -> None:
    whole = gzip.compress(json.dumps(kernel_tuner_file()).encode())
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    for bad in (whole[:-20], bytes(flipped), gzip.compress(b"{"), b'{"kernel_name": "x"', b"", b"\xff\xfe"):
        path = tmp_path / "bad.json.gz"
        path.write_bytes(bad)
        with pytest.raises(DataError, match=r"bad\.json\.gz cannot be read"):
            read_cache(path)
    with pytest.raises(DataError, match=r"none\.json cannot be read"):
        read_cache(tmp_path / "none.json")
    with pytest.raises(DataError, match="cannot be read"):
        read_cache(tmp_path)


@pytest.mark.parametrize("name", ["own.json", "own.json.gz"])
def test_written_trials_are_replayed_exactly(tmp_path: Path, name: str) -> None:
    trials = own_trials()
    write_cache(tmp_path / name, "some CPU", PROBLEM, trials, SPACE)
    target = ReplayTarget("c", [(0, tmp_path / name)])
    assert target.problem == PROBLEM
    assert target.device.name == "some CPU"
    assert target.evaluate(PROBLEM, [trial.genome for trial in trials]) == trials


def test_written_file_is_the_same_bytes_whatever_the_order_and_hour(tmp_path: Path) -> None:
    one, two = tmp_path / "one.json.gz", tmp_path / "two.json.gz"
    write_cache(one, "cpu", PROBLEM, own_trials(), SPACE)
    write_cache(two, "cpu", PROBLEM, own_trials()[::-1], SPACE)
    assert one.read_bytes() == two.read_bytes()
    assert one.read_bytes()[4:8] == bytes(4)


def test_written_file_has_what_kernel_tuner_looks_for(tmp_path: Path) -> None:
    write_cache(tmp_path / "own.json", "cpu", PROBLEM, own_trials(), SPACE)
    content = json.loads((tmp_path / "own.json").read_bytes())
    assert content["tune_params"] == {"tile": [8, 16, 24], "micro": [2, 3], "layout": ["r", "c"]}
    assert content["problem_size"] == [64, 48, 7]
    first, second = (content["cache"][key] for key in ("8,2,r", "8,2,c"))
    assert (first["tile"], first["time"]) == (8, pytest.approx(0.1 / 3))
    assert second["time"] == "CompilationFailedConfig"
    assert content["cache"]["16,2,r"]["time"] == "RuntimeFailedConfig"


def test_what_cannot_be_recorded_is_refused(tmp_path: Path) -> None:
    path, trials = tmp_path / "own.json", own_trials()
    with pytest.raises(DataError, match="not all trials"):
        write_cache(path, "cpu", Problem.of("softmax", rows=1), trials, SPACE)
    with pytest.raises(SpaceError, match="genome names"):
        write_cache(path, "cpu", PROBLEM, trials, SearchSpace(SPACE.parameters[:1]))
    for values in ((1, "1"), ("a,b", "c")):
        odd = SearchSpace((Parameter("p", values, Kind.CATEGORICAL),))
        with pytest.raises(DataError, match="make no keys"):
            write_cache(path, "cpu", PROBLEM, [], odd)
    assert not path.exists()
    with pytest.raises(StorageError, match="cannot be written"):
        write_cache(tmp_path / "no" / "own.json", "cpu", PROBLEM, trials, SPACE)


def test_recording_a_target_gives_a_target_that_answers_alike(tmp_path: Path) -> None:
    original = ReplayTarget("replay", [(0, write(tmp_path / "a.json", kernel_tuner_file()))])
    problem = original.problem
    trials = record(original, problem, tmp_path / "b.json.gz")
    copied = ReplayTarget("replay", [(0, tmp_path / "b.json.gz")])
    assert len(trials) == 6
    assert copied.evaluate(problem, [trial.genome for trial in trials]) == trials
    assert copied.space(problem) == original.space(problem)


def test_part_of_a_space_can_be_recorded(tmp_path: Path) -> None:
    original = ReplayTarget("replay", [(0, write(tmp_path / "a.json", kernel_tuner_file()))])
    genomes = [original.space(original.problem).genome_at(cell) for cell in (4, 1)]
    trials = record(original, original.problem, tmp_path / "b.json", genomes)
    assert [trial.genome for trial in trials] == genomes
    assert len(read_cache(tmp_path / "b.json").facts) == 2


def test_recorded_order_of_values_is_kept(tmp_path: Path) -> None:
    content = kernel_tuner_file()
    content["tune_params"] = {"tile": [4, 1, 2], "layout": ["row", "column"], "pack": [True]}
    recording = read_cache(write(tmp_path / "a.json", content))
    assert recording.parameters[0].values == (4, 1, 2)
    assert recording.rows[:, 0].tolist() == [1, 2, 0, 1, 2, 0]
