"""Starting or joining Ray, always with token authentication on and said explicitly."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray.exceptions import AuthenticationError

from actors.log_lines import as_json
from quasim.errors import ConfigError, TrustError

NAMESPACE = "quasim"


def require_authentication() -> None:
    """Raise ``ConfigError`` where Ray's token authentication, which importing this package turns on, was turned off."""
    if os.environ.get("RAY_AUTH_MODE") != "token":
        raise ConfigError(
            f"RAY_AUTH_MODE={os.environ.get('RAY_AUTH_MODE')!r} turns Ray's authentication off",
            "unset it, or set token",
        )


def provide_token() -> None:
    """Make sure that there is a token: the given one, or a fresh one for this cluster alone."""
    if not any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _ray_may_log_text() -> bool:
    """Whether Ray may set up its own log of this process; where logs are JSON, what it says goes into ours."""
    if not as_json(os.environ):
        return True
    own = logging.getLogger("ray")
    own.handlers.clear()
    own.propagate = True
    own.setLevel(logging.ERROR)
    return False


@contextmanager
def local_cluster(cpus: int) -> Iterator[None]:
    """A Ray cluster on this machine that lives as long as the block."""
    require_authentication()
    provide_token()
    # Ray's usage report wants the network; a fleet's operator has not agreed to it.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(
        address="local",
        num_cpus=cpus,
        include_dashboard=False,
        namespace=NAMESPACE,
        log_to_driver=False,
        logging_level=logging.ERROR,
        configure_logging=_ray_may_log_text(),
    )
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def joined_cluster() -> Iterator[None]:
    """The Ray cluster that this process was submitted to, or that runs on this machine.

    Raises:
        ConfigError: there is none.
        TrustError: it wants a token that this process does not have.
    """
    require_authentication()
    try:
        ray.init(
            address="auto",
            namespace=NAMESPACE,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=_ray_may_log_text(),
        )
    except ConnectionError as error:
        raise ConfigError("no Ray cluster to join", "start one with `ray start --head`, or use `quasim run`") from error
    except AuthenticationError as error:
        raise TrustError(
            "the Ray cluster wants a token that this process does not have",
            "put it in ~/.ray/auth_token there, or its path in RAY_AUTH_TOKEN_PATH; jobs inherit no RAY_AUTH_TOKEN",
        ) from error
    try:
        yield
    finally:
        ray.shutdown()
