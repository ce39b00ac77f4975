from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec
import pytest

from quasim.codec import to_json
from quasim.errors import StorageError, TrustError
from quasim.targets.replay import ReplayTarget
from quasim.trial import Genome, Problem, Status, Timing, Trial
from quasim.tuned import Conditions, Effort, Miss, Tuned, TunedCache

PROBLEM = Problem.of("matmul", m=768, n=768, k=768)
ALIKE = Problem.of("matmul", m=800, n=768, k=768)
OTHER = Problem.of("matmul", m=96, n=768, k=768)
HERE = Conditions("c", "AMD EPYC", "cpu-x86_64-avx2", (("compiler", "gcc 12.2"), ("threads", "2")), "a" * 64)
EFFORT = Effort(40, "evolution", "2026-11-22T20:51:00+00:00")


def tuned(problem: Problem = PROBLEM, conditions: Conditions = HERE, time_ns: float = 1e6) -> Tuned:
    timing = Timing(time_ns, time_ns, time_ns, 3)
    best = Trial(problem=problem, target="c", genome=Genome({"mr": 4}), status=Status.OK, timing=timing)
    return Tuned(problem, conditions, best, EFFORT)


@pytest.fixture
def cache(tmp_path: Path) -> TunedCache:
    return TunedCache(tmp_path / "tuned")


def miss(cache: TunedCache, problem: Problem = PROBLEM, conditions: Conditions = HERE) -> Miss:
    found = cache.look(problem, conditions)
    assert isinstance(found, Miss)
    return found


def test_what_was_kept_is_found_under_the_same_conditions_also_by_another_process(
    cache: TunedCache, tmp_path: Path
) -> None:
    assert miss(cache) == Miss()
    cache.keep(tuned())
    assert cache.look(PROBLEM, HERE) == TunedCache(tmp_path / "tuned").look(PROBLEM, HERE) == tuned()
    cache.keep(tuned(time_ns=9e5))
    assert list(cache) == [tuned(time_ns=9e5)]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"versions": (("compiler", "gcc 13.1"), ("threads", "2"))}, "compiler gcc 13.1 (was gcc 12.2)"),
        ({"versions": (("compiler", "gcc 12.2"),)}, "threads gone (was 2)"),
        ({"device": "Intel Xeon"}, "device Intel Xeon (was AMD EPYC)"),
        ({"family": "cpu-x86_64-avx512f"}, "family cpu-x86_64-avx512f (was cpu-x86_64-avx2)"),
        ({"target": "triton"}, "target triton (was c)"),
        ({"space": "b" * 64}, "search space bbbbbbbbbbbb (was aaaaaaaaaaaa)"),
        ({"file": "c" * 64}, "kernel file cccccccccccc (was not there)"),
    ],
)
def test_any_part_that_changes_is_a_miss_that_names_it_and_changing_back_is_a_hit(
    cache: TunedCache, changes: dict[str, object], said: str
) -> None:
    cache.keep(tuned())
    now = msgspec.structs.replace(HERE, **changes)
    assert miss(cache, conditions=now) == Miss((said,), tuned())
    cache.keep(tuned(conditions=now))
    assert cache.look(PROBLEM, now) == tuned(conditions=now)
    assert cache.look(PROBLEM, HERE) == tuned()


def test_another_shape_of_the_class_is_the_nearest_and_one_of_another_class_is_not(cache: TunedCache) -> None:
    cache.keep(tuned(OTHER))
    assert miss(cache) == Miss()
    cache.keep(tuned(ALIKE))
    assert miss(cache) == Miss(("shape m=768,n=768,k=768 (was m=800,n=768,k=768)",), tuned(ALIKE))


def test_the_result_with_fewest_changes_is_the_nearest(cache: TunedCache) -> None:
    cache.keep(tuned(ALIKE, msgspec.structs.replace(HERE, device="Intel Xeon")))
    cache.keep(tuned(PROBLEM, msgspec.structs.replace(HERE, device="Intel Xeon")))
    assert miss(cache).changed == ("device AMD EPYC (was Intel Xeon)",)


