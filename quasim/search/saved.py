"""How strategies are written: the generator, the prior and the trials, as plain values."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from quasim.errors import DataError
from quasim.search._base import Prior
from quasim.trial import Trial

OwnState = dict[str, tuple[float, ...]]
"""What one kind of strategy keeps besides the ledger and the generator, by name."""


class SavedRng(msgspec.Struct, frozen=True):
    """State of a PCG64 generator; its 128-bit words in hex, because JSON numbers end at 64 bits."""

    state: str
    inc: str
    has_uint32: int
    uinteger: int

    @classmethod
    def of(cls, rng: np.random.Generator) -> SavedRng:
        """What is written of a generator."""
        state = rng.bit_generator.state
        words = state["state"]
        return cls(f"{words['state']:x}", f"{words['inc']:x}", int(state["has_uint32"]), int(state["uinteger"]))

    def generator(self) -> np.random.Generator:
        """A generator that goes on from here."""
        bits = np.random.PCG64()
        bits.state = {
            "bit_generator": "PCG64",
            "state": {"state": int(self.state, 16), "inc": int(self.inc, 16)},
            "has_uint32": self.has_uint32,
            "uinteger": self.uinteger,
        }
        return np.random.Generator(bits)


class SavedPrior(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A prior but for its candidates, which are in the queue; ``Prior`` says what the parts are."""

    mean: tuple[float, ...]
    weight: tuple[float, ...]
    spread: tuple[float, ...] | None = None
    feasible: tuple[float, ...] | None = None
    energy: SavedPrior | None = None

    @classmethod
    def of(cls, prior: Prior) -> SavedPrior:
        """What is written of a prior."""
        return cls(
            mean=tuple(prior.mean.tolist()),
            weight=tuple(prior.weight.tolist()),
            spread=None if prior.spread is None else tuple(prior.spread.tolist()),
            feasible=None if prior.feasible is None else tuple(prior.feasible.tolist()),
            energy=None if prior.energy is None else cls.of(prior.energy),
        )

    def prior(self, size: int) -> Prior:
        """The prior of a space of ``size`` cells.

        Raises:
            DataError: it is of a space of another size.
        """
        return Prior(
            mean=_array(self.mean, size),
            weight=_array(self.weight, size),
            candidates=(),
            spread=None if self.spread is None else _array(self.spread, size),
            feasible=None if self.feasible is None else _array(self.feasible, size),
            energy=None if self.energy is None else self.energy.prior(size),
        )


class SavedState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A strategy as it is written; the cells of ``pending`` and ``queue`` are those of the space with this digest."""

    strategy: str
    space: str
    rng: SavedRng
    trials: tuple[Trial, ...]
    pending: tuple[int, ...]
    queue: tuple[int, ...]
    prior: SavedPrior | None
    own: OwnState


def _array(values: tuple[float, ...], size: int) -> npt.NDArray[np.float64]:
    if len(values) != size:
        raise DataError(f"a prior of {len(values)} cells does not fit a space of {size}", "its state is damaged")
    return np.array(values)
