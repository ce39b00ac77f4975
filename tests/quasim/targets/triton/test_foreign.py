from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from quasim.errors import ConfigError, ShapeError, SpaceError
from quasim.kernels import adopt, check_problem, families, family
from quasim.kernels.accuracy import kernel_errors, untouched_outputs
from quasim.kernels.sizes import Size
from quasim.targets.gpu.build import build
from quasim.targets.gpu.compile import compile_source
from quasim.targets.gpu.image import Image, Number, Pointer, Real, Scratch
from quasim.targets.gpu.pool import LocalCompiler
from quasim.targets.triton.foreign import ForeignKernel, In, Out, space_of
from quasim.targets.triton.foreign_family import ForeignFamily, load
from quasim.targets.triton.foreign_source import foreign_source
from quasim.targets.triton.plans import triton_plan
from quasim.targets.triton.source import ConstantParameter, NumberParameter, SourceParameter
from quasim.trial import ErrorAgainst, Genome, Problem, Status
from quasim.worker.jobs import Desk
from quasim.worker.protocol import Failed, Prepare
from tests.quasim.gpu import REASON
from tests.quasim.targets.triton.interpreted import SEED
from tests.quasim.targets.triton.interpreted_foreign import interpreted

ROOT = Path(__file__).parents[4]
USER = Path(__file__).with_name("user_kernel.py")
EXAMPLE = ROOT / "examples" / "row_scale.py"


class Config:
    """Has what we use of a ``triton.Config``."""

    def __init__(self, **values: object) -> None:
        self._values = values

    def all_kwargs(self) -> dict[str, object]:
        return self._values


@pytest.fixture(autouse=True)
def adopted_for_one_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quasim.kernels._ADOPTED", {})


@pytest.fixture(scope="module")
def outer() -> ForeignFamily:
    return load(f"{USER}:OUTER")


@pytest.fixture(scope="module")
def row_scale() -> ForeignFamily:
    return load(f"{EXAMPLE}:KERNEL")


def _changed(outer: ForeignFamily, **fields: object) -> ForeignKernel:
    return dataclasses.replace(outer.foreign, **fields)  # type: ignore[arg-type]


def _parameters(outer: ForeignFamily, **genes: int) -> dict[str, SourceParameter]:
    genome = Genome({"BLOCK": 64, "FACTOR": 1, "num_warps": 1, **genes})
    return {p.name: p for p in foreign_source(outer, genome, outer.problem.dims).parameters}


def test_an_autotuned_function_brings_its_configurations_and_key(row_scale: ForeignFamily) -> None:
    space = row_scale.foreign.space
    assert space.size == 64
    assert space.default == Genome({"BLOCK": 1024, "num_warps": 4, "num_ctas": 1, "num_stages": 1})
    assert row_scale.foreign.keys == ("cols",)
    assert row_scale.problem == Problem.of("foreign:row_scale", rows=16384, cols=4096)


def test_the_space_holds_the_listed_configurations_and_no_others() -> None:
    space = space_of([Config(BLOCK=64, num_warps=4), Config(BLOCK=32, num_warps=8), Config(BLOCK=64, num_warps=8)])
    assert [space.genome_at(i) for i in range(space.size)] == [
        Genome({"BLOCK": 32, "num_warps": 8}),
        Genome({"BLOCK": 64, "num_warps": 4}),
        Genome({"BLOCK": 64, "num_warps": 8}),
    ]
    assert space.default == Genome({"BLOCK": 64, "num_warps": 4})


@pytest.mark.parametrize(
    "configs",
    [[], [Config(BLOCK=64), Config(num_warps=4)], [Config(BLOCK=(64, 2))], [Config(ir_override="kernel.ttgir")]],
)
def test_configurations_that_make_no_space_are_refused(configs: list[Config]) -> None:
    with pytest.raises(SpaceError):
        space_of(configs)


def test_a_space_without_a_default_begins_with_its_first_configuration(outer: ForeignFamily) -> None:
    assert outer.foreign.space.default == Genome({"BLOCK": 64, "FACTOR": 1, "num_warps": 1})


def test_inputs_come_from_the_seed_in_their_format_or_as_the_user_makes_them(outer: ForeignFamily) -> None:
    first, again = (outer.inputs({"m": 3, "n": 5}, np.random.default_rng(7)) for _ in range(2))
    assert {name: (array.shape, array.dtype.name) for name, array in first.items()} == {
        "a": ((3,), "float32"),
        "b": ((5,), "float32"),
    }
    assert (first["b"] >= 1).all()
    np.testing.assert_array_equal(first["a"], again["a"])


def test_the_users_reference_is_the_measure_of_an_answer(row_scale: ForeignFamily) -> None:
    shape = {"rows": 3, "cols": 40}
    inputs = row_scale.inputs(shape, np.random.default_rng(1))
    references = row_scale.reference(shape, inputs)
    outputs = untouched_outputs(row_scale.kernel, shape)
    outputs["y"][...] = references["y"].value
    assert kernel_errors(row_scale.kernel, outputs, references).frobenius < 1e-7
    outputs["y"][1, 2] += 1
    wrong = kernel_errors(row_scale.kernel, outputs, references)
    assert wrong.frobenius > row_scale.tolerance
    assert wrong.componentwise == pytest.approx(1 / np.abs(references["y"].value).max(), rel=1e-6)


