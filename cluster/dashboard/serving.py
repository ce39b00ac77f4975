"""Where the server listens, what it refuses to be exposed to, and how uvicorn runs it."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from cluster.dashboard.guard import LOOPBACK
from quasim.errors import ConfigError

MOST_FRAME = 1 << 12
"""Bytes that a viewer may send at once: it has nothing to say."""

STOP_S = 2
"""Connections that are still open so long after the signal are cut."""


@dataclass(frozen=True, slots=True)
class Tls:
    """Certificate chain and private key, PEM files."""

    cert: Path
    key: Path

    @classmethod
    def of(cls, cert: Path | None, key: Path | None) -> Tls | None:
        """None where neither is given.

        Raises:
            ConfigError: one without the other, or they cannot be used.
        """
        if cert is None and key is None:
            return None
        if cert is None or key is None:
            raise ConfigError("TLS needs a certificate and its key", "give both --tls-cert and --tls-key")
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
        except OSError as error:  # of which ssl.SSLError is one
            raise ConfigError(
                f"TLS with {cert} and {key}: {error}", "give a PEM certificate and its own key"
            ) from error
        return cls(cert, key)


@dataclass(frozen=True, slots=True)
class Place:
    """Where to listen.

    Raises:
        ConfigError: other machines could read along, and nobody said that they may.
    """

    host: str
    port: int
    tls: Tls | None = None
    plain: bool = False

    def __post_init__(self) -> None:
        if not (self.local or self.tls or self.plain):
            raise ConfigError(
                f"without TLS others could read the token on the way to {self.host}",
                "give --tls-cert and --tls-key, or forward a port by ssh, or say --insecure-plain",
            )

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host in LOOPBACK:
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def hosts(self) -> frozenset[str] | None:
        """Names under which it may be asked; None: any, where others may reach it."""
        return LOOPBACK | {self.host} if self.local else None

    def listen(self) -> socket.socket:
        """A listening socket.

        Raises:
            ConfigError: the port is taken, or the address is not ours.
        """
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            return socket.create_server((self.host, self.port), family=family)
        except OSError as error:
            raise ConfigError(f"cannot listen on {self.host}:{self.port} ({error})", "choose another --port") from error

    def url(self, listening: socket.socket) -> str:
        """What to open in a browser."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{listening.getsockname()[1]}/"


class Server(uvicorn.Server):
    """A server that knows by which signal it was asked to end.

    Attributes:
        ended_by: None while it was not asked.
    """

    ended_by: int | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Finish what runs, and end."""
        self.ended_by = sig
        super().handle_exit(sig, frame)


def server(app: ASGIApp, tls: Tls | None = None) -> Server:
    """The server of an app; its ``run(sockets=[…])`` answers until SIGINT or SIGTERM."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="websockets-sansio",
        ws_max_size=MOST_FRAME,
        # Fifty times the same view deflated would cost more than all else.
        ws_per_message_deflate=False,
        ssl_certfile=str(tls.cert) if tls else None,
        ssl_keyfile=str(tls.key) if tls else None,
        timeout_graceful_shutdown=STOP_S,
    )
    return Server(config)
