"""Products under precision plans: their launches in Triton's interpreter, compiled, and joined."""

from __future__ import annotations

import math
import subprocess
from pathlib import Path

import msgspec
import numpy as np
import pytest

from quasim.errors import ConfigError
from quasim.kernels import family
from quasim.kernels._base import Arrays
from quasim.kernels.accuracy import Errors, kernel_errors
from quasim.kernels.lower import LoweringError
from quasim.precision import split
from quasim.precision.classes import CLASSES
from quasim.precision.emulate import answered, emulate
from quasim.precision.formats import Floats
from quasim.precision.plan import PLANS
from quasim.precision.probe import refusal, signs
from quasim.targets.gpu.compile import compile_source
from quasim.targets.gpu.image import Bundle, CompileFailure, Image, Loadable
from quasim.targets.gpu.resources import _tool
from quasim.targets.triton.plans import planned
from quasim.targets.triton.space import space
from quasim.trial import Genome, Problem, Value
from tests.quasim.targets.triton.interpreted import Case, interpreted
from tests.quasim.targets.triton.variants import PRODUCT, genome

MATMUL = family("matmul").kernel
RAGGED = {"m": 37, "n": 45, "k": 70}
EIGHTS = {"m": 40, "n": 48, "k": 72}
PLAIN = genome(PRODUCT, plan="fp16x2", promote=1, epilogue=2)
BOXES = genome(PRODUCT, plan="fp16x2", promote=1, epilogue=2, access="descriptor", walk="flat", block_k=32)

CASES = {
    **{name: Case(Problem.of("matmul", **RAGGED), PLAIN, data=name) for name in CLASSES},
    "descriptors": Case(Problem.of("matmul", **EIGHTS), BOXES),
    "opposed, descriptors": Case(Problem.of("matmul", **EIGHTS), BOXES, data="opposed"),
    "never promoted": Case(Problem.of("matmul", **RAGGED), genome(PRODUCT, plan="fp16x2", promote=0)),
    "one accumulator": Case(Problem.of("matmul", **RAGGED), genome(PRODUCT, plan="fp16x2f", promote=1)),
    "one word": Case(Problem.of("matmul", **RAGGED), genome(PRODUCT, plan="fp16", promote=0)),
    "NaN": Case(Problem.of("matmul", **RAGGED), PLAIN, nan_at=5),
}
DOUBLE: dict[str, Value] = {**PRODUCT, "plan": "fp64", "promote": 0}
DOUBLES = {
    **{name: Case(Problem.of("matmul", **RAGGED), genome(DOUBLE), data=name) for name in CLASSES},
    "descriptors": Case(Problem.of("matmul", **EIGHTS), genome(DOUBLE, access="descriptor", walk="flat")),
    "halves": Case(Problem.of("matmul", **EIGHTS), genome(DOUBLE, epilogue=2, walk="persistent")),
    "NaN": Case(Problem.of("matmul", **RAGGED), genome(DOUBLE), nan_at=5),
    "infinity": Case(Problem.of("matmul", **RAGGED), genome(DOUBLE), nan_at=0, bad=math.inf),
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Arrays]:
    folder: Path = tmp_path_factory.mktemp("plans")
    return dict(zip(CASES, interpreted(list(CASES.values()), folder), strict=True))


@pytest.fixture(scope="module")
def doubles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Arrays]:
    folder: Path = tmp_path_factory.mktemp("doubles")
    return dict(zip(DOUBLES, interpreted(list(DOUBLES.values()), folder), strict=True))


def operands(case: Case) -> tuple[Floats, Floats]:
    inputs = case.inputs()
    return np.asarray(inputs["a"], np.float32), np.asarray(inputs["b"], np.float32)


def errors(case: Case, outputs: Arrays) -> Errors:
    member = family(case.problem.kernel)
    return kernel_errors(member.kernel, outputs, member.reference(case.problem.dims, case.inputs()))


@pytest.mark.parametrize("name", [name for name in CASES if name != "one word"])
def test_every_class_of_data_is_answered_to_float32_s_accuracy(name: str, answers: dict[str, Arrays]) -> None:
    assert errors(CASES[name], answers[name]).componentwise < 4e-7


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_of_data_is_answered_to_a_millionth_of_its_norm(name: str, answers: dict[str, Arrays]) -> None:
    assert errors(CASES[name], answers[name]).frobenius < 1e-6


@pytest.mark.parametrize("name", DOUBLES)
def test_float64_is_rounded_once_whatever_the_data(name: str, doubles: dict[str, Arrays]) -> None:
    found = errors(DOUBLES[name], doubles[name])
    assert found.frobenius < 2.0**-24
    assert found.componentwise <= 2.0**-24 * (1 + 1e-6)


