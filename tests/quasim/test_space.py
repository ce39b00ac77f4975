from __future__ import annotations

import hashlib
import itertools
import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quasim.errors import DataError, SpaceError
from quasim.space import MAX_PRODUCT, AtMost, Constraint, Divides, Implies, Kind, Listed, Parameter, SearchSpace
from quasim.trial import Genome, Value

TILES = SearchSpace(
    (
        Parameter("tile", (8, 16, 32, 64)),
        Parameter("micro", (2, 3, 4)),
        Parameter("layout", ("row", "column"), Kind.CATEGORICAL),
        Parameter("pack", (False, True)),
    ),
    (Divides("micro", ("tile",)), AtMost(("tile", "micro"), 128)),
    default=Genome({"tile": 8, "micro": 2, "layout": "row", "pack": False}),
)


def holds(constraint: Constraint, values: dict[str, int]) -> bool:
    """The constraint in plain Python."""
    if isinstance(constraint, Listed):
        return tuple(values.values()) in constraint.rows
    if isinstance(constraint, Implies):
        return values[constraint.name] != constraint.value or values[constraint.other] in constraint.others
    product = math.prod(values[name] for name in constraint.factors)
    return product <= constraint.bound if isinstance(constraint, AtMost) else product % values[constraint.divisor] == 0


@st.composite
def products(draw: st.DrawFn) -> tuple[tuple[Parameter, ...], tuple[Constraint, ...]]:
    values = st.lists(st.integers(1, 12), min_size=1, max_size=4, unique=True)
    parameters = tuple(Parameter(f"p{i}", tuple(draw(values))) for i in range(draw(st.integers(1, 4))))
    names = st.sampled_from([p.name for p in parameters])
    factors = st.lists(names, min_size=1, max_size=3, unique=True).map(tuple)
    constraints = st.one_of(st.builds(AtMost, factors, st.integers(1, 500)), st.builds(Divides, names, factors))
    return parameters, tuple(draw(st.lists(constraints, max_size=3)))


def brute_force(parameters: tuple[Parameter, ...], constraints: tuple[Constraint, ...]) -> list[tuple[int, ...]]:
    rows = itertools.product(*(range(len(p.values)) for p in parameters))
    named = ((row, {p.name: int(p.values[i]) for p, i in zip(parameters, row, strict=True)}) for row in rows)
    return [row for row, values in named if all(holds(c, values) for c in constraints)]


@given(products())
def test_enumeration_is_brute_force_in_lexicographic_order(
    made: tuple[tuple[Parameter, ...], tuple[Constraint, ...]],
) -> None:
    expected = brute_force(*made)
    if not expected:
        with pytest.raises(SpaceError, match="no configuration"):
            SearchSpace(*made)
        return
    space = SearchSpace(*made)
    assert [tuple(row) for row in space.rows.tolist()] == expected
    assert space.size == len(expected)


@given(products(), st.integers(0, 2**32))
def test_sample_is_distinct_and_valid(made: tuple[tuple[Parameter, ...], tuple[Constraint, ...]], seed: int) -> None:
    expected = brute_force(*made)
    if not expected:
        return
    genomes = SearchSpace(*made).sample(np.random.default_rng(seed), 5)
    assert len(set(genomes)) == len(genomes) == min(5, len(expected))
    assert all(holds(c, dict(g)) for g in genomes for c in made[1])  # type: ignore[arg-type]


@given(products())
@settings(max_examples=50)
def test_neighbours_are_exactly_the_valid_rows_that_differ_in_one_value(
    made: tuple[tuple[Parameter, ...], tuple[Constraint, ...]],
) -> None:
    if not brute_force(*made):
        return
    space = SearchSpace(*made)
    found = space.neighbours(space.rows)
    for cell, row in enumerate(space.rows):
        near = set(np.flatnonzero((space.rows != row).sum(axis=1) == 1).tolist())
        assert set(found[cell].tolist()) - {-1} == near


def test_neighbour_columns_are_the_one_hot_columns() -> None:
    found = TILES.neighbours(TILES.rows[:1])[0]
    hot = TILES.one_hot(TILES.rows[:1])[0]
    assert found.shape == hot.shape
    assert (found[hot == 1] == -1).all()
    for column in np.flatnonzero(found >= 0):
        assert TILES.one_hot(TILES.rows[found[column]][None])[0, column] == 1


