"""The system's C compiler, and a cache of what it made, shared by all processes of a user."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from quasim.errors import MissingToolError, QuasimError, StorageError

CANDIDATES = ("gcc", "clang", "cc")

FLAGS = (
    *("-O2", "-march=native", "-fopenmp", "-fPIC", "-shared"),
    *("-ffp-contract=fast", "-fno-math-errno", "-Wno-psabi"),
)
"""-O2 is as fast as -O3 for code that is vectorised and unrolled as printed, and compiles in a third of the time.
Products and sums may fuse (gcc's default, not clang's), and a square root is one instruction where errno need not hear
of negative arguments; nothing of -ffast-math that changes a result is allowed: it reorders sums.
Vectors wider than a register are passed between our own functions alone, so how (psabi) does not matter."""

TIMEOUT_S = 60.0
"""Variants compile in about 0.2 s; one that takes this long makes the compiler spin."""


class CompileError(QuasimError):
    """The compiler refused a source, or took too long."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A shared library.

    Attributes:
        compile_ns: time in the compiler; 0 when it came from the cache.
    """

    path: Path
    compile_ns: int
    cached: bool


@dataclass(frozen=True, slots=True)
class CCompiler:
    """A C compiler.

    Attributes:
        command: program and leading arguments, as $CC may hold several words.
        version: first line of what it says of itself.
    """

    command: tuple[str, ...]
    version: str

    @classmethod
    def find(cls, environment: Mapping[str, str] | None = None) -> CCompiler:
        """$CC where it is set, else the first of gcc, clang and cc that is there.

        Raises:
            MissingToolError: there is none.
        """
        environment = os.environ if environment is None else environment
        given = environment.get("CC")
        for words in [shlex.split(given)] if given else [[name] for name in CANDIDATES]:
            program = shutil.which(words[0], path=environment.get("PATH"))
            if program:
                return cls((program, *words[1:]), _version(program))
        missing = f"CC={given!r} is no program" if given else f"none of {', '.join(CANDIDATES)} is installed"
        raise MissingToolError(f"no C compiler: {missing}", "install one, such as by `apt-get install gcc`, or set CC")

    def compile(
        self, source: str, folder: Path, *, timeout_s: float = TIMEOUT_S, extra_flags: Sequence[str] = ()
    ) -> Compiled:
        """Compile to a shared library in ``folder``, or take it from there when it was compiled before.

        The name is a digest of source, flags and compiler version; the file appears whole or not at all.

        Raises:
            CompileError: the compiler refused, or took longer than ``timeout_s``.
            StorageError: the folder cannot be written.
        """
        library = folder / f"{self._digest(source, extra_flags)}.so"
        if library.exists():
            return Compiled(library, 0, True)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle, made = tempfile.mkstemp(dir=folder, prefix=".making-")
            os.close(handle)
            try:
                start = time.perf_counter_ns()
                self._run(source, made, extra_flags, timeout_s)
                taken_ns = time.perf_counter_ns() - start
                Path(made).replace(library)
            finally:
                Path(made).unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(
                f"cannot compile in {folder}: {error}", "set QUASIM_CACHE_DIR to a writable folder"
            ) from error
        return Compiled(library, taken_ns, False)

    def _digest(self, source: str, extra_flags: Sequence[str]) -> str:
        parts = (*self.command, self.version, *FLAGS, *extra_flags, source)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def _run(self, source: str, made: str, extra_flags: Sequence[str], timeout_s: float) -> None:
        # Libraries among the extra flags must follow the source that needs them.
        command = (*self.command, *FLAGS, "-o", made, "-x", "c", "-", *extra_flags)
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
        )
        try:
            _, said = process.communicate(source.encode(), timeout=timeout_s)
        except subprocess.TimeoutExpired:
            # The driver has children: the whole group goes.
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise CompileError(f"the compiler took longer than {timeout_s:g} s", "simplify the kernel") from None
        if process.returncode:
            lines = said.decode(errors="replace").strip().splitlines()
            raise CompileError("; ".join(lines[:3]) or f"exit code {process.returncode}", "see the emitted source")


def _version(program: str) -> str:
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingToolError(f"{program} cannot be run: {error}", "install a C compiler, or set CC") from error
    return (said.stdout or said.stderr).split("\n", 1)[0].strip()