def test_one_word_is_as_good_as_its_format(answers: dict[str, Arrays]) -> None:
    assert 1e-5 < errors(CASES["one word"], answers["one word"]).frobenius < 1e-3


@pytest.mark.parametrize("name", CASES)
def test_words_and_scales_are_those_of_numpy_bit_for_bit(name: str, answers: dict[str, Arrays]) -> None:
    case = CASES[name]
    plan, (a, b) = PLANS[str(case.genome["plan"])], operands(case)
    for operand, rows in (("a", a), ("b", np.ascontiguousarray(b.T))):
        scales = split.scale_exponents(rows, plan)
        np.testing.assert_array_equal(answers[name][f"{operand}_scale"], scales[:, 0])
        for number, word in enumerate(split.words(split.scaled(rows, scales), plan)):
            np.testing.assert_array_equal(answers[name][f"{operand}_word{number}"].astype(np.float32), word)


@pytest.mark.parametrize("name", CASES)
def test_who_refuses_on_the_device_is_who_does_in_numpy(name: str, answers: dict[str, Arrays]) -> None:
    case = CASES[name]
    assert refusal(answers[name]["refused"][0]) == answered(*operands(case), PLANS[str(case.genome["plan"])])[1]


def test_guard_refuses_hostile_data_and_verification_what_cancels(answers: dict[str, Arrays]) -> None:
    refused = {name: refusal(answers[name]["refused"][0]) for name in CLASSES}
    hostile = {name: "guard" for name, known in CLASSES.items() if not known.benign}
    assert refused == dict.fromkeys(CLASSES, "") | hostile | {"cancelling": "verification"}


@pytest.mark.parametrize("name", ["normal", "uniform", "huge_row", "denormals", "cancelling"])
def test_what_is_seen_of_a_product_is_what_numpy_sees(name: str, answers: dict[str, Arrays]) -> None:
    a, b = (x.astype(np.float64) for x in operands(CASES[name]))
    found, v = answers[name], signs(RAGGED["n"]).astype(np.float64)
    np.testing.assert_allclose(found["turned"], b @ v, rtol=1e-12, atol=1e-13 * np.abs(b).sum())
    np.testing.assert_allclose(found["due"], a @ (b @ v), rtol=1e-9, atol=1e-13 * (np.abs(a) @ np.abs(b)).sum())
    if refusal(found["refused"][0]) == "":
        c = found["c"].astype(np.float64)
        np.testing.assert_allclose(found["got"], c @ v, rtol=1e-12, atol=1e-13 * np.abs(c).sum())
        np.testing.assert_allclose(found["squares"], (c * c).sum(axis=1), rtol=1e-12)


def test_where_the_guard_refuses_the_answer_is_the_safe_product_s(answers: dict[str, Arrays]) -> None:
    case = CASES["opposed"]
    words = emulate(*operands(case), PLANS["fp16x2"])
    assert errors(case, {"c": words}).componentwise > errors(case, answers["opposed"]).componentwise


def test_words_answer_as_their_emulation_predicts(answers: dict[str, Arrays]) -> None:
    a, b = operands(CASES["normal"])
    predicted = emulate(a, b, PLANS["fp16x2"])
    scale = np.abs(a) @ np.abs(b)
    assert (np.abs(answers["normal"]["c"] - predicted) / scale).max() < 1e-6


def compiled(chosen: Genome, side: int, arch: str, folder: Path) -> Loadable:
    plan = planned(MATMUL, chosen, {"m": side, "n": side, "k": side})
    found = plan.joined([compile_source(source, arch, folder) for source in plan.sources])
    assert not isinstance(found, CompileFailure), found
    return found


HEADLINE = genome(
    PRODUCT,
    plan="fp16x2",
    promote=1,
    block_m=128,
    block_n=128,
    block_k=64,
    warps=8,
    stages=3,
    group=8,
    access="descriptor",
    epilogue=2,
)


STAGES = ["split_a", "split_b", "guard", "matmul_fp16x2", "probe_c", "probe_b", "probe_a", "verdict", "matmul_safe"]


@pytest.mark.parametrize("walk", ["tiles", "persistent", "flat"])
def test_headline_compiles_without_a_gpu_and_holds_its_sums_in_registers(walk: str, images: Path) -> None:
    made = compiled(Genome({**HEADLINE, "walk": walk}), 4096, "sm_90", images)
    assert isinstance(made, Bundle)
    assert [stage.kernel for stage in made.stages] == STAGES
    assert made.stages[made.main].kernel == "matmul_fp16x2"
    assert made.resources.local_bytes == 0
    made.check({"m": 4096, "n": 4096, "k": 4096})


