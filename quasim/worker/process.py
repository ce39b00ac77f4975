"""The agent's side of a worker: start it, ask it, kill it when it hangs, and start it again."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec

from quasim.errors import ConfigError, DataError, MissingToolError, QuasimError
from quasim.trial import Status
from quasim.worker.protocol import Ran, Ready, Reply, Request, Unable, pack, read_reply

ROOT = Path(__file__).resolve().parents[2]
"""Where ``quasim`` is imported from; the project itself may not be installed."""

START_TIMEOUT_S = 120.0
"""A fresh interpreter takes 0.2 s to start, but a loaded host may keep it waiting."""

FAREWELL_S = 2.0
"""How long a worker that was told to end may take before it is killed."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

BLAS_SPIN = {"OPENBLAS_THREAD_TIMEOUT": "20"}
"""Idle OpenBLAS threads spin for 2^20 clock cycles, a third of a millisecond, instead of 2^28, a tenth of a second.
That is long between launches that follow one another, and too short to take a core from whoever is timed next."""


class WorkerStartError(QuasimError):
    """A worker did not start: the limits or the installation are at fault, not a variant."""


class WorkerLostError(QuasimError):
    """The worker died or was killed over a request; the next request starts a new one.

    Attributes:
        status: ``CRASHED`` or ``TIMEOUT``.
    """

    def __init__(self, what: str, status: Status) -> None:
        super().__init__(what)
        self.status = status


class Limits(msgspec.Struct, frozen=True):
    """What a worker may take.

    Attributes:
        memory_bytes: of address space on a CPU; a variant that wants more gets none and fails or crashes. A GPU worker
            reserves far more than it uses: there it limits what is resident, and who takes more is killed.
        prepare_s: for making the inputs and the reference of a problem.
        run_s: for checking and timing one entry.
    """

    memory_bytes: int
    prepare_s: float = 300.0
    run_s: float = 10.0

    def __post_init__(self) -> None:
        if self.memory_bytes < 1 or self.prepare_s <= 0 or self.run_s <= 0:
            raise ConfigError(f"limits {self} are not above 0", "give bytes and seconds above 0")


