"""A toy protocol of two exchanges: nodes say that they are there, then those who did give their vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from aggregation.plain import PlainClient, PlainServer
from aggregation.rounds import Broadcast, Event, Instruction, MessageArrived, Opened, RoundSpec, Send
from quasim.space import Floats


class TwoStepServer:
    def __init__(self, spec: RoundSpec) -> None:
        self._spec = spec
        self._present: set[str] = set()
        self._second: PlainServer | None = None

    def handle(self, event: Event) -> Sequence[Instruction]:
        if self._second is not None:
            return self._second.handle(event)
        if isinstance(event, Opened):
            return [Broadcast(self._spec.roster, b"who is there?")]
        if isinstance(event, MessageArrived):
            self._present.add(event.node)
            if len(self._present) < len(self._spec.roster):
                return []
        return self._ask_those_present()

    def _ask_those_present(self) -> Sequence[Instruction]:
        self._second = PlainServer(replace(self._spec, roster=tuple(sorted(self._present))))
        (first,) = self._second.handle(Opened())
        return [Send(node, first.data) for node in first.nodes] if isinstance(first, Broadcast) else [first]


class TwoStepClient:
    def __init__(self, vector: Floats, policy: str) -> None:
        self._inner = PlainClient(vector, policy)

    def handle(self, data: bytes) -> list[bytes]:
        return [b"I am"] if data == b"who is there?" else self._inner.handle(data)
