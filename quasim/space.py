"""The search space: typed parameters, constraints between them, and its encodings.

A configuration is known in three forms: a ``Genome`` (values), a *row* (one value index per parameter), and a
*cell* (its position in the enumeration, which all who hold the same space agree on).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import cached_property

import msgspec
import numpy as np
import numpy.typing as npt

from quasim.codec import from_json, to_json
from quasim.errors import SpaceError
from quasim.trial import Genome, Problem, Value

Rows = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]

MAX_PRODUCT = 1 << 24
"""Largest cartesian product that is enumerated: 16 M rows of 10 parameters take seconds and 700 MB."""

MAX_CODES = 1 << 62
"""Largest cartesian product of a listed space: its combinations are numbered in 64 bits."""


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
        if any(isinstance(v, float) and not math.isfinite(v) for v in self.values):
            raise SpaceError(f"parameter {self.name!r} has values that are not finite: {self.values}", "drop them")
        if self.kind is Kind.ORDINAL and any(isinstance(v, str) for v in self.values):
            raise SpaceError(f"ordinal parameter {self.name!r} has text values: {self.values}", "make it categorical")

    def all_of(self, *kinds: type) -> bool:
        """Whether every value is of one of the types."""
        return all(isinstance(v, kinds) for v in self.values)


class AtMost(msgspec.Struct, frozen=True, tag="at_most", omit_defaults=True):
    """The product of the named parameters, divided by that of the parameters ``per``, is at most ``bound``."""

    factors: tuple[str, ...]
    bound: int
    per: tuple[str, ...] = ()

    def holds(self, values: Mapping[str, npt.NDArray[np.generic]]) -> npt.NDArray[np.bool_]:
        """Which of the configurations satisfy it; ``values`` has one column per parameter."""
        product = np.prod([values[name].astype(np.float64) for name in self.factors], axis=0)
        per = np.prod([values[name].astype(np.float64) for name in self.per], axis=0)
        return np.asarray(product <= self.bound * per)


class Divides(msgspec.Struct, frozen=True, tag="divides"):
    """``divisor`` divides the product of ``factors``."""

    divisor: str
    factors: tuple[str, ...]

    def holds(self, values: Mapping[str, npt.NDArray[np.generic]]) -> npt.NDArray[np.bool_]:
        """Which of the configurations satisfy it; ``values`` has one column per parameter."""
        product = np.prod([values[name].astype(np.int64) for name in self.factors], axis=0)
        return np.asarray(product % values[self.divisor].astype(np.int64) == 0)


class Implies(msgspec.Struct, frozen=True, tag="implies"):
    """Where ``name`` has the value ``value``, ``other`` has one of ``others``."""

    name: str
    value: Value
    other: str
    others: tuple[Value, ...]

    def holds(self, values: Mapping[str, npt.NDArray[np.generic]]) -> npt.NDArray[np.bool_]:
        """Which of the configurations satisfy it; ``values`` has one column per parameter."""
        return np.asarray((values[self.name] != self.value) | np.isin(values[self.other], self.others))


class Listed(msgspec.Struct, frozen=True, tag="listed"):
    """Exactly these rows (value indices, one per parameter) are valid, as in a recorded space."""

    rows: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, rows: Rows) -> Listed:
        """Those of an array, shape (n, parameters)."""
        return cls(tuple(map(tuple, rows.tolist())))


Constraint = AtMost | Divides | Implies | Listed


class SearchSpace(msgspec.Struct, frozen=True, dict=True, forbid_unknown_fields=True):
    """Parameters and constraints; validates when built.

    Raises:
        SpaceError: duplicate names, a constraint on an unknown or unfit parameter, too many combinations, no valid
            configuration, or a default that is not one.
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
        if math.prod(self.cardinalities) > MAX_CODES:
            raise SpaceError(f"{math.prod(self.cardinalities)} combinations overflow 64 bits", "drop parameters")
        # Enumerated at once: every user of a space needs its rows, and an empty space must not exist.
        _ = self.rows
        if self.default is not None and not self.contains(self.default):
            raise SpaceError(f"the default {self.default} is not in its space", "choose a valid default")

    def _check_constraint(self, constraint: Constraint, names: set[str]) -> None:
        if isinstance(constraint, Listed):
            cards = self.cardinalities
            for row in constraint.rows:
                if len(row) != len(cards) or any(not 0 <= i < c for i, c in zip(row, cards, strict=True)):
                    raise SpaceError(f"listed row {row} does not fit {len(cards)} parameters", "check the recording")
            return
        if isinstance(constraint, Implies):
            self._check_implied(constraint)
            return
        used = set(constraint.factors)
        used.update(constraint.per if isinstance(constraint, AtMost) else (constraint.divisor,))
        if used - names:
            raise SpaceError(f"constraint names unknown parameters {sorted(used - names)}", f"use {sorted(names)}")
        numbers = (int,) if isinstance(constraint, Divides) else (int, float)
        for parameter in self.parameters:
            if parameter.name in used and not parameter.all_of(*numbers):
                raise SpaceError(f"{constraint} multiplies {parameter.name} of {parameter.values}", "use numbers")
            if isinstance(constraint, Divides) and parameter.name == constraint.divisor and 0 in parameter.values:
                raise SpaceError(f"{constraint} divides by 0", f"drop 0 from {parameter.name}")

    def _check_implied(self, constraint: Implies) -> None:
        known = {parameter.name: parameter.values for parameter in self.parameters}
        for name, values in ((constraint.name, (constraint.value,)), (constraint.other, constraint.others)):
            if name not in known or not set(values) <= set(known[name]):
                raise SpaceError(f"{constraint} names {name}={values}", "use parameters and values of the space")

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
        """All valid configurations, shape (size, parameters), in lexicographic order."""
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
        size = math.prod(self.cardinalities)
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

    @cached_property
    def gene_offsets(self) -> npt.NDArray[np.int64]:
        """First one-hot column of each parameter, shape (parameters,)."""
        return np.cumsum((0, *self.cardinalities[:-1]))

    @cached_property
    def gene_owners(self) -> npt.NDArray[np.int64]:
        """Parameter of each one-hot column, shape (sum of cardinalities,)."""
        return np.repeat(np.arange(len(self.parameters)), self.cardinalities)

    @cached_property
    def gene_values(self) -> npt.NDArray[np.int64]:
        """Value index of each one-hot column, shape (sum of cardinalities,)."""
        return np.concatenate([np.arange(count) for count in self.cardinalities])

    def neighbours(self, rows: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        """Cells one step away: the rows (n, parameters) with one value replaced.

        Returns:
            Shape (n, sum of cardinalities), in the order of the one-hot columns; −1 where the value was there already
            or the result is not valid.
        """
        genes = np.arange(len(self.gene_owners))
        changed = np.repeat(rows[:, None, :], len(genes), axis=1)
        changed[:, genes, self.gene_owners] = self.gene_values
        found = self.cells(changed.reshape(-1, len(self.parameters))).reshape(len(rows), len(genes))
        found[rows[:, self.gene_owners] == self.gene_values] = -1
        return found

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

    def require(self, genomes: Sequence[Genome], problem: Problem) -> None:
        """Hold genomes that somebody gives against the space of a problem.

        Raises:
            SpaceError: one is not of it.
        """
        for genome in genomes:
            if not self.contains(genome):
                raise SpaceError(f"genome {genome} is not in the space of {problem}", "take it from the target's space")

    def sample(self, rng: np.random.Generator, count: int) -> list[Genome]:
        """Distinct genomes drawn uniformly; fewer when the space is smaller."""
        cells = rng.choice(self.size, size=min(count, self.size), replace=False)
        return [self.genome_at(int(cell)) for cell in cells]

    def one_hot(self, rows: npt.NDArray[np.integer]) -> Floats:
        """One column per (parameter, value), shape (n, sum of cardinalities)."""
        return np.asarray(np.repeat(rows, self.cardinalities, axis=1) == self.gene_values, dtype=np.float64)

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
