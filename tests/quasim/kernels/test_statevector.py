from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from quasim.errors import ShapeError
from quasim.kernels import Arrays, check_problem, family
from quasim.kernels.interpret import interpret
from quasim.kernels.statevector import problem
from quasim.trial import Problem

Complex = npt.NDArray[np.complex128]


def _arrays(state: Complex, gate: Complex, shape: dict[str, int]) -> Arrays:
    sizes = [size for extent in shape.values() for size in (extent, 2)][:-1]
    grid = state.reshape(sizes)
    planes = np.stack([gate.real, gate.imag]).astype(np.float32)
    return {"re": grid.real.astype(np.float32), "im": grid.imag.astype(np.float32), "gate": planes}


@pytest.mark.parametrize(
    ("qubits", "targets", "shape"),
    [
        (26, (3,), {"outer": 1 << 22, "inner": 8}),
        (5, (0,), {"outer": 16, "inner": 1}),
        (5, (4,), {"outer": 1, "inner": 16}),
        (10, (7, 2), {"outer": 4, "middle": 16, "inner": 4}),
        (10, (2, 7), {"outer": 4, "middle": 16, "inner": 4}),
        (2, (1, 0), {"outer": 1, "middle": 1, "inner": 1}),
    ],
)
def test_targets_cut_the_state_into_dimensions(qubits: int, targets: tuple[int, ...], shape: dict[str, int]) -> None:
    found = problem(qubits, targets)
    assert found == check_problem(Problem.of(f"gate{len(targets)}", **shape))


@pytest.mark.parametrize("targets", [(), (5,), (-1,), (2, 2), (0, 1, 2)])
def test_targets_that_are_no_qubits_of_the_state_are_refused(targets: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="not one or two different qubits"):
        problem(5, targets)


def test_a_not_gate_swaps_the_amplitudes_of_its_target() -> None:
    shape = problem(3, (1,)).dims
    flip = np.array([[0, 1], [1, 0]], complex)
    out = family("gate1").reference(shape, _arrays(np.arange(8) + np.full(8, 1j), flip, shape))
    assert out["out_re"].value.ravel().tolist() == [2, 3, 0, 1, 6, 7, 4, 5]
    assert out["out_im"].value.ravel().tolist() == [1] * 8


@pytest.mark.parametrize("targets", [(0,), (2,), (4,), (1, 0), (4, 0), (3, 1)])
def test_reference_and_ir_agree_with_the_whole_operator(targets: tuple[int, ...]) -> None:
    """Built by Kronecker products over all qubits, by permuting bits: independent of the array's dimensions."""
    qubits, rng = 5, np.random.default_rng(targets)
    shape, name = problem(qubits, targets).dims, f"gate{len(targets)}"
    inputs = family(name).inputs(shape, rng)
    gate = inputs["gate"][0].astype(complex) + 1j * inputs["gate"][1]
    state = (inputs["re"] + 1j * inputs["im"].astype(complex)).ravel()
    whole = np.zeros((1 << qubits, 1 << qubits), complex)
    for row, col in np.ndindex(whole.shape):
        if all((row ^ col) >> q & 1 == 0 for q in range(qubits) if q not in targets):
            whole[row, col] = gate[_bits(row, targets), _bits(col, targets)]
    expected = (whole @ state).reshape(inputs["re"].shape)
    for outputs in (
        {name: ref.value for name, ref in family(name).reference(shape, inputs).items()},
        interpret(family(name).kernel, inputs, shape, {"outer": 2, "inner": 4}),
    ):
        np.testing.assert_allclose(outputs["out_re"] + 1j * outputs["out_im"], expected, atol=1e-6)


def _bits(position: int, targets: tuple[int, ...]) -> int:
    return sum((position >> q & 1) << weight for weight, q in enumerate(sorted(targets)))


@pytest.mark.parametrize("targets", [(2,), (3, 1)])
def test_inputs_are_a_state_of_norm_one_and_a_unitary_gate(targets: tuple[int, ...]) -> None:
    inputs = family(f"gate{len(targets)}").inputs(problem(14, targets).dims, np.random.default_rng(2))
    norm = np.sqrt((inputs["re"].astype(float) ** 2 + inputs["im"].astype(float) ** 2).sum())
    assert norm == pytest.approx(1, abs=0.02)
    gate = inputs["gate"][0] + 1j * inputs["gate"][1]
    np.testing.assert_allclose(gate @ gate.conj().T, np.eye(len(gate)), atol=1e-6)
    assert np.abs(gate).max() < 1


def test_the_scale_bounds_what_cancels() -> None:
    shape = problem(1, (0,)).dims
    hadamard = np.array([[1, 1], [1, -1]], complex)
    out = family("gate1").reference(shape, _arrays(np.array([3, 3 + 0j]), hadamard, shape))
    assert out["out_re"].value.ravel().tolist() == [6, 0]
    assert out["out_re"].scale.ravel().tolist() == [6, 6]
