from __future__ import annotations

import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from quasim.errors import ExitCode, MissingToolError, StorageError
from quasim.targets.c.compile import CCompiler, CompileError

SOURCE = "int quasim_run(void) { return 0; }\n"


@pytest.fixture(scope="module")
def compiler() -> CCompiler:
    return CCompiler.find()


def _program(folder: Path, text: str) -> Path:
    program = folder / "strange-cc"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    return program


def test_a_missing_compiler_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(MissingToolError, match="apt-get install gcc") as caught:
        CCompiler.find({"PATH": str(tmp_path)})
    assert caught.value.exit_code is ExitCode.MISSING_TOOL


def test_the_compiler_named_by_cc_goes_first_with_its_arguments() -> None:
    found = CCompiler.find({"CC": "gcc -pipe", "PATH": os.environ["PATH"]})
    assert found.command == (shutil.which("gcc"), "-pipe")
    assert "gcc" in found.version


def test_a_cc_that_is_no_program_is_refused_rather_than_replaced() -> None:
    with pytest.raises(MissingToolError, match="no-such-cc"):
        CCompiler.find({"CC": "no-such-cc", "PATH": os.environ["PATH"]})


def test_the_same_source_is_compiled_once(compiler: CCompiler, tmp_path: Path) -> None:
    first, second = (compiler.compile(SOURCE, tmp_path) for _ in range(2))
    assert (first.cached, second.cached) == (False, True)
    assert first.path == second.path
    assert first.compile_ns > 0
    assert second.compile_ns == 0


def test_source_flags_and_compiler_version_each_make_another_library(compiler: CCompiler, tmp_path: Path) -> None:
    other = CCompiler(compiler.command, "another version")
    made = [
        compiler.compile(SOURCE, tmp_path),
        compiler.compile(SOURCE + "\n", tmp_path),
        compiler.compile(SOURCE, tmp_path, extra_flags=["-g"]),
        other.compile(SOURCE, tmp_path),
    ]
    assert len({one.path for one in made}) == 4
    assert not any(one.cached for one in made)


def test_many_at_once_leave_one_whole_library_and_nothing_else(compiler: CCompiler, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: compiler.compile(SOURCE, tmp_path), range(8)))
    assert {one.path for one in made} == set(tmp_path.iterdir())


def test_a_refused_source_carries_what_the_compiler_said(compiler: CCompiler, tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="mistake"):
        compiler.compile("int quasim_run(void) { return mistake; }\n", tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_hung_compiler_is_ended_with_its_children(tmp_path: Path) -> None:
    notes = tmp_path / "child"
    program = _program(tmp_path, f"sleep 600 & echo $! > {notes}; wait")
    with pytest.raises(CompileError, match="longer than"):
        CCompiler((str(program),), "strange").compile(SOURCE, tmp_path / "cache", timeout_s=0.5)
    child = int(notes.read_text())
    deadline = time.monotonic() + 10
    while _runs(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _runs(child)


def _runs(process: int) -> bool:
    """A process that ended but was not reaped yet, as under an init that is slow, no longer runs."""
    try:
        os.kill(process, 0)
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_a_folder_that_cannot_be_written_is_named(compiler: CCompiler, tmp_path: Path) -> None:
    taken = tmp_path / "file"
    taken.write_text("")
    with pytest.raises(StorageError, match="file"):
        compiler.compile(SOURCE, taken / "cache")
