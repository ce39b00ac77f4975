"""A worker process: ``python -m quasim.worker LIFELINE_FD MEMORY_BYTES``; requests come in on stdin, replies leave on
what was stdout. Variants that print do so to stderr, and cannot reach the protocol."""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
from collections.abc import Callable


def main() -> None:
    """Serve requests until the other side closes the pipe."""
    lifeline, memory_bytes = int(sys.argv[1]), int(sys.argv[2])
    threading.Thread(target=_die_with_parent, args=(lifeline,), name="lifeline", daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the agent's to handle; it ends us in order
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    requests, replies = _own_pipes()
    # Imported under the limits, and after stdout is safe from whatever prints while it is imported.
    from quasim.worker.jobs import Desk
    from quasim.worker.protocol import Ready, pack, read_request

    desk = Desk(memory_bytes)
    read = _reader(requests)
    _write(replies, pack(Ready()))
    while True:
        try:
            request = read_request(read)
        except EOFError:
            return
        _write(replies, pack(desk.serve(request)))


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