def test_cells_count_the_enumeration_and_know_what_is_not_valid() -> None:
    assert TILES.cells(TILES.rows).tolist() == list(range(TILES.size))
    assert [TILES.cell(TILES.genome_at(cell)) for cell in range(TILES.size)] == list(range(TILES.size))
    every = np.array(list(itertools.product(*map(range, TILES.cardinalities))))
    assert ((TILES.cells(every) >= 0) == TILES.satisfied(every)).all()
    assert (TILES.cells(every) < 0).any()


def test_rows_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="read-only"):
        TILES.rows[0, 0] = 1


def test_one_hot_marks_each_value_once() -> None:
    encoded = TILES.one_hot(TILES.rows)
    assert encoded.shape == (TILES.size, 4 + 3 + 2 + 2)
    assert (encoded.sum(axis=1) == 4).all()
    genome = TILES.genome_at(3)
    values = [v for p in TILES.parameters for v in p.values]
    assert [values[i] for i in np.flatnonzero(encoded[3])] == list(genome.values())


def test_ordinal_runs_from_0_to_1_and_is_0_without_a_choice() -> None:
    space = SearchSpace((Parameter("a", (1, 2, 4)), Parameter("b", (7,))))
    assert space.ordinal(space.rows).tolist() == [[0.0, 0.0], [0.5, 0.0], [1.0, 0.0]]


def test_listed_rows_are_the_space_whatever_their_order() -> None:
    parameters = (Parameter("a", (1, 2, 3)), Parameter("b", (1, 2)))
    space = SearchSpace(parameters, (Listed(((2, 0), (0, 1), (0, 1))), AtMost(("a", "b"), 5)))
    assert space.rows.tolist() == [[0, 1], [2, 0]]
    assert not space.contains({"a": 2, "b": 1})
    assert SearchSpace(parameters, (Listed(((2, 0), (0, 1))), Listed(((2, 0), (1, 0))))).rows.tolist() == [[2, 0]]


def test_listed_space_may_have_a_product_too_large_to_enumerate() -> None:
    parameters = tuple(Parameter(f"p{i}", tuple(range(16))) for i in range(15))
    space = SearchSpace(parameters, (Listed(((15,) * 15, (0,) * 15)),))
    assert space.size == 2
    assert space.cell(space.genome_at(1)) == 1


def test_json_round_trip_keeps_cells_and_digest() -> None:
    again = SearchSpace.from_json(TILES.to_json())
    assert again == TILES
    assert again.to_json() == TILES.to_json()
    assert again.digest == TILES.digest
    assert (again.rows == TILES.rows).all()
    assert [type(v) for p in again.parameters for v in p.values] == [
        type(v) for p in TILES.parameters for v in p.values
    ]


def test_written_form_and_so_the_digest_is_fixed() -> None:
    space = SearchSpace((Parameter("a", (1, 2)), Parameter("b", ("x",), Kind.CATEGORICAL)), (AtMost(("a",), 2),))
    written = (
        b'{"parameters":[{"name":"a","values":[1,2],"kind":"ordinal"},{"name":"b","values":["x"],"kind":"categorical"}],'
        b'"constraints":[{"type":"at_most","factors":["a"],"bound":2}],"default":null}'
    )
    assert space.to_json() == written
    assert space.digest == hashlib.sha256(written).hexdigest()


def test_digest_tells_spaces_apart() -> None:
    other = SearchSpace(TILES.parameters, TILES.constraints[:1], TILES.default)
    assert other.digest != TILES.digest


def test_space_survives_pickling() -> None:
    again = pickle.loads(pickle.dumps(TILES))  # noqa: S301
    assert again == TILES
    assert (again.rows == TILES.rows).all()


GOOD: dict[str, Value] = {"tile": 8, "micro": 2, "layout": "row", "pack": False}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tile": 9}, "tile=9 is not in"),
        ({"tile": 8.0}, "tile=8.0 is not in"),
        ({"pack": 0}, "pack=0 is not in"),
        ({"extra": 1}, "genome names"),
        ({"micro": 3}, "violates a constraint"),
    ],
)
def test_genome_outside_the_space_is_refused_with_its_reason(change: dict[str, Value], message: str) -> None:
    genome = Genome({**GOOD, **change})
    assert not TILES.contains(genome)
    with pytest.raises(SpaceError, match=message):
        TILES.cell(genome)