def test_a_reference_of_another_shape_or_name_is_refused(outer: ForeignFamily) -> None:
    for given in ({"c": np.zeros((48, 2))}, {"d": np.zeros((48, 160))}):
        family_ = ForeignFamily(_changed(outer, reference=lambda arrays, given=given: given), USER, "OUTER")
        with pytest.raises(ConfigError):
            family_.reference(outer.problem.dims, {})


def test_without_a_reference_there_is_none_to_compare_with(outer: ForeignFamily) -> None:
    assert outer.reference(outer.problem.dims, {}) == {}


def test_flops_are_unknown_and_every_array_is_moved_once(outer: ForeignFamily) -> None:
    cost = outer.cost(outer.problem)
    assert (cost.flops, cost.bytes) == (0, 4 * (48 + 160 + 48 * 160))


def test_parameters_are_specialised_as_triton_does(outer: ForeignFamily) -> None:
    found = _parameters(outer, FACTOR=2)
    assert found["n"] == NumberParameter("n", 160, 32, 16)
    assert found["extra"] == NumberParameter("extra", 7, 32, 1)
    assert found["step"] == ConstantParameter("step", 1)
    assert found["FACTOR"] == ConstantParameter("FACTOR", 2)
    assert found["EXPECTED"] == ConstantParameter("EXPECTED", 160)


def test_an_image_knows_its_arguments_grid_and_only_shape(outer: ForeignFamily, tmp_path: Path) -> None:
    genome = Genome({"BLOCK": 128, "FACTOR": 1, "num_warps": 4})
    image = compile_source(foreign_source(outer, genome, outer.problem.dims), "sm_90", tmp_path)
    assert isinstance(image, Image)
    assert image.arguments == (
        *(Pointer(name) for name in "abc"),
        Number(Size(factor=160), 32),
        Real(0.5, 32),
        Number(Size(factor=7), 32),
        *(Scratch(kind, 0, 1) for kind in ("global", "profile")),
    )
    assert (image.blocks(outer.problem.dims, 132), image.grid_yz, image.num_warps) == (2, (48, 1), 4)
    image.check(outer.problem.dims)
    with pytest.raises(ShapeError):
        image.check({"m": 48, "n": 161})


@pytest.mark.parametrize("name", ["row_scale", "matmul"])
@pytest.mark.parametrize("arch", ["sm_80", "sm_90", "gfx90a", "gfx942"])
def test_an_autotuned_function_compiles_anywhere(name: str, arch: str, tmp_path: Path) -> None:
    known = load(f"{ROOT}/examples/{name}.py:KERNEL")
    default = known.foreign.space.default
    assert default is not None
    image = compile_source(foreign_source(known, default, known.problem.dims), arch, tmp_path)
    assert isinstance(image, Image)
    assert image.entry == name


