"""The health endpoint of a node: one JSON document, on the loopback interface alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec

from quasim.codec import to_json
from quasim.errors import ConfigError

LOOPBACK = "127.0.0.1"


class Health(msgspec.Struct, frozen=True):
    """What ``/healthz`` answers, with status 200 where ``ready`` and 503 elsewhere.

    Attributes:
        node: its name in the fleet.
        address: of the head.
        live: the service looks after its raylet.
        ready: the raylet is a node of the cluster and takes work.
        state: waiting, joining, ready, draining, killing or over.
        pid: of ``ray start``; None: none runs.
        starts: raylets started so far.
        failures: of them in a row that ended by themselves.
        last_code: exit status of the last of these; None: none has ended so.
        last_words: what the present or last raylet printed last.
        next_start_s: seconds until the next start; None: one runs, or none will.
    """

    node: str
    address: str
    live: bool
    ready: bool
    state: str
    pid: int | None
    starts: int
    failures: int
    last_code: int | None
    last_words: tuple[str, ...]
    next_start_s: float | None


@contextmanager
def health_endpoint(port: int, health: Callable[[], Health]) -> Iterator[int]:
    """Answer ``GET /healthz`` while the block runs; yields the port.

    Raises:
        ConfigError: the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = 5

        def do_GET(self) -> None:
            if self.path != "/healthz":
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            now = health()
            body = to_json(now)
            self.send_response(HTTPStatus.OK if now.ready else HTTPStatus.SERVICE_UNAVAILABLE)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Probes come every few seconds: they are not worth a line each."""

    try:
        server = ThreadingHTTPServer((LOOPBACK, port), Handler)
    except OSError as error:
        raise ConfigError(f"health_port {port} cannot be used ({error.strerror})", "choose another, or 0") from error
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="health", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
