"""Compile many sources at once, in processes of this host that outlive a call and may crash or hang."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol

from quasim.codec import from_msgpack
from quasim.errors import DataError
from quasim.machine import usable_cores
from quasim.targets.c.device import cache_folder
from quasim.targets.gpu.compile import AnySource, Result, kept
from quasim.targets.gpu.compiler_process import HEADER, Answer, Job, Unable, pack
from quasim.targets.gpu.image import CompileFailure
from quasim.worker.process import ROOT, without_secrets

LIMIT_S = 60.0
"""For one source, the start of a process included. Variants take 0.1 to 1 s, large products on a busy core ten."""

MOST_PROCESSES = 16
"""Each holds 200 MB once it has compiled; a round of a search rarely has more genomes."""

_FAREWELL_S = 2.0


class Compiler(Protocol):
    """Whoever compiles: processes of this host, or tasks on a cluster."""

    def compile_all(self, sources: Sequence[AnySource], arch: str) -> list[Result]:
        """An image or the reason why there is none for each source, in order."""
        ...


class LocalCompiler:
    """Processes of this host, started as they are needed. Not shared between threads.

    Args:
        processes: most at once; None: one for each usable core, up to 16.
        folder: where images are kept; None: in the user's cache.
        limit_s: for one source; a process that takes longer is killed.
    """

    def __init__(self, processes: int | None = None, folder: Path | None = None, limit_s: float = LIMIT_S) -> None:
        self._most = processes or min(MOST_PROCESSES, len(usable_cores()))
        self._folder = folder or cache_folder() / "triton"
        self._limit_s = limit_s
        self._idle: list[_Process] = []

    def __enter__(self) -> LocalCompiler:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start all processes, while whoever asks waits for something else: each takes a second or two."""
        self._idle += [_Process() for _ in range(self._most - len(self._idle))]

    @property
    def pids(self) -> tuple[int, ...]:
        """Processes that wait for work."""
        return tuple(process.pid for process in self._idle)

    def compile_all(self, sources: Sequence[AnySource], arch: str) -> list[Result]:
        """An image or the reason why there is none for each source, in order.

        Raises:
            UnknownNameError: we do not know the architecture.
            MissingToolError: Triton or NVRTC is not installed.
            StorageError: images cannot be kept here.
        """
        results = {number: kept(source, arch, self._folder) for number, source in enumerate(sources)}
        waiting = deque(number for number, result in results.items() if result is None)
        with selectors.DefaultSelector() as selector:
            try:
                while waiting or selector.get_map():
                    while waiting and len(selector.get_map()) < self._most:
                        self._start(selector, waiting.popleft(), sources, arch)
                    for number, result in self._finished(selector):
                        results[number] = result
            finally:
                # Whoever is still at work when we are interrupted has no one to answer to.
                for key in list(selector.get_map().values()):
                    key.data.kill()
        return [result for result in results.values() if result is not None]

    def close(self) -> None:
        """End all processes. Idempotent; a later call starts new ones."""
        while self._idle:
            self._idle.pop().close()

    def _start(self, selector: selectors.BaseSelector, number: int, sources: Sequence[AnySource], arch: str) -> None:
        process = self._waiting() or _Process()
        process.give(number, Job(sources[number], arch, str(self._folder), int(self._limit_s) + 1), self._limit_s)
        selector.register(process.answers, selectors.EVENT_READ, process)

    def _waiting(self) -> _Process | None:
        """One that waits for work; those that died meanwhile are let go, for no source is to blame."""
        while self._idle:
            process = self._idle.pop()
            if process.alive:
                return process
            process.close()
        return None

    def _finished(self, selector: selectors.BaseSelector) -> list[tuple[int, Result]]:
        """What has been answered, has crashed or is over its time, waiting for the first of these."""
        at_work = [key.data for key in selector.get_map().values()]
        wait_s = max(0.0, min(process.deadline for process in at_work) - time.monotonic())
        ready = {key.data for key, _ in selector.select(wait_s)}
        late = {process for process in at_work if time.monotonic() > process.deadline} - ready
        done = []
        for process in [process for process in at_work if process in ready | late]:
            selector.unregister(process.answers)
            result = process.answer() if process in ready else self._timeout()
            if process.usable and process in ready:
                self._idle.append(process)
            else:
                process.kill()
            if isinstance(result, Unable):
                raise result.error
            done.append((process.number, result))
        return done

    def _timeout(self) -> CompileFailure:
        return CompileFailure("timeout", f"not compiled within {self._limit_s:g} s")


class _Process:
    """One compiling process.

    Attributes:
        number: of the source that it is at.
        deadline: monotonic time at which it is given up.
        usable: whether it can take another.
    """

    def __init__(self) -> None:
        self.number, self.deadline, self.usable = -1, 0.0, True
        self._process = subprocess.Popen(
            [sys.executable, "-m", "quasim.targets.gpu.compiler_process"],
            cwd=ROOT,
            env=without_secrets(os.environ),
            start_new_session=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdin
        assert self._process.stdout
        self._jobs, self.answers = self._process.stdin, self._process.stdout

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def give(self, number: int, job: Job, limit_s: float) -> None:
        self.number, self.deadline = number, time.monotonic() + limit_s
        # One that has died meanwhile shows as an end of its answers.
        with suppress(BrokenPipeError):
            self._jobs.write(pack(job))
            self._jobs.flush()

    def answer(self) -> Answer:
        """What it says; a process that has nothing more to say has crashed."""
        try:
            header = self.answers.read(HEADER.size)
            body = self.answers.read(HEADER.unpack(header)[0]) if len(header) == HEADER.size else b""
            result: Answer = from_msgpack(body, Answer, "a compiler's answer")  # type: ignore[arg-type]
        except DataError:
            self.usable = False
            return CompileFailure("crashed", f"the compiler's process ended{self._how()}")
        return result

    def _how(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            code = self._process.wait(_FAREWELL_S)
            return f" by {signal.Signals(-code).name}" if code < 0 else f" with exit code {code}"
        return ""

    def kill(self) -> None:
        """End it and what it started at once."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self.close()

    def close(self) -> None:
        """Let it end: its input does."""
        with suppress(BrokenPipeError):
            self._jobs.close()
        try:
            self._process.wait(_FAREWELL_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self.answers.close()
