"""Calls of actors whose errors are ours again on arrival."""

from __future__ import annotations

from typing import Any

import ray
from ray.exceptions import ActorUnschedulableError, GetTimeoutError, RayActorError, RayTaskError

from quasim.errors import QuasimError

ANSWER_TIMEOUT_S = 600.0
"""Longer than any single call takes but a cycle, which has a limit of its own."""


def get(call: Any, whom: str) -> Any:
    """The result of an actor's call; what the actor raised as one of our errors stays that error."""
    try:
        return ray.get(call, timeout=ANSWER_TIMEOUT_S)
    except RayTaskError as error:
        if isinstance(error.cause, QuasimError):
            raise error.cause from error
        raise QuasimError(f"{whom} failed: {error.cause!r}", "see the logs of its Ray actor") from error
    except (RayActorError, ActorUnschedulableError) as error:
        raise QuasimError(
            f"{whom} cannot be reached: {_first_lines(error)}", "see the logs of its Ray actor"
        ) from error
    except GetTimeoutError as error:
        raise QuasimError(f"{whom} did not answer within {ANSWER_TIMEOUT_S:g} s", "see `ray status`") from error


def _first_lines(error: Exception) -> str:
    """A dead actor's story, shortened to what its constructor said last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
