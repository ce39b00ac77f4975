"""What every answer says to the browser, and which hosts and origins are answered at all."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

LOOPBACK = frozenset(("127.0.0.1", "localhost", "::1"))

HEADERS = {
    # All scripts, styles and pictures are files of ours; data: is for the small icons of the style sheet.
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

ASSETS = "/static/"
"""Files of the page: a browser may keep them, and asks whether they are still the same. Figures it never keeps."""


def same_origin(origin: str | None, host: str | None) -> bool:
    """Whether a page of this very server asks.

    Behind a port forward or a proxy only the ``Host`` that the browser used tells which server that is.
    """
    return bool(host) and origin in (f"http://{host}", f"https://{host}")


class Guard:
    """ASGI middleware: refuses hosts that are not ours, and adds ``HEADERS`` to every answer.

    Args:
        hosts: names under which the server may be asked; None: any. A name of somebody else's that points to this
            machine (DNS rebinding) would otherwise be as good as ours to a browser.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str] | None) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return

        async def say(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers["Cache-Control"] = "no-cache" if scope["path"].startswith(ASSETS) else "no-store"
            await send(message)

        if self._hosts is None or _name(Headers(scope=scope).get("host", "")) in self._hosts:
            await self._app(scope, receive, say)
        elif scope["type"] == "websocket":
            await WebSocketClose(1008)(scope, receive, say)
        else:
            await PlainTextResponse("this server is not asked by that name\n", 421)(scope, receive, say)


def _name(host: str) -> str:
    """``[::1]:8710`` and ``localhost:8710`` without port and brackets; "" where it is no host."""
    try:
        parts = urlsplit(f"//{host}")
        return "" if parts.port == 0 else parts.hostname or ""
    except ValueError:  # of a port that is none, or of unpaired brackets
        return ""