def test_genome_that_lacks_a_parameter_is_refused() -> None:
    with pytest.raises(SpaceError, match="genome names"):
        TILES.encode({"tile": 8})


A = Parameter("a", (1, 2))
TEXT = Parameter("t", ("x",), Kind.CATEGORICAL)


@pytest.mark.parametrize(
    ("parameters", "constraints", "message"),
    [
        ((), (), "empty or repeat"),
        ((A, A), (), "empty or repeat"),
        ((A,), (AtMost(("b",), 1),), "unknown parameters"),
        ((A,), (Divides("b", ("a",)),), "unknown parameters"),
        ((A, TEXT), (AtMost(("t",), 1),), "multiplies t"),
        ((A, TEXT), (Implies("u", "x", "a", (1,)),), "names u"),
        ((A, TEXT), (Implies("t", "y", "a", (1,)),), "names t"),
        ((A, TEXT), (Implies("t", "x", "a", (7,)),), "names a"),
        ((A, Parameter("f", (0.5,))), (Divides("a", ("f",)),), "multiplies f"),
        ((A, Parameter("z", (0, 1))), (Divides("z", ("a",)),), "divides by 0"),
        ((A,), (AtMost(("a",), 0),), "no configuration"),
        ((A,), (Listed(()),), "no configuration"),
        ((A,), (Listed(((2,),)),), "listed row"),
        ((A,), (Listed(((0, 0),)),), "listed row"),
        (tuple(Parameter(f"p{i}", tuple(range(64))) for i in range(5)), (), "too large"),
        (tuple(Parameter(f"p{i}", tuple(range(64))) for i in range(11)), (Listed(((0,) * 11,)),), "overflow"),
    ],
)
def test_invalid_space_cannot_be_built(
    parameters: tuple[Parameter, ...], constraints: tuple[Constraint, ...], message: str
) -> None:
    with pytest.raises(SpaceError, match=message):
        SearchSpace(parameters, constraints)


def test_one_value_implies_others() -> None:
    way = Parameter("way", ("plain", "split"), Kind.CATEGORICAL)
    space = SearchSpace((way, Parameter("words", (1, 2, 3))), (Implies("way", "plain", "words", (1,)),))
    genomes = [space.genome_at(cell) for cell in range(space.size)]
    assert [genome["words"] for genome in genomes if genome["way"] == "plain"] == [1]
    assert len(genomes) == 4


def test_default_must_be_valid() -> None:
    with pytest.raises(SpaceError, match="not in its space"):
        SearchSpace((A,), (AtMost(("a",), 1),), Genome({"a": 2}))


def test_largest_product_is_refused_before_it_is_built() -> None:
    side = tuple(range(math.isqrt(MAX_PRODUCT) + 1))
    wide = (Parameter("a", side), Parameter("b", side))
    with pytest.raises(SpaceError, match="too large"):
        SearchSpace(wide)


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        ((), Kind.ORDINAL, "no values"),
        ((1, 1), Kind.ORDINAL, "twice"),
        (("x", "y"), Kind.ORDINAL, "text values"),
        ((math.inf,), Kind.ORDINAL, "not finite"),
    ],
)
def test_invalid_parameter_cannot_be_built(values: tuple[Value, ...], kind: Kind, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        Parameter("p", values, kind)


def test_values_of_different_type_are_different_values() -> None:
    space = SearchSpace((Parameter("p", (1, True, 1.0)),))
    assert [space.cell(Genome({"p": value})) for value in (1, True, 1.0)] == [0, 1, 2]


@pytest.mark.parametrize(
    "text",
    ["", "{}", '{"parameters":[]}', '{"parameters":[{"name":"a","values":[1]}],"more":1}', "[" * 100_000],
)
def test_json_that_is_no_space_is_a_data_error(text: str) -> None:
    with pytest.raises(DataError, match="search space cannot be read"):
        SearchSpace.from_json(text)
