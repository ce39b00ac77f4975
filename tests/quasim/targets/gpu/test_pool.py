"""Sources are compiled in processes that may crash or hang, and that end with their owner."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import msgspec
import pytest

from quasim.errors import StorageError, UnknownNameError
from quasim.kernels import family
from quasim.targets.gpu.image import CompileFailure, Image
from quasim.targets.gpu.pool import LocalCompiler
from quasim.targets.triton.source import Source, source
from tests.quasim.targets.triton.variants import FLAT, genome


def add(block: int) -> Source:
    return source(family("add").kernel, genome(FLAT, block=block), {"rows": 64, "cols": 64})


def with_line(line: str) -> Source:
    """A module that does something when it is imported."""
    text = add(256)
    return msgspec.structs.replace(text, text=f"{line}\n{text.text}")


def test_results_come_in_order_and_one_crash_harms_no_other(tmp_path: Path) -> None:
    crash = with_line("import os; os.kill(os.getpid(), 11)")
    with LocalCompiler(processes=1, folder=tmp_path) as compiler:
        first, crashed, last = compiler.compile_all([add(256), crash, add(512)], "sm_90")
        assert isinstance(first, Image)
        assert isinstance(last, Image)
        assert first.binary != last.binary
        assert isinstance(crashed, CompileFailure)
        assert (crashed.stage, crashed.reason) == ("crashed", "the compiler's process ended by SIGSEGV")


def test_a_process_that_hangs_is_killed(tmp_path: Path) -> None:
    with LocalCompiler(processes=1, folder=tmp_path, limit_s=2.0) as compiler:
        (result,) = compiler.compile_all([with_line("import time; time.sleep(1000)")], "sm_90")
        assert result == CompileFailure("timeout", "not compiled within 2 s")
        assert compiler.pids == ()


def test_processes_stay_for_the_next_call_and_end_when_closed(tmp_path: Path) -> None:
    compiler = LocalCompiler(processes=1, folder=tmp_path)
    compiler.compile_all([add(256)], "sm_90")
    before = compiler.pids
    compiler.compile_all([add(512)], "sm_90")
    assert compiler.pids == before
    compiler.close()
    compiler.close()
    for pid in before:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_process_that_died_while_it_waited_is_no_sources_fault(tmp_path: Path) -> None:
    with LocalCompiler(processes=1, folder=tmp_path) as compiler:
        compiler.compile_all([add(256)], "sm_90")
        (before,) = compiler.pids
        os.kill(before, signal.SIGKILL)
        os.waitid(os.P_PID, before, os.WEXITED | os.WNOWAIT)
        (result,) = compiler.compile_all([add(512)], "sm_90")
        assert isinstance(result, Image)
        assert before not in compiler.pids


def test_a_folder_that_cannot_be_written_fails_the_call_and_no_source(tmp_path: Path) -> None:
    inside_a_file = tmp_path / "file"
    inside_a_file.touch()
    with LocalCompiler(processes=1, folder=inside_a_file) as compiler, pytest.raises(StorageError, match="cannot read"):
        compiler.compile_all([add(256)], "sm_90")
    with LocalCompiler(processes=1, folder=Path("/proc/none")) as compiler:
        with pytest.raises(StorageError, match="cannot write"):
            compiler.compile_all([add(256)], "sm_90")
        assert len(compiler.pids) == 1


def test_what_is_kept_needs_no_process(tmp_path: Path) -> None:
    with LocalCompiler(processes=1, folder=tmp_path) as compiler:
        made = compiler.compile_all([add(256)], "sm_90")
    again = LocalCompiler(processes=1, folder=tmp_path)
    assert again.compile_all([add(256)], "sm_90") == made
    assert again.pids == ()


def test_nothing_to_compile_is_nothing(tmp_path: Path) -> None:
    assert LocalCompiler(folder=tmp_path).compile_all([], "sm_90") == []


def test_unknown_architecture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError):
        LocalCompiler(folder=tmp_path).compile_all([add(256)], "sm_12")


def test_processes_started_beforehand_are_those_that_compile(tmp_path: Path) -> None:
    with LocalCompiler(processes=1, folder=tmp_path) as compiler:
        compiler.start()
        before = compiler.pids
        assert len(before) == 1
        compiler.start()
        compiler.compile_all([add(256)], "sm_90")
        assert compiler.pids == before
