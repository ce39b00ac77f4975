from __future__ import annotations

import numpy as np
import pytest

from quasim.kernels import families, family
from quasim.kernels._base import numpy_dtype
from quasim.kernels.accuracy import kernel_errors, untouched_outputs
from quasim.kernels.interpret import interpret
from quasim.kernels.matmul import MATMULS, Matmul
from quasim.trial import Problem

SIZES = {"b": 3, "m": 5, "n": 7, "k": 40}


def _shape(form: Matmul) -> dict[str, int]:
    return {dim.name: SIZES[dim.name] for dim in form.kernel.dims}


def test_every_form_is_registered_under_a_name_of_its_own() -> None:
    names = [form.name for form in MATMULS]
    assert len(set(names)) == 4 * 3 * 2
    assert {"matmul", "matmul_nt", "matmul_tf32_tn", "matmul_bf16", "bmm", "bmm_fp16_nt"} < set(names)
    assert set(names) <= {f.name for f in families()}
    assert names[0] == "matmul"


@pytest.mark.parametrize("form", MATMULS, ids=lambda form: form.name)
def test_library_and_interpreter_agree_with_the_reference(form: Matmul) -> None:
    shape = _shape(form)
    inputs, outputs = form.inputs(shape, np.random.default_rng(1)), untouched_outputs(form.kernel, shape)
    reference = form.reference(shape, inputs)
    assert form.library(inputs, outputs)
    for answers in (outputs, interpret(form.kernel, inputs, shape, {"m": 4, "n": 4, "k": 16})):
        errors = kernel_errors(form.kernel, answers, reference)
        assert errors.frobenius < form.tolerance
        assert errors.componentwise < form.tolerance


@pytest.mark.parametrize("form", MATMULS, ids=lambda form: form.name)
def test_stored_shapes_and_formats_follow_the_form(form: Matmul) -> None:
    inputs = form.inputs(_shape(form), np.random.default_rng(1))
    batch = (3,) if form.batched else ()
    assert inputs["a"].shape == (*batch, *((40, 5) if form.layout == "tn" else (5, 40)))
    assert inputs["b"].shape == (*batch, *((7, 40) if form.layout == "nt" else (40, 7)))
    stored = numpy_dtype("float32" if form.operands == "tf32" else form.operands)
    assert {array.dtype for array in inputs.values()} == {stored}


@pytest.mark.parametrize("operands", ["bfloat16", "float16"])
def test_sums_of_16_bit_numbers_would_not_be_tolerated(operands: str) -> None:
    form = next(f for f in MATMULS if f.operands == operands)
    shape = {"m": 8, "n": 8, "k": 256}
    inputs = form.inputs(shape, np.random.default_rng(1))
    narrow = np.zeros((8, 8), numpy_dtype(form.kernel.tensors[0].dtype))
    for k in range(256):
        narrow = (narrow + inputs["a"][:, k : k + 1] * inputs["b"][k]).astype(narrow.dtype)
    errors = kernel_errors(form.kernel, {"c": narrow}, form.reference(shape, inputs))
    assert errors.frobenius > form.tolerance


def test_tf32_products_are_told_from_those_of_float32_and_bfloat16() -> None:
    shape = {"m": 16, "n": 16, "k": 64}
    form = family("matmul_tf32")
    inputs = form.inputs(shape, np.random.default_rng(1))
    errors = kernel_errors(form.kernel, interpret(form.kernel, inputs, shape, {}), form.reference(shape, inputs))
    assert 1e-5 < errors.frobenius < form.tolerance
    coarse = {name: array.astype(numpy_dtype("bfloat16")).astype(np.float32) for name, array in inputs.items()}
    rounded = {"c": coarse["a"] @ coarse["b"]}
    assert kernel_errors(form.kernel, rounded, form.reference(shape, inputs)).frobenius > form.tolerance


def test_16_bit_operands_halve_the_bytes_and_batches_multiply_them() -> None:
    sizes = {"m": 64, "n": 32, "k": 16}
    whole, half, batch = (
        family(name).cost(Problem.of(name, **shape))
        for name, shape in [("matmul", sizes), ("matmul_fp16", sizes), ("bmm_fp16_nt", {"b": 5, **sizes})]
    )
    assert (half.bytes, half.flops) == (whole.bytes // 2, whole.flops)
    assert (batch.bytes, batch.flops) == (5 * half.bytes, 5 * half.flops)