def test_a_grid_that_fails_or_is_none_is_a_failed_build(outer: ForeignFamily, tmp_path: Path) -> None:
    def grid(meta: Mapping[str, int]) -> tuple[int, ...]:
        return (meta["m"] // (meta["BLOCK"] - 64),)

    adopt(ForeignFamily(_changed(outer, grid=grid), USER, "OUTER"))
    genomes = [Genome({"BLOCK": block, "FACTOR": 1, "num_warps": 1}) for block in (64, 128)]
    with LocalCompiler(1, tmp_path) as compiler:
        failed = build(outer.problem, outer.foreign.space, genomes, "sm_90", compiler, triton_plan)
    assert [one.status for one in failed] == [Status.COMPILE_ERROR] * 2
    assert "ZeroDivisionError" in failed[0].detail
    assert "grid (0,)" in failed[1].detail


@pytest.mark.parametrize(
    ("name", "shape"), [("row_scale", {"rows": 3, "cols": 1500}), ("matmul", {"m": 70, "n": 300, "k": 48})]
)
def test_an_example_computes_its_reference(name: str, shape: dict[str, int], tmp_path: Path) -> None:
    place = f"{ROOT}/examples/{name}.py:KERNEL"
    known = load(place)
    default = known.foreign.space.default
    assert default is not None
    outputs = interpreted(place, foreign_source(known, default, shape), Problem.of(known.name, **shape), tmp_path)
    references = known.reference(shape, known.inputs(shape, np.random.default_rng(SEED)))
    assert kernel_errors(known.kernel, outputs, references).frobenius < known.tolerance


def test_what_cannot_launch_is_known_before_a_gpu_is_touched(outer: ForeignFamily, tmp_path: Path) -> None:
    adopt(outer)
    genomes = [Genome({"BLOCK": 128, "FACTOR": 1, "num_warps": warps}) for warps in (4, 64)]
    with LocalCompiler(1, tmp_path) as compiler:
        good, greedy = build(outer.problem, outer.foreign.space, genomes, "sm_90", compiler, triton_plan)
    assert good.image is not None
    assert greedy.entry is None
    assert greedy.detail


def test_a_cpu_worker_refuses_a_standard(row_scale: ForeignFamily, tmp_path: Path) -> None:
    default = row_scale.foreign.space.default
    assert default is not None
    image = compile_source(foreign_source(row_scale, default, row_scale.problem.dims), "sm_90", tmp_path)
    assert isinstance(image, Image)
    reply = Desk(1 << 30).serve(Prepare(Problem.of("softmax", rows=2, cols=2), 0, image))
    assert reply == Failed("this worker cannot run row_scale: ask a GPU worker")


def test_an_adopted_kernel_is_found_by_name_but_not_listed(row_scale: ForeignFamily) -> None:
    adopt(row_scale)
    assert family("foreign:row_scale") is row_scale
    assert row_scale not in families()
    assert check_problem(Problem.of("foreign:row_scale", cols=8, rows=2)).dims == {"rows": 2, "cols": 8}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"arguments": {"a": In(("m",))}}, "given are a"),
        ({"arguments": {"a": In(("m",)), "zzz": Out(("m",))}}, "zzz"),
        ({"key": ("depth",)}, "depth"),
        ({"configs": None}, "no configurations"),
    ],
)
def test_a_description_that_does_not_fit_the_function_is_refused(
    outer: ForeignFamily, fields: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        _changed(outer, **fields)


def test_a_kernel_that_writes_nothing_is_refused(outer: ForeignFamily) -> None:
    with pytest.raises(ConfigError, match="writes nothing"):
        _changed(outer, arguments={**outer.foreign.arguments, "c": In(("m", "n"))})


def test_an_extent_that_is_not_there_is_refused(outer: ForeignFamily) -> None:
    arguments = {**outer.foreign.arguments, "c": Out(("m", "k"))}
    with pytest.raises(ShapeError, match="'k'"):
        ForeignFamily(_changed(outer, arguments=arguments), USER, "OUTER")


@pytest.mark.parametrize("value", [True, "text", 1 + 2j])
def test_an_argument_that_no_kernel_takes_fails_its_build(outer: ForeignFamily, value: object) -> None:
    family_ = ForeignFamily(
        _changed(outer, arguments={**outer.foreign.arguments, "extra": lambda shape: value}), USER, "OUTER"
    )
    with pytest.raises(ConfigError, match="extra"):
        _parameters(family_)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("kernel.txt:KERNEL", "FILE.py:NAME"),
        ("kernel.py", "FILE.py:NAME"),
        ("/nowhere/kernel.py:KERNEL", "no file"),
        (f"{USER}:NOT_ONE", "is int"),
        (f"{USER}:MISSING", "is NoneType"),
    ],
)
def test_a_place_without_a_description_is_refused(place: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(place)


def test_a_users_file_may_import_what_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "beside_it.py").write_text("from tests.quasim.targets.triton.user_kernel import OUTER\n")
    (tmp_path / "mine.py").write_text("from beside_it import OUTER\n")
    assert load(f"{tmp_path}/mine.py:OUTER").name == "foreign:outer"


@pytest.mark.gpu
@pytest.mark.skipif(bool(REASON), reason=REASON or "there is a GPU")
def test_a_foreign_kernel_is_measured_against_its_reference() -> None:
    from quasim.targets.triton.device import TritonTarget

    with TritonTarget(spares=0, energy_window_ns=0, foreign=f"{EXAMPLE}:KERNEL") as target:
        problem = Problem.of("foreign:row_scale", rows=512, cols=3000)
        space = target.space(problem)
        trials = target.evaluate(problem, [space.genome_at(cell) for cell in (0, space.size - 1)])
    assert [(trial.status, trial.detail) for trial in trials] == [(Status.OK, "")] * 2
    assert all(trial.error_against is ErrorAgainst.FLOAT64 for trial in trials)
    assert all(trial.introspection and trial.introspection.flops_per_s is None for trial in trials)


@pytest.mark.gpu
@pytest.mark.skipif(bool(REASON), reason=REASON or "there is a GPU")
def test_without_a_reference_the_defaults_answer_is_the_measure() -> None:
    from quasim.targets.triton.device import TritonTarget

    with TritonTarget(spares=0, energy_window_ns=0, foreign=f"{USER}:OUTER") as target:
        problem = family("foreign:outer").problem  # type: ignore[attr-defined]
        genes = ({"BLOCK": 128, "FACTOR": 1}, {"BLOCK": 64, "FACTOR": 2})
        same, other = target.evaluate(problem, [Genome({**gene, "num_warps": 4}) for gene in genes])
    assert (same.status, same.error_frobenius, same.error_against) == (Status.OK, 0.0, ErrorAgainst.DEFAULT)
    assert other.status is Status.WRONG_RESULT
