from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quasim.kernels import Array, Reference, accuracy, family
from quasim.kernels.accuracy import untouched
from quasim.kernels.ir import Kernel, Role, Tensor
from quasim.worker.cuda import norms

SHAPE = (37, 41)
SPECIAL = [np.nan, np.inf, -np.inf, 1e300, 3.4e38]


def _output(name: str) -> tuple[Kernel, Tensor]:
    kernel = family(name).kernel
    return kernel, next(t for t in kernel.tensors if t.role is Role.OUTPUT)


def _both(tensor: Tensor, computed: Array, reference: Reference) -> tuple[accuracy.Errors, accuracy.Errors]:
    cpu = torch.device("cpu")
    on_device = norms.tensor_errors(tensor, torch.from_numpy(computed.copy()), norms.DeviceReference.of(reference, cpu))
    return on_device, accuracy.tensor_errors(tensor, computed, reference)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    in_answer=st.lists(st.tuples(st.integers(0, 36), st.integers(0, 40), st.sampled_from(SPECIAL)), max_size=2),
    in_both=st.lists(st.tuples(st.integers(1, 35), st.integers(1, 39), st.sampled_from(SPECIAL[:3])), max_size=3),
    name=st.sampled_from(["softmax", "stencil2d"]),
)
def test_the_devices_norms_are_those_of_the_cpu(
    seed: int, in_answer: list[tuple[int, int, float]], in_both: list[tuple[int, int, float]], name: str
) -> None:
    rng = np.random.default_rng(seed)
    _, tensor = _output(name)
    value = rng.standard_normal(SHAPE)
    computed = value.astype(np.float32) + np.float32(1e-6)
    with np.errstate(over="ignore"):
        for i, j, special in in_both:
            value[i, j] = computed[i, j] = special
        for i, j, special in in_answer:
            computed[i, j] = special
    if tensor.cover:
        computed[[0, -1], :] = untouched("float32")
        computed[:, [0, -1]] = untouched("float32")
    ours, theirs = _both(tensor, computed, Reference(value, np.abs(value) + 1))
    assert ours.frobenius == pytest.approx(theirs.frobenius, rel=1e-9)
    assert ours.componentwise == pytest.approx(theirs.componentwise, rel=1e-9)


def test_an_element_outside_the_cover_makes_the_answer_wrong() -> None:
    _, tensor = _output("stencil2d")
    value = np.ones(SHAPE)
    computed = value.astype(np.float32)
    ours, theirs = _both(tensor, computed, Reference(value, value))
    assert ours == theirs == accuracy.WRONG


def test_chunks_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    _, tensor = _output("softmax")
    value = np.random.default_rng(0).standard_normal(SHAPE)
    reference = Reference(value, np.ones(SHAPE))
    computed = value.astype(np.float32)
    whole, _ = _both(tensor, computed, reference)
    monkeypatch.setattr(norms, "CHUNK", 64)
    parts, _ = _both(tensor, computed, reference)
    assert parts.frobenius == pytest.approx(whole.frobenius, rel=1e-12)
    assert parts.componentwise == whole.componentwise


def test_a_reference_of_nothing_allows_nothing_but_nothing() -> None:
    _, tensor = _output("softmax")
    zero = np.zeros(SHAPE)
    assert _both(tensor, zero.astype(np.float32), Reference(zero, zero))[0] == accuracy.Errors(0.0, 0.0)
    ours, theirs = _both(tensor, zero.astype(np.float32) + 1, Reference(zero, zero))
    assert ours == theirs
