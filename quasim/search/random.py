"""Temporary."""
from __future__ import annotations
from collections.abc import Sequence
import msgspec
import numpy as np
from quasim.codec import from_json, to_json
from quasim.search._base import Prior
from quasim.space import SearchSpace
from quasim.trial import Genome, Status, Trial


class RandomSearch:
    name = "random"
    def __init__(self, space: SearchSpace, seed: int) -> None:
        self.space, self.rng = space, np.random.default_rng(seed)
        self.known: dict[Genome, Trial] = {}
        self.queue: list[Genome] = []
    def ask(self, count: int) -> list[Genome]:
        out = [g for g in self.queue if g not in self.known][:count]
        for c in self.rng.permutation(self.space.size):
            if len(out) >= count: break
            g = self.space.genome_at(int(c))
            if g not in self.known and g not in out: out.append(g)
        return out
    def tell(self, trials: Sequence[Trial]) -> None:
        self.known.update({t.genome: t for t in trials})
    def adopt(self, prior: Prior) -> None:
        self.queue = list(prior.candidates)
    def forget(self) -> None:
        self.queue = [t.genome for t in self.best(5)]; self.known.clear()
    def best(self, count: int = 1) -> list[Trial]:
        return sorted((t for t in self.known.values() if t.status is Status.OK), key=lambda t: t.time_ns)[:count]
    def entropy(self) -> float: return 1.0
    def state(self) -> bytes:
        return msgspec.json.encode([self.rng.bit_generator.state["state"]["state"].__str__(), self.rng.bit_generator.state["state"]["inc"].__str__(), to_json(list(self.known.values())).decode(), to_json(self.queue).decode()])
    def restore(self, state: bytes) -> None:
        a, b, k, q = msgspec.json.decode(state)
        s = self.rng.bit_generator.state; s["state"] = {"state": int(a), "inc": int(b)}; self.rng.bit_generator.state = s
        self.known = {t.genome: t for t in from_json(k, list[Trial])}; self.queue = from_json(q, list[Genome])