def test_split_passes_hold_their_rows_in_registers(images: Path) -> None:
    made = compiled(HEADLINE, 4096, "sm_90", images)
    assert isinstance(made, Bundle)
    assert max(stage.resources.local_bytes for stage in made.stages[:2]) <= 64


@pytest.mark.parametrize(("arch", "side"), [("sm_80", 4096), ("sm_90", 4096), ("sm_90", 8192)])
def test_what_checks_and_what_answers_instead_find_room_in_registers(arch: str, side: int, images: Path) -> None:
    made = compiled(Genome({**HEADLINE, "access": "pointer", "block_k": 32}), side, arch, images)
    assert isinstance(made, Bundle)
    late = made.stages[STAGES.index("probe_c") :]
    assert [stage.resources.local_bytes for stage in late] == [0] * len(late)


def test_float64_products_are_one_launch_of_the_units_for_products(images: Path, tmp_path: Path) -> None:
    chosen = genome(DOUBLE, block_m=128, block_n=64, warps=8, stages=3, walk="persistent")
    for arch in ("sm_80", "sm_90"):
        made = compiled(chosen, 4096, arch, images)
        assert isinstance(made, Image)
        assert made.resources.local_bytes == 0
        assert b"DMMA" in disassembled(made.binary, tmp_path)


def disassembled(cubin: bytes, folder: Path) -> bytes:
    file = folder / "one.cubin"
    file.write_bytes(cubin)
    return subprocess.run([_tool("cuobjdump"), "-sass", file], capture_output=True, check=True).stdout


def test_promoted_sums_are_kept_out_of_the_tensor_core() -> None:
    shape = {"m": 64, "n": 64, "k": 64}
    promoted, plain = (
        planned(MATMUL, Genome({**HEADLINE, "promote": promote}), shape).sources[3] for promote in (1, 0)
    )
    assert "sum0 = (sum0 + apart(part))" in promoted.text
    assert "apart" not in plain.text


def test_plans_of_the_units_own_are_one_launch(images: Path) -> None:
    for name in ("bf16x6", "tf32x3"):
        made = compiled(Genome({**HEADLINE, "plan": name, "promote": 0, "stages": 2}), 512, "sm_90", images)
        assert isinstance(made, Image)


def test_bundle_survives_writing_and_reading(images: Path) -> None:
    made = compiled(HEADLINE, 256, "sm_90", images)
    assert isinstance(made, Bundle)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(made), type=Loadable) == made
    assert {buffer.name: buffer.dtype for buffer in made.workspace}["b_word1"] == "float16"
    assert [buffer.name for buffer in made.workspace if buffer.fill == "signs"] == ["signs"]
    with pytest.raises(ValueError, match="no bundle"):
        Bundle(made.stages, made.workspace, len(made.stages))


def test_one_stage_that_does_not_compile_fails_the_genome() -> None:
    plan = planned(MATMUL, HEADLINE, {"m": 64, "n": 64, "k": 64})
    failure = CompileFailure("compile", "so")
    assert plan.joined([failure] * len(plan.sources)) == failure


def test_no_kernel_carries_out_a_plan_of_blocks_or_another_form() -> None:
    with pytest.raises(ConfigError, match="int4"):
        planned(MATMUL, Genome({**PLAIN, "plan": "int4"}), RAGGED)
    with pytest.raises(LoweringError, match="plan"):
        planned(family("matmul_bf16").kernel, PLAIN, RAGGED)


def test_every_sampled_genome_has_sources_at_every_kind_of_shape() -> None:
    for side in (4096, 77, 1):
        shape = {"m": side, "n": side, "k": side}
        found = space(Problem.of("matmul", **shape), "sm_90")
        for chosen in found.sample(np.random.default_rng(0), 16):
            plan = planned(MATMUL, chosen, shape)
            assert len(plan.sources) == (len(STAGES) if chosen["plan"] == "fp16x2" else 1)
            assert chosen["promote"] == 0 or chosen["plan"] == "fp16x2"


def test_only_the_plain_product_has_plans_and_only_where_they_help() -> None:
    shape = {"m": 256, "n": 256, "k": 256}
    assert "plan" not in space(Problem.of("matmul_nt", **shape), "sm_90").names
    assert "plan" not in space(Problem.of("matmul", **shape), "gfx942").names
