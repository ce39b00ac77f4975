"""The search space: typed parameters, constraints between them, and its encodings.

A configuration is known in three forms: a ``Genome`` (values), a *row* (one value index per parameter), and a
*cell* (its position in the enumeration, which all who hold the same space agree on).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import cached_property

import msgspec
import numpy as np
import numpy.typing as npt

from quasim.codec import from_json, to_json
from quasim.errors import SpaceError
from quasim.trial import Genome, Value

Rows = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]

MAX_PRODUCT = 1 << 24
"""Largest cartesian product that is enumerated: 16 M rows of 10 parameters take seconds and 700 MB."""


class Kind(str, Enum):
    """Whether the order of a parameter's values means something."""

    ORDINAL = "ordinal"
    CATEGORICAL = "categorical"


class Parameter(msgspec.Struct, frozen=True):
    """One gene: a name and the values it may take, in order."""

    name: str
    values: tuple[Value, ...]
    kind: Kind = Kind.ORDINAL

    def __post_init__(self) -> None:
        if not self.values:
            raise SpaceError(f"parameter {self.name!r} has no values", "list at least one")
        if len({(type(v), v) for v in self.values}) != len(self.values):
            raise SpaceError(f"parameter {self.name!r} lists a value twice: {self.values}", "list each once")
        if self.kind is Kind.ORDINAL and any(isinstance(v, str) for v in self.values):
            raise SpaceError(f"ordinal parameter {self.name!r} has text values: {self.values}", "make it categorical")


class AtMost(msgspec.Struct, frozen=True, tag="at_most"):
    """The product of the named parameters is at most ``bound``."""

    factors: tuple[str, ...]
    bound: int

    def holds(self, values: Mapping[str, npt.NDArray[np.generic]]) -> npt.NDArray[np.bool_]:
        """Which of the configurations satisfy it; ``values`` has one column per parameter."""
        product = np.prod([values[name].astype(np.float64) for name in self.factors], axis=0)
        return np.asarray(product <= self.bound)


class Divides(msgspec.Struct, frozen=True, tag="divides"):
    """``divisor`` divides the product of ``factors``."""

    divisor: str
    factors: tuple[str, ...]

    def holds(self, values: Mapping[str, npt.NDArray[np.generic]]) -> npt.NDArray[np.bool_]:
        """Which of the configurations satisfy it; ``values`` has one column per parameter."""
        product = np.prod([values[name].astype(np.int64) for name in self.factors], axis=0)
        return np.asarray(product % values[self.divisor].astype(np.int64) == 0)


class Listed(msgspec.Struct, frozen=True, tag="listed"):
    """Exactly these rows (value indices, one per parameter) are valid, as in a recorded space."""

    rows: tuple[tuple[int, ...], ...]


Constraint = AtMost | Divides | Listed