class Worker:
    """One worker process, started at first use from a fresh interpreter. Not shared between threads.

    Args:
        threads: of OpenMP and of the library in the worker.
        desk: what it measures on: ``cpu``, or ``cuda:`` and an index.

    Attributes:
        starts: how many processes have been started so far; a new one has forgotten what was prepared.
        ready: how the running process has introduced itself; None until it has.
    """

    def __init__(self, limits: Limits, threads: int, desk: str = "cpu") -> None:
        self.limits = limits
        self.starts = 0
        self.ready: Ready | None = None
        self._threads = threads
        self._desk = desk
        self._process: subprocess.Popen[bytes] | None = None
        self._lifeline = -1

    @property
    def pid(self) -> int | None:
        """Process id; None while none runs."""
        return self._process.pid if self._process else None

    def launch(self) -> None:
        """Make sure that a process is on its way; ``start`` waits for it."""
        if self._process is None:
            self._process, self._lifeline = _spawn(self._threads, self.limits.memory_bytes, self._desk)
            self.starts += 1

    def start(self) -> Ready:
        """Make sure that a process runs.

        Raises:
            WorkerStartError: it cannot be started.
            MissingToolError: this machine lacks what its desk needs.
        """
        self.launch()
        if self.ready is None:
            self.ready = self._introduction()
        return self.ready

    def _introduction(self) -> Ready:
        try:
            first = self._receive(START_TIMEOUT_S)
        except WorkerLostError as error:
            raise WorkerStartError(
                f"a worker with {self.limits.memory_bytes >> 20} MiB did not start: {error.what}",
                "see its error output above, or allow it more memory",
            ) from error
        if isinstance(first, Ready):
            return first
        self._bury()
        if isinstance(first, Unable):
            raise MissingToolError(first.what, first.do)
        raise WorkerStartError(f"a worker began with {type(first).__name__}", "run one version of quasim")

    def call(self, request: Request, timeout_s: float) -> Reply:
        """Ask, and wait for the answer. A worker that is spent ends with its answer.

        Raises:
            WorkerLostError: it died, hung, or spoke nonsense; it is gone then.
            WorkerStartError: it cannot be started.
        """
        self.start()
        assert self._process is not None
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it died meanwhile: reading its answer tells how
            _write(self._process.stdin, pack(request))
        reply = self._receive(timeout_s)
        if isinstance(reply, Ran) and reply.spent:
            self._bury()
        return reply

    def close(self) -> None:
        """End the process, if one runs."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        with suppress(EOFError, TimeoutError):
            _Reader(self._process.stdout.fileno(), time.monotonic() + FAREWELL_S)(1)
        self._bury()

    def _receive(self, timeout_s: float) -> Reply:
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            return read_reply(_Reader(self._process.stdout.fileno(), time.monotonic() + timeout_s))
        except EOFError:
            raise WorkerLostError(_last_words(self._bury()), Status.CRASHED) from None
        except TimeoutError:
            self._bury()
            raise WorkerLostError(f"no answer within {timeout_s:g} s, killed", Status.TIMEOUT) from None
        except DataError as error:
            self._bury()
            raise WorkerLostError(f"the pipe to the worker was written into: {error.what}", Status.CRASHED) from error
        except BaseException:
            self._bury()  # interrupted between request and answer: what it would say next answers nothing
            raise

    def _bury(self) -> int:
        """Kill the whole process group, reap it, and close its pipes; the exit code, negative for a signal.

        A process whose pipe has ended has its exit code already: this signal does not change it.
        """
        process, self._process, self.ready = self._process, None, None
        assert process is not None
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
        os.close(self._lifeline)
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()
        return code


def _write(pipe: IO[bytes], data: bytes) -> None:
    """All of it: an unbuffered pipe takes what fits, and a compiled kernel may not."""
    while data:
        data = data[pipe.write(data) :]


def _spawn(threads: int, memory_bytes: int, desk: str) -> tuple[subprocess.Popen[bytes], int]:
    """A new worker, and our end of its lifeline: the kernel closes it when we die, and that ends the worker."""
    watched, lifeline = os.pipe()
    try:
        # ROOT is the working directory because -m puts that first on the path. Never a fork: threads, locks and the
        # lifelines of other workers would come along.
        process = subprocess.Popen(
            [sys.executable, "-m", "quasim.worker", str(watched), str(memory_bytes), desk],
            bufsize=0,
            cwd=ROOT,
            env={**without_secrets(os.environ), **dict.fromkeys(THREAD_VARIABLES, str(threads)), **BLAS_SPIN},
            pass_fds=(watched,),
            start_new_session=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
    except BaseException:
        os.close(lifeline)
        raise
    finally:
        os.close(watched)
    return process, lifeline


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """What a worker may see: variants run there, and have no business with the cluster's token."""
    return {name: value for name, value in environment.items() if not name.startswith("RAY_AUTH_TOKEN")}


class _Reader:
    """Reads exactly n bytes from a pipe before a deadline."""

    def __init__(self, fd: int, deadline: float) -> None:
        self._fd, self._deadline = fd, deadline
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)

    def __call__(self, size: int) -> bytes:
        """Raises ``EOFError`` when the other side is gone, ``TimeoutError`` when time is up."""
        data = b""
        while len(data) < size:
            if not self._poll.poll(max(0.0, self._deadline - time.monotonic()) * 1000):
                raise TimeoutError
            part = os.read(self._fd, size - len(data))
            if not part:
                raise EOFError
            data += part
        return data


def _last_words(code: int) -> str:
    if code >= 0:
        return f"the worker exited with code {code}"
    name = signal.Signals(-code).name
    hint = ", as the system does when memory runs out" if name == "SIGKILL" else ""
    return f"killed by {name}{hint}"
