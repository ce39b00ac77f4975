"""The server: hands out the page, opens sessions, answers for views, and pushes what changed. It changes nothing."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from contextlib import asynccontextmanager, suppress
from functools import partial
from math import ceil
from pathlib import Path
from urllib.parse import parse_qs

import msgspec
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from cluster.dashboard.access import SESSION_S, Access, Refused
from cluster.dashboard.guard import LOOPBACK, Guard, same_origin
from cluster.dashboard.hub import MOST_VIEWERS, Viewer
from cluster.dashboard.names import Names
from cluster.dashboard.runs import Runs
from quasim.errors import QuasimError, UnknownNameError

LOG = logging.getLogger(__name__)

STATIC = Path(__file__).parent / "static"

MOST_BODY = 4096
"""Bytes of a request: a token and its wrapping."""

MOST_DIGITS = 15
"""Of the number of a cycle."""

SEND_S = 30.0
"""A viewer whose connection takes nothing for so long is gone."""


_GONE = (asyncio.TimeoutError, WebSocketDisconnect)
"""How a viewer's end shows while something is sent to it."""


class _Login(msgspec.Struct, frozen=True):
    token: str


class Dashboard:
    """The handlers of one server.

    Args:
        secure: it is reached by TLS alone, and so are its cookies.
    """

    def __init__(self, runs: Runs, access: Access, secure: bool) -> None:
        self._runs, self._access, self._secure = runs, access, secure

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Open the newest run before anybody asks, and close all in the end."""
        with suppress(QuasimError):  # who asks is told
            await self._runs.get("")
        try:
            yield
        finally:
            await self._runs.close()

    async def page(self, _: Request) -> Response:
        """The page, the same for everybody; it asks for the token when it is not admitted."""
        return FileResponse(STATIC / "index.html")

    async def health(self, _: Request) -> Response:
        """Whether the server lives; tells nothing of the run."""
        return JSONResponse({"status": "ok"})

    async def login(self, request: Request) -> Response:
        """A session for the token, as a cookie that no script can read."""
        if _foreign(request):
            return _error(403, "this login comes from another site", "open the dashboard itself")
        json = request.headers.get("content-type", "").startswith("application/json")
        token = _token(await request.body(), json)
        answer = self._access.login(request.client.host if request.client else "", token)
        if isinstance(answer, Refused):
            return _refusal(answer)
        response = JSONResponse({"status": "ok"}) if json else RedirectResponse("/", 303)
        response.set_cookie(
            _cookie(request),
            answer.session,
            max_age=int(SESSION_S),
            httponly=True,
            samesite="strict",
            secure=self._secure,
        )
        return response

    async def logout(self, request: Request) -> Response:
        """End the session; what it has open gets no more."""
        if _foreign(request):
            return _error(403, "this logout comes from another site", "open the dashboard itself")
        self._access.logout(_session(request))
        response = JSONResponse({"status": "ok"})
        response.delete_cookie(_cookie(request), httponly=True, samesite="strict", secure=self._secure)
        return response

    async def view(self, request: Request) -> Response:
        """A view as JSON: ``?until=`` replays, ``?run=`` chooses among several."""
        if not self._access.admits(_session(request)):
            return _error(401, "not logged in", "log in with the dashboard's token")
        until = request.query_params.get("until")
        if until is not None and not (until.isascii() and until.isdigit() and len(until) <= MOST_DIGITS):
            return _error(400, "until is not the number of a cycle", "give 0 or more")
        refresher = await self._runs.get(request.query_params.get("run", ""))
        found = await refresher.view(request.path_params["view"], None if until is None else int(until))
        return Response(found, media_type="application/json")

    async def socket(self, socket: WebSocket) -> None:
        """Push every view now and whenever it changed."""
        session = _session(socket)
        ours = same_origin(socket.headers.get("origin"), socket.headers.get("host"))
        if not ours or not self._access.admits(session):
            await socket.close(1008)
            return
        try:
            refresher = await self._runs.get(socket.query_params.get("run", ""))
        except QuasimError:
            await socket.close(1008)
            return
        if self._runs.viewers >= MOST_VIEWERS:
            await socket.close(1013)
            return
        viewer = Viewer()
        refresher.join(viewer)  # before anything is awaited: those who come at once are counted, too
        try:
            await socket.accept()
            await _first(self._send(socket, viewer, session), _gone(socket))
        finally:
            refresher.leave(viewer)

    async def _send(self, socket: WebSocket, viewer: Viewer, session: str) -> None:
        """Until the session ends or the connection takes no more."""
        while True:
            message = await viewer.next()
            if not self._access.admits(session):
                await socket.close(1008)
                return
            await asyncio.wait_for(socket.send_text(message), SEND_S)


def create_app(
    run: Path,
    token: str,
    *,
    many: bool = False,
    names: Names | None = None,
    secure: bool = False,
    hosts: Collection[str] | None = LOOPBACK,
    clock: Callable[[], float] = time.monotonic,
) -> Starlette:
    """The dashboard of a run.

    Args:
        run: its folder; of ``many`` runs, the folder that they are in.
        token: opens sessions.
        names: of hashed ids; None: hashed they stay.
        secure: it is reached by TLS alone.
        hosts: names under which it may be asked; None: any.
        clock: of sessions and log-ins, seconds, monotonic.

    Raises:
        StorageError: there is no such run.
    """
    shown = names or Names()
    desk = Dashboard(Runs(run, shown, many=many), Access(token, clock), secure)
    routes = [
        Route("/", desk.page),
        Route("/health", desk.health),
        Route("/login", desk.login, methods=["POST"]),
        Route("/logout", desk.logout, methods=["POST"]),
        Route("/api/{view}", desk.view),
        WebSocketRoute("/ws", desk.socket),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(Guard, hosts=hosts)],
        exception_handlers={QuasimError: partial(_quasim_error, shown)},
        lifespan=desk.lifespan,
        max_body_size=MOST_BODY,
    )


async def _quasim_error(names: Names, _: Request, error: Exception) -> Response:
    assert isinstance(error, QuasimError)
    status = 404 if isinstance(error, UnknownNameError) else 500
    return _error(status, names.text(error.what), names.text(error.do))


def _error(status: int, what: str, do: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": what, "do": do}, status, headers)


def _refusal(answer: Refused) -> Response:
    if not answer.wait_s:
        return _error(401, "this is not the dashboard's token", "copy it from the file that its start named")
    seconds = ceil(answer.wait_s)
    return _error(429, "too many wrong tokens", f"wait {seconds} s", {"Retry-After": str(seconds)})


def _token(body: bytes, json: bool) -> str:
    """What was given as token; "" where nothing was."""
    if json:
        try:
            return msgspec.json.decode(body, type=_Login).token
        except msgspec.MsgspecError:
            return ""
    return parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0]


def _foreign(request: Request) -> bool:
    """Whether the page of another site asks; who is no browser names none."""
    origin = request.headers.get("origin")
    return origin is not None and not same_origin(origin, request.headers.get("host"))


def _cookie(connection: HTTPConnection) -> str:
    """A browser keeps one jar for all ports of a host, and several dashboards may run there."""
    return f"quasim_{connection.url.port or 'session'}"


def _session(connection: HTTPConnection) -> str:
    return connection.cookies.get(_cookie(connection), "")


async def _gone(socket: WebSocket) -> None:
    """Until the other side has closed; what it says is not listened to."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


async def _first(*ends: Coroutine[object, object, None]) -> None:
    """Until one of them has ended; the others are cancelled."""
    tasks = [asyncio.create_task(end) for end in ends]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(ended, Exception) and not isinstance(ended, _GONE):
            raise ended
