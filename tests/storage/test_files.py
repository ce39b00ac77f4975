from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from quasim.errors import ExitCode, StorageError
from storage.files import create_atomic, make_folder, storage_errors, sweep, write_atomic

NOBODY = 65534


@pytest.fixture
def unwritable(tmp_path: Path) -> Iterator[Path]:
    """A folder that this process may read but not write; root gives up its rights for that long."""
    folder = tmp_path / "sealed"
    folder.mkdir(mode=0o555)
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    yield folder
    os.seteuid(user)


def test_written_file_holds_the_data_and_leaves_no_other_file(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a", b"one")
    write_atomic(tmp_path / "a", memoryview(b"two"), mode=0o600)
    assert (tmp_path / "a").read_bytes() == b"two"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_creating_never_replaces(tmp_path: Path) -> None:
    assert create_atomic(tmp_path / "a", b"one")
    assert not create_atomic(tmp_path / "a", b"two")
    assert (tmp_path / "a").read_bytes() == b"one"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_data_is_synced_before_it_gets_its_name_and_the_name_before_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(handle: int) -> None:
        calls.append("fsync folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "fsync file")  # noqa: PTH112
        real_fsync(handle)

    def replace(source: Path, target: Path) -> None:
        calls.append("replace")
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    write_atomic(tmp_path / "a", b"data")
    assert calls == ["fsync file", "replace", "fsync folder"]


def test_unwritable_folder_is_named_with_what_to_do(unwritable: Path) -> None:
    with pytest.raises(StorageError, match="make it writable") as caught:
        make_folder(unwritable)
    assert str(unwritable) in str(caught.value)
    assert caught.value.exit_code is ExitCode.STORAGE
    with pytest.raises(StorageError, match="make it writable"):
        write_atomic(unwritable / "a", b"")


def test_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageError, match="a file stands where a folder must be"):
            make_folder(folder)


def test_full_disk_keeps_the_old_file_and_says_so(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a", b"old")
    script = (
        "import resource, sys, pathlib; from storage.files import write_atomic\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "write_atomic(pathlib.Path(sys.argv[1]), b'x' * 5000)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a")],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "StorageError" in done.stderr
    assert "free space there" in done.stderr
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_no_space_left_advises_to_free_space(code: int, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="free space there"), storage_errors("write", tmp_path):
        raise OSError(code, os.strerror(code))


def test_new_folders_have_the_mode_asked_for(tmp_path: Path) -> None:
    assert make_folder(tmp_path / "a" / "b", mode=0o700).stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700
    assert make_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"


def test_sweep_removes_torn_files_alone(tmp_path: Path) -> None:
    (tmp_path / ".a.0123.tmp").touch()
    (tmp_path / "a.tmp").touch()
    (tmp_path / ".lock").touch()
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "a.tmp"]
