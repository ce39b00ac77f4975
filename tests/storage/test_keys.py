from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from quasim.errors import TrustError
from storage.keys import load_or_create_key, site_folder

REPOSITORY = Path(__file__).parents[2]


def test_key_is_private_random_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "home" / "site.key"
    key = load_or_create_key(path)
    assert len(key) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert load_or_create_key(path) == key
    assert load_or_create_key(tmp_path / "other.key") != key


def test_threads_that_start_at_once_agree(tmp_path: Path) -> None:
    barrier = threading.Barrier(16)

    def start(_: int) -> bytes:
        barrier.wait()
        return load_or_create_key(tmp_path / "home" / "site.key")

    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(start, range(16)))) == 1
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["site.key"]


def test_processes_that_start_at_once_agree(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib; from storage.keys import load_or_create_key\n"
        "print('ready', flush=True); sys.stdin.read()\n"
        "print(load_or_create_key(pathlib.Path(sys.argv[1])).hex())"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "home" / "site.key")]
    processes = [
        subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
    keys = {process.communicate(timeout=30)[0] for process in processes}
    assert len(keys) == 1
    assert len(keys.pop().strip()) == 64


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o622])
def test_key_open_to_others_is_refused_without_showing_it(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "site.key"
    key = load_or_create_key(path)
    path.chmod(mode)
    with pytest.raises(TrustError, match="chmod 600") as caught:
        load_or_create_key(path)
    assert key.hex() not in str(caught.value)
    assert repr(key) not in str(caught.value)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_key_of_a_wrong_size_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "site.key"
    path.touch(mode=0o600)
    path.write_bytes(b"x" * size)
    with pytest.raises(TrustError, match="not 32 bytes"):
        load_or_create_key(path)


def test_site_folder_is_where_the_environment_says() -> None:
    assert site_folder({"QUASIM_HOME": "/var/lib/quasim"}) == Path("/var/lib/quasim")
    assert site_folder({}) == Path.home() / ".quasim"
