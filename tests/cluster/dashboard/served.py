"""A real server on a port of its own, for as long as a test needs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from threading import Thread

from starlette.types import ASGIApp

from cluster.dashboard.serving import Place, Tls, server


@contextmanager
def served(app: ASGIApp, tls: Tls | None = None) -> Iterator[str]:
    """The address under which an app is answered, without a slash at its end."""
    place, running = Place("127.0.0.1", 0, tls), server(app, tls)
    with closing(place.listen()) as listening:
        thread = Thread(target=running.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield place.url(listening).rstrip("/")
        finally:
            running.should_exit = True
            thread.join(30)
            assert not thread.is_alive(), "the server does not end"
