"""Plans of words of 8 bits: their launches in Triton's interpreter and compiled."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from quasim.errors import ConfigError, SpaceError
from quasim.kernels import family
from quasim.kernels._base import Arrays
from quasim.precision import split
from quasim.precision.check import product_errors
from quasim.precision.emulate import emulate
from quasim.precision.formats import Floats
from quasim.precision.plan import PLANS
from quasim.targets.gpu.compile import compile_source
from quasim.targets.gpu.image import Bundle, CompileFailure
from quasim.targets.triton.compile import _run_triton
from quasim.targets.triton.plans import planned
from quasim.targets.triton.source import Source
from quasim.trial import Genome, Problem
from tests.quasim.targets.triton.interpreted import Case, interpreted
from tests.quasim.targets.triton.variants import PRODUCT, genome

MATMUL = family("matmul").kernel
RAGGED = {"m": 37, "n": 45, "k": 300}
EIGHTS = {"m": 40, "n": 48, "k": 272}
DEEP = genome(PRODUCT, promote=0, epilogue=2, block_k=128)
BOXES = Genome({**DEEP, "access": "descriptor", "walk": "flat"})

EIGHT_BITS = ("int8", "int8r", "e4m3", "e5m2")
EXACT_SUMS = ("int8", "int8r")
"""The emulated tensor core cuts fp8's sums; Triton's interpreter does not."""


def case(plan: str, chosen: Genome = DEEP, data: str = "normal", nan_at: int | None = None) -> Case:
    shape = EIGHTS if chosen == BOXES else RAGGED
    return Case(Problem.of("matmul", **shape), Genome({**chosen, "plan": plan}), nan_at=nan_at, data=data)


CASES = {
    **{plan: case(plan) for plan in EIGHT_BITS},
    **{f"{plan}, descriptors": case(plan, BOXES) for plan in EIGHT_BITS},
    **{
        f"{plan}, {data}": case(plan, data=data) for plan in EIGHT_BITS for data in ("uniform", "denormals", "huge_row")
    },
    **{f"{plan}, NaN": case(plan, nan_at=5) for plan in EIGHT_BITS},
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Arrays]:
    folder: Path = tmp_path_factory.mktemp("blocks")
    return dict(zip(CASES, interpreted(list(CASES.values()), folder), strict=True))


def operands(name: str) -> tuple[Floats, Floats]:
    inputs = CASES[name].inputs()
    return np.asarray(inputs["a"], np.float32), np.asarray(inputs["b"], np.float32)


def finite(name: str) -> bool:
    return CASES[name].nan_at is None


@pytest.mark.parametrize("name", [name for name in CASES if finite(name)])
def test_words_and_scales_are_those_of_numpy_bit_for_bit(name: str, answers: dict[str, Arrays]) -> None:
    plan, (a, b) = PLANS[str(CASES[name].genome["plan"])], operands(name)
    for operand, rows in (("a", a), ("b", np.ascontiguousarray(b.T))):
        scales = split.scale_exponents(rows, plan)
        (word,) = split.words(split.scaled(rows, split.by_element(scales, rows.shape[1], plan)), plan)
        np.testing.assert_array_equal(answers[name][f"{operand}_word0"].astype(np.float32), word)
        back = answers[name][f"{operand}_back"]
        np.testing.assert_array_equal(back, np.ldexp(1.0, -(scales.T if plan.block else scales[:, 0])))


@pytest.mark.parametrize("name", [name for name in CASES if finite(name)])
def test_products_are_those_of_the_emulation(name: str, answers: dict[str, Arrays]) -> None:
    plan, (a, b) = str(CASES[name].genome["plan"]), operands(name)
    predicted: npt.NDArray[np.float32] = emulate(a, b, PLANS[plan])
    if plan in EXACT_SUMS:
        np.testing.assert_array_equal(answers[name]["c"], predicted)
    else:
        scale = np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64)
        assert (np.abs(answers[name]["c"] - predicted.astype(np.float64)) / scale).max() < 1e-3


@pytest.mark.parametrize("name", [name for name in CASES if finite(name) and "r" not in name.split(",")[0]])
def test_blocks_are_scaled_back_one_by_one(name: str, answers: dict[str, Arrays]) -> None:
    found = {key: value.astype(np.float64) for key, value in answers[name].items()}
    a, b = (
        found[f"{x}_word0"] * np.repeat(found[f"{x}_back"].T, 128, axis=1)[:, : found[f"{x}_word0"].shape[1]]
        for x in "ab"
    )
    assert (np.abs(found["c"] - a @ b.T) / (np.abs(a) @ np.abs(b).T)).max() < 1e-6


@pytest.mark.parametrize("plan", [plan for plan in EIGHT_BITS if plan != "e5m2"])
def test_benign_data_are_answered_within_5e_2(plan: str, answers: dict[str, Arrays]) -> None:
    for name in (plan, f"{plan}, descriptors", f"{plan}, uniform"):
        assert product_errors(np.asarray(answers[name]["c"], np.float32), *operands(name)).frobenius < 5e-2


@pytest.mark.parametrize("plan", EIGHT_BITS)
def test_what_is_not_finite_comes_out_as_nan_wherever_it_reaches(plan: str, answers: dict[str, Arrays]) -> None:
    lost = np.isnan(answers[f"{plan}, NaN"]["c"])
    wanted = np.zeros_like(lost)
    wanted[0], wanted[:, 5] = True, True  # element 5 of A's first row, and of B's
    np.testing.assert_array_equal(lost, wanted)


FAST = Genome({**BOXES, "block_m": 128, "block_n": 128, "warps": 8, "stages": 3, "epilogue": 4})
WGMMA = {"int8": "s32.s8.s8", "int8r": "s32.s8.s8", "e4m3": "f32.e4m3.e4m3", "e5m2": "f32.e5m2.e5m2"}


@pytest.mark.parametrize("plan", EIGHT_BITS)
def test_all_stages_compile_without_spills(plan: str, images: Path) -> None:
    plans = planned(MATMUL, Genome({**FAST, "plan": plan}), {"m": 4096, "n": 4096, "k": 4096})
    made = plans.joined([compile_source(source, "sm_90", images) for source in plans.sources])
    assert isinstance(made, Bundle), made
    assert [stage.kernel for stage in made.stages] == ["split_a", "split_b", f"matmul_{plan}"]
    assert made.stages[made.main].kernel == f"matmul_{plan}"
    assert max(stage.resources.local_bytes for stage in made.stages) == 0
    made.check({"m": 4096, "n": 4096, "k": 4096})


@pytest.mark.parametrize("plan", EIGHT_BITS)
def test_words_of_8_bits_are_multiplied_by_the_units_of_their_format(plan: str) -> None:
    source = planned(MATMUL, Genome({**FAST, "plan": plan}), {"m": 4096, "n": 4096, "k": 4096}).sources[-1]
    assert isinstance(source, Source)
    ptx = str(_run_triton(source, "sm_90").asm["ptx"])
    assert set(re.findall(r"wgmma\.mma_async\.sync\.aligned\.m64n\d+k32\.(\S+)", ptx)) == {WGMMA[plan]}


def test_scales_of_blocks_are_few_numbers() -> None:
    sizes = {b.name: b for b in planned(MATMUL, Genome({**DEEP, "plan": "int8"}), RAGGED).workspace}
    assert [size.of(RAGGED) for size in sizes["b_back"].shape] == [3, 45]
    assert [size.of(RAGGED) for size in sizes["b_word0"].shape] == [45, 300]
    assert sizes["b_word0"].dtype == "int8"


def test_a_block_is_one_step_of_the_loop() -> None:
    with pytest.raises(SpaceError, match="128"):
        planned(MATMUL, Genome({**DEEP, "plan": "e4m3", "block_k": 64}), RAGGED)


def test_what_is_scaled_back_anyway_is_not_promoted() -> None:
    with pytest.raises(ConfigError, match="promote"):
        planned(MATMUL, Genome({**DEEP, "plan": "int8r", "promote": 1}), RAGGED)


def test_a_stage_that_fails_fails_the_genome() -> None:
    plans = planned(MATMUL, Genome({**FAST, "plan": "int8"}), {"m": 4096, "n": 4096, "k": 4096})
    failure = CompileFailure("compile", "so")
    assert plans.joined([failure] * len(plans.sources)) == failure