class SearchSpace(msgspec.Struct, frozen=True, dict=True, forbid_unknown_fields=True):
    """Parameters and constraints; validates when built.

    Raises:
        SpaceError: duplicate names, a constraint on an unknown parameter, or no valid configuration.
    """

    parameters: tuple[Parameter, ...]
    constraints: tuple[Constraint, ...] = ()
    default: Genome | None = None

    def __post_init__(self) -> None:
        names = [p.name for p in self.parameters]
        if not names or len(set(names)) != len(names):
            raise SpaceError(f"parameter names {names} are empty or repeat", "name each parameter once")
        for constraint in self.constraints:
            self._check_constraint(constraint, set(names))
        if self.default is not None and not self.contains(self.default):
            raise SpaceError(f"the default {self.default} is not in its space", "choose a valid default")

    def _check_constraint(self, constraint: Constraint, names: set[str]) -> None:
        if isinstance(constraint, Listed):
            cards = self.cardinalities
            for row in constraint.rows:
                if len(row) != len(cards) or any(not 0 <= i < c for i, c in zip(row, cards, strict=True)):
                    raise SpaceError(f"listed row {row} does not fit {len(cards)} parameters", "check the recording")
            return
        used = set(constraint.factors)
        if isinstance(constraint, Divides):
            used.add(constraint.divisor)
        if used - names:
            raise SpaceError(f"constraint names unknown parameters {sorted(used - names)}", f"use {sorted(names)}")

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Parameter names, in order."""
        return tuple(p.name for p in self.parameters)

    @cached_property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of values of each parameter."""
        return tuple(len(p.values) for p in self.parameters)

    @cached_property
    def _value_index(self) -> tuple[dict[tuple[type, Value], int], ...]:
        return tuple({(type(v), v): i for i, v in enumerate(p.values)} for p in self.parameters)

    @cached_property
    def rows(self) -> Rows:
        """All valid configurations, shape (size, parameters), in lexicographic order.

        Raises:
            SpaceError: the cartesian product is too large, or nothing satisfies the constraints.
        """
        listed = [c for c in self.constraints if isinstance(c, Listed)]
        if listed:
            rows = np.unique(np.array(listed[0].rows, dtype=np.int32).reshape(-1, len(self.parameters)), axis=0)
        else:
            rows = self._product()
        rows = rows[self.satisfied(rows)]
        if not len(rows):
            raise SpaceError("no configuration satisfies the constraints", "loosen one of them")
        rows.setflags(write=False)
        return rows

    def _product(self) -> Rows:
        size = int(np.prod(self.cardinalities, dtype=np.float64))
        if size > MAX_PRODUCT:
            raise SpaceError(f"the product of {size} configurations is too large", f"stay within {MAX_PRODUCT}")
        return np.stack(np.unravel_index(np.arange(size), self.cardinalities), axis=1).astype(np.int32)

    @cached_property
    def _listed_codes(self) -> tuple[npt.NDArray[np.int64], ...]:
        return tuple(
            np.unique(self._codes(np.array(c.rows, dtype=np.int32).reshape(-1, len(self.parameters))))
            for c in self.constraints
            if isinstance(c, Listed)
        )

    def _codes(self, rows: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        strides = np.cumprod((1, *self.cardinalities[:0:-1]))[::-1].astype(np.int64)
        return np.asarray(rows.astype(np.int64) @ strides)

    def satisfied(self, rows: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
        """Which of the given rows (n, parameters) satisfy every constraint."""
        valid = np.ones(len(rows), dtype=bool)
        columns = {
            p.name: np.array(p.values, dtype=object if p.kind is Kind.CATEGORICAL else None)[rows[:, i]]
            for i, p in enumerate(self.parameters)
        }
        for constraint in self.constraints:
            if not isinstance(constraint, Listed):
                valid &= constraint.holds(columns)
        for codes in self._listed_codes:
            valid &= np.isin(self._codes(rows), codes)
        return valid

    @property
    def size(self) -> int:
        """Number of valid configurations."""
        return len(self.rows)

    @cached_property
    def _codes_sorted(self) -> npt.NDArray[np.int64]:
        return self._codes(self.rows)

    def cells(self, rows: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        """Position in ``self.rows`` of each given row, shape (n,); −1 where the row is not valid."""
        codes = self._codes(rows)
        at = np.minimum(np.searchsorted(self._codes_sorted, codes), self.size - 1)
        return np.where(self._codes_sorted[at] == codes, at, -1)

    def cell(self, genome: Genome) -> int:
        """Position of a genome in the enumeration.

        Raises:
            SpaceError: the genome is not of this space.
        """
        at = int(self.cells(self.encode(genome)[None])[0])
        if at < 0:
            raise SpaceError(f"genome {genome} violates a constraint", "take it from the space")
        return at

    def genome_at(self, cell: int) -> Genome:
        """The genome at a position of the enumeration."""
        return self.decode(self.rows[cell])

    def decode(self, row: Sequence[int] | Rows) -> Genome:
        """The genome of a row of value indices."""
        return Genome({p.name: p.values[int(i)] for p, i in zip(self.parameters, row, strict=True)})

    def encode(self, genome: Mapping[str, Value]) -> Rows:
        """The row of a genome, whether or not it satisfies the constraints.

        Raises:
            SpaceError: a parameter is missing or unknown, or has a value that the space does not list.
        """
        if set(genome) != set(self.names):
            raise SpaceError(f"genome names {sorted(genome)} are not {sorted(self.names)}", "name every parameter once")
        row = []
        for parameter, index in zip(self.parameters, self._value_index, strict=True):
            value = genome[parameter.name]
            if (type(value), value) not in index:
                raise SpaceError(f"{parameter.name}={value!r} is not in {parameter.values}", "choose a listed value")
            row.append(index[type(value), value])
        return np.array(row, dtype=np.int32)

    def contains(self, genome: Mapping[str, Value]) -> bool:
        """Whether the genome is of this space and satisfies every constraint."""
        try:
            row = self.encode(genome)
        except SpaceError:
            return False
        return bool(self.satisfied(row[None])[0])

    def sample(self, rng: np.random.Generator, count: int) -> list[Genome]:
        """Distinct genomes drawn uniformly; fewer when the space is smaller."""
        cells = rng.choice(self.size, size=min(count, self.size), replace=False)
        return [self.genome_at(int(cell)) for cell in cells]

    def one_hot(self, rows: npt.NDArray[np.integer]) -> Floats:
        """One column per (parameter, value), shape (n, sum of cardinalities)."""
        offsets = np.cumsum((0, *self.cardinalities[:-1]))
        encoded = np.zeros((len(rows), sum(self.cardinalities)))
        np.put_along_axis(encoded, rows + offsets, 1.0, axis=1)
        return encoded

    def ordinal(self, rows: npt.NDArray[np.integer]) -> Floats:
        """Value indices scaled to [0, 1], shape (n, parameters); 0 for a parameter of one value."""
        spans = np.maximum(np.array(self.cardinalities) - 1, 1)
        return np.asarray(rows / spans, dtype=np.float64)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON, in hex: equal digests mean equal cells."""
        return hashlib.sha256(self.to_json()).hexdigest()

    def to_json(self) -> bytes:
        """Canonical JSON of the space."""
        return to_json(self)

    @classmethod
    def from_json(cls, data: bytes | str) -> SearchSpace:
        """Read what ``to_json`` wrote.

        Raises:
            DataError: not such a space.
        """
        return from_json(data, cls, "search space")
