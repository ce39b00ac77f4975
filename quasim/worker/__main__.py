"""A worker process: ``python -m quasim.worker LIFELINE_FD MEMORY_BYTES DESK``, with ``cpu`` or ``cuda:0`` as its desk.

``cuda:0+FILE.py:NAME`` is a GPU's desk that also knows the user's own kernel described there: their file is executed
because their command line says so. No message can have a file executed.

Requests come in on stdin, replies leave on what was stdout. Variants that print do so to stderr, and cannot reach the
protocol.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quasim.worker.protocol import Reply, Request

    Serve = Callable[[Request], Reply]


def main() -> None:
    """Serve requests until the other side closes the pipe."""
    lifeline, memory_bytes, desk = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    threading.Thread(target=_die_with_parent, args=(lifeline,), name="lifeline", daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the agent's to handle; it ends us in order
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if desk == "cpu":
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    requests, replies = _own_pipes()
    # Imported under the limits, and after stdout is safe from whatever prints while it is imported.
    from quasim.errors import MissingToolError
    from quasim.worker.protocol import Unable, pack, read_request

    try:
        greeting, serve = _open(desk, memory_bytes)
    except MissingToolError as error:
        _write(replies, pack(Unable(error.what, error.do)))
        return
    _write(replies, pack(greeting))
    read = _reader(requests)
    while True:
        try:
            request = read_request(read)
        except EOFError:
            return
        _write(replies, pack(serve(request)))


def _open(name: str, memory_bytes: int) -> tuple[Reply, Serve]:
    """What the desk of that name says first, and how it serves; only what it needs is imported."""
    if name == "cpu":
        from quasim.worker.jobs import Desk

        cpu = Desk(memory_bytes)
        return cpu.greeting, cpu.serve
    from quasim.worker.cuda.named import open_named
    from quasim.worker.resident import limit_resident

    limit_resident(memory_bytes)
    device, facts = open_named(name)
    # PyTorch is imported by the desk, so only once it is known to be there.
    from quasim.worker.cuda.desk import Desk as CudaDesk

    gpu = CudaDesk(device, facts)
    return gpu.greeting, gpu.serve


def _die_with_parent(lifeline: int) -> None:
    """Wait in a thread, so that it works while native code runs: nobody ever writes into this pipe, it only ends."""
    os.read(lifeline, 1)
    os.killpg(0, signal.SIGKILL)


def _own_pipes() -> tuple[int, int]:
    """Keep the protocol's pipes on descriptors that variants do not know; stdin becomes empty, stdout stderr."""
    requests, replies = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, replies


def _reader(fd: int) -> Callable[[int], bytes]:
    def read(size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = os.read(fd, size - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    return read


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


if __name__ == "__main__":
    main()