def test_folder_and_files_are_their_owners_alone(cache: TunedCache, tmp_path: Path) -> None:
    cache.keep(tuned())
    (file,) = (tmp_path / "tuned").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_a_folder_that_others_may_use_is_not_trusted(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    with pytest.raises(TrustError, match="chmod 700"):
        TunedCache(tmp_path / "open")
    (tmp_path / "link").symlink_to(tmp_path / "own")
    (tmp_path / "own").mkdir(mode=0o700)
    with pytest.raises(TrustError, match="link"):
        TunedCache(tmp_path / "link")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="no cache folder"):
        TunedCache(tmp_path / "file" / "tuned")


@pytest.mark.parametrize("content", [b"", b"{", b'{"format": 2}', b"\x80\x04N.", b"[" * 100_000])
def test_a_damaged_file_is_a_miss_and_is_replaced(cache: TunedCache, tmp_path: Path, content: bytes) -> None:
    cache.keep(tuned())
    (file,) = (tmp_path / "tuned").iterdir()
    file.write_bytes(content)
    assert miss(cache) == Miss()
    assert list(cache) == []
    cache.keep(tuned())
    assert cache.look(PROBLEM, HERE) == tuned()


def test_a_file_under_another_key_is_no_answer(cache: TunedCache, tmp_path: Path) -> None:
    cache.keep(tuned())
    (file,) = (tmp_path / "tuned").iterdir()
    other = msgspec.structs.replace(HERE, device="Intel Xeon")
    file.write_bytes(to_json(tuned(conditions=other)))
    assert miss(cache).changed == ("device AMD EPYC (was Intel Xeon)",)


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_that_others_may_write_is_a_miss_and_is_replaced(cache: TunedCache, tmp_path: Path, mode: int) -> None:
    cache.keep(tuned())
    (file,) = (tmp_path / "tuned").iterdir()
    file.chmod(mode)
    assert miss(cache) == Miss()
    assert list(cache) == []
    cache.keep(tuned())
    assert cache.look(PROBLEM, HERE) == tuned()


@pytest.mark.skipif(os.getuid() != 0, reason="root alone can give a file away")
def test_a_file_of_another_user_is_a_miss(cache: TunedCache, tmp_path: Path) -> None:
    cache.keep(tuned())
    (file,) = (tmp_path / "tuned").iterdir()
    os.chown(file, 65534, -1)
    assert miss(cache) == Miss()


def test_links_and_pipes_are_misses(cache: TunedCache, tmp_path: Path) -> None:
    cache.keep(tuned())
    (file,) = (tmp_path / "tuned").iterdir()
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert miss(cache) == Miss()
    file.unlink()
    os.mkfifo(file, 0o600)
    assert miss(cache) == Miss()


def test_a_failed_trial_is_no_result() -> None:
    failed = Trial(problem=PROBLEM, target="c", genome=Genome({"mr": 4}), status=Status.TIMEOUT)
    with pytest.raises(ValueError, match="timeout"):
        Tuned(PROBLEM, HERE, failed, EFFORT)
    with pytest.raises(ValueError, match="no result for"):
        Tuned(OTHER, HERE, tuned().best, EFFORT)


def test_a_kernels_name_may_hold_anything(cache: TunedCache) -> None:
    strange = Problem.of("../../etc/passwd", m=8)
    cache.keep(tuned(strange))
    assert cache.look(strange, HERE) == tuned(strange)


def test_conditions_come_from_the_opened_target(recorded_space: Path) -> None:
    target = ReplayTarget("replay", [(0, recorded_space)])
    found = Conditions.of(target, target.problem)
    assert (found.target, found.device, found.versions) == ("replay", target.device.name, target.device.versions)
    assert found.space == target.space(target.problem).digest
