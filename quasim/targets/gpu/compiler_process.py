"""A process that compiles what it is told on its input and answers on its output, until the input ends.

Compilers crash, print and hang: none of that may reach who asked.
"""

from __future__ import annotations

import os
import signal
import struct
import sys
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

from quasim.codec import from_msgpack, to_msgpack
from quasim.errors import MissingToolError, QuasimError, StorageError
from quasim.targets.gpu.compile import AnySource, Result, compile_source
from quasim.targets.gpu.image import CompileFailure

HEADER = struct.Struct("<Q")
"""Length of the message that follows, in bytes."""


class Job(msgspec.Struct, frozen=True):
    """What to compile.

    Attributes:
        limit_s: after this the process kills itself, whoever may have forgotten it.
    """

    source: AnySource
    arch: str
    folder: str
    limit_s: int


class Unable(msgspec.Struct, frozen=True, tag="unable"):
    """This machine cannot compile at all; that is nothing to blame a source for.

    Attributes:
        kind: what is missing: the compiler, or a folder for what it makes.
        what, do: of the error.
    """

    kind: Literal["tool", "storage"]
    what: str
    do: str

    @property
    def error(self) -> QuasimError:
        """As the process would have raised it."""
        return (MissingToolError if self.kind == "tool" else StorageError)(self.what, self.do)


Answer = Result | Unable


def pack(message: Job | Answer) -> bytes:
    """The message with its length in front."""
    body = to_msgpack(message)
    return HEADER.pack(len(body)) + body


def serve(jobs: BinaryIO, answers: BinaryIO) -> None:
    """Answer every job in turn."""
    while header := jobs.read(HEADER.size):
        (size,) = HEADER.unpack(header)
        job = from_msgpack(jobs.read(size), Job, "a compiler's job")
        signal.alarm(job.limit_s)
        answer = _answer(job)
        signal.alarm(0)
        answers.write(pack(answer))
        answers.flush()


def _answer(job: Job) -> Answer:
    try:
        return compile_source(job.source, job.arch, Path(job.folder))
    except (MissingToolError, StorageError) as error:
        return Unable("tool" if isinstance(error, MissingToolError) else "storage", error.what, error.do)
    except QuasimError as error:
        return CompileFailure("crashed", str(error))


def main() -> None:
    """Keep the real output for answers; what compilers print goes nowhere."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    import triton.compiler  # before the first job, so that its limit is not spent on importing

    assert triton.compiler
    with answers:
        serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
