from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from quasim.errors import StorageError
from quasim.lease import Lease, LeaseTimeoutError, runtime_folder

HOLDER = """
import sys
from pathlib import Path
from quasim.lease import Lease
with getattr(Lease("cpu", folder=Path(sys.argv[1])), sys.argv[2])():
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def _held_elsewhere(folder: Path, mode: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), mode], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def _soon(folder: Path) -> Lease:
    return Lease("cpu", folder=folder, timeout_s=0.1)


def _refused(folder: Path, mode: str) -> LeaseTimeoutError:
    with pytest.raises(LeaseTimeoutError) as caught, getattr(_soon(folder), mode)():
        pass
    return caught.value


@pytest.mark.parametrize(
    ("held", "wanted"), [("exclusive", "exclusive"), ("exclusive", "shared"), ("shared", "exclusive")]
)
def test_a_lease_in_another_process_keeps_others_out(tmp_path: Path, held: str, wanted: str) -> None:
    with _held_elsewhere(tmp_path, held):
        assert "cpu was not free within 0.1 s" in _refused(tmp_path, wanted).what


def test_shared_holders_do_not_exclude_each_other(tmp_path: Path) -> None:
    with _held_elsewhere(tmp_path, "shared"), _soon(tmp_path).shared(), _soon(tmp_path).shared():
        pass


def test_devices_do_not_exclude_each_other(tmp_path: Path) -> None:
    with Lease("gpu0", folder=tmp_path).exclusive(), Lease("gpu1", folder=tmp_path, timeout_s=0.1).exclusive():
        pass


def test_timeout_names_the_process_that_times(tmp_path: Path) -> None:
    with _held_elsewhere(tmp_path, "exclusive") as holder:
        assert f"process {holder.pid} " in _refused(tmp_path, "exclusive").do


def test_one_lease_excludes_between_threads(tmp_path: Path) -> None:
    lease = Lease("cpu", folder=tmp_path)
    inside, worst = 0, 0

    def work() -> None:
        nonlocal inside, worst
        for _ in range(20):
            with lease.exclusive():
                inside += 1
                worst = max(worst, inside)
                time.sleep(0.0005)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert worst == 1


def test_kill_9_gives_the_device_back(tmp_path: Path) -> None:
    with _held_elsewhere(tmp_path, "exclusive") as holder:
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        with Lease("cpu", folder=tmp_path, timeout_s=10).exclusive():
            pass


def test_a_wait_that_was_given_up_leaves_the_device_free(tmp_path: Path) -> None:
    with Lease("cpu", folder=tmp_path).exclusive():
        _refused(tmp_path, "exclusive")
    with Lease("cpu", folder=tmp_path, timeout_s=10).exclusive():
        pass


def test_a_stream_of_shared_holders_does_not_starve_the_exclusive_waiter(tmp_path: Path) -> None:
    lease, done = Lease("cpu", folder=tmp_path), threading.Event()
    overlapping = threading.Barrier(3)

    def stream() -> None:
        overlapping.wait()
        while not done.is_set():
            with lease.shared():
                time.sleep(0.02)

    def staggered() -> None:
        with lease.shared():
            overlapping.wait()
            time.sleep(0.01)
        while not done.is_set():
            with lease.shared():
                time.sleep(0.02)

    threads = [threading.Thread(target=stream), threading.Thread(target=staggered)]
    for thread in threads:
        thread.start()
    overlapping.wait()
    try:
        with Lease("cpu", folder=tmp_path, timeout_s=20).exclusive():
            pass
    finally:
        done.set()
        for thread in threads:
            thread.join()


def test_later_shared_comers_wait_behind_an_exclusive_waiter(tmp_path: Path) -> None:
    lease, order = Lease("cpu", folder=tmp_path), list[str]()
    turnstile_taken = threading.Event()

    def exclusive() -> None:
        turnstile_taken.set()
        with lease.exclusive():
            order.append("exclusive")

    def shared() -> None:
        with lease.shared():
            order.append("shared")

    with lease.shared():
        first = threading.Thread(target=exclusive)
        first.start()
        turnstile_taken.wait()
        _until_waiting(tmp_path)
        second = threading.Thread(target=shared)
        second.start()
    first.join()
    second.join()
    assert order == ["exclusive", "shared"]


def _until_waiting(folder: Path) -> None:
    """Until the exclusive waiter stands in the turnstile: then not even a shared lease is to be had."""
    while True:
        try:
            with Lease("cpu", folder=folder, timeout_s=0.01).shared():
                time.sleep(0.001)
        except LeaseTimeoutError:
            return


def test_no_file_descriptor_is_left_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    lease = Lease("cpu", folder=tmp_path)
    for _ in range(5):
        with lease.exclusive():
            pass
        with lease.shared():
            pass
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_runtime_folder_is_private(tmp_path: Path) -> None:
    folder = runtime_folder({"QUASIM_RUNTIME_DIR": str(tmp_path / "run")})
    assert folder.stat().st_mode & 0o777 == 0o700


def test_runtime_folder_that_others_may_write_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(StorageError, match="others own or may write"):
        runtime_folder({"QUASIM_RUNTIME_DIR": str(tmp_path)})


def test_runtime_folder_behind_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(StorageError, match="is a link"):
        runtime_folder({"QUASIM_RUNTIME_DIR": str(tmp_path / "link")})
