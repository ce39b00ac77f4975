"""How a node reaches its aggregator through Ray: with telemetry that is acknowledged, and pulses that are not."""

from __future__ import annotations

import logging
import time
from contextlib import suppress

import ray
from ray.actor import ActorHandle
from ray.exceptions import ActorDiedError, ActorUnavailableError, GetTimeoutError, RayTaskError

from actors.live import NodePulse
from actors.ray_aggregator import RayAggregator
from storage.segments import Ack, Refusal

LOG = logging.getLogger(__name__)

SUBMIT_TIMEOUT_S = 30.0
SUBMIT_ATTEMPTS = 5


class RayLink:
    """Reaches the aggregator by its name, through its restarts."""

    def __init__(self, aggregator: str) -> None:
        self._name = aggregator
        self._actor: ActorHandle[RayAggregator] | None = None

    def submit(self, batch: bytes) -> Ack | Refusal | None:
        """See ``Link.submit``. An aggregator that restarts is waited for; sending twice does no harm."""
        for attempt in range(SUBMIT_ATTEMPTS):
            try:
                return self._submit(batch)
            except ActorDiedError:
                self._actor = None
            except (ActorUnavailableError, GetTimeoutError, ValueError, RayTaskError) as error:
                LOG.warning("the aggregator did not answer (attempt %d): %s", attempt + 1, error)
            time.sleep(0.1 * 2**attempt)
        return None

    def _submit(self, batch: bytes) -> Ack | Refusal:
        if self._actor is None:
            self._actor = ray.get_actor(self._name)
        answer = ray.get(self._actor.submit.remote(batch), timeout=SUBMIT_TIMEOUT_S)
        if not isinstance(answer, (Ack, Refusal)):
            raise TypeError(f"the aggregator answered {type(answer).__name__}")
        return answer


class RayPulse:
    """Carries pulses to the aggregator; while one is on its way, later ones are not sent."""

    def __init__(self, aggregator: str) -> None:
        self._name = aggregator
        self._actor: ActorHandle[RayAggregator] | None = None
        self._sent: list[ray.ObjectRef[None]] = []

    def send(self, pulse: NodePulse) -> None:
        """Send without waiting.

        Raises:
            ValueError: there is no aggregator yet.
        """
        if self._sent and not ray.wait(self._sent, timeout=0)[0]:
            return
        try:
            self._drop()
        except ActorDiedError:  # by a successor of the same name
            self._actor = None
        if self._actor is None:
            self._actor = ray.get_actor(self._name)
        self._sent = [self._actor.pulse.options(max_task_retries=0).remote(pulse)]

    def _drop(self) -> None:
        sent, self._sent = self._sent, []
        with suppress(ActorUnavailableError, RayTaskError):
            ray.get(sent)
