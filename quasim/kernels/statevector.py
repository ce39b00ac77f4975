"""Families ``gate1`` and ``gate2``: apply a one- or two-qubit gate to a complex state, real and imaginary parts apart.

Qubit t of n counts with weight 2^t in an amplitude's position. Seen from its targets, the state is an array with a
dimension of 2 for each, most significant first, and the other qubits between them: (outer, 2, inner), or
(outer, 2, middle, 2, inner). Nothing is done in place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import reduce
from itertools import pairwise, product
from typing import Any

import numpy as np
import numpy.typing as npt

from quasim.errors import ShapeError
from quasim.kernels._base import Array, Arrays, CostFacts, Reference
from quasim.kernels.cost import cost_facts
from quasim.kernels.ir import Affine, Axis, Dim, Kernel, Load, Map, Role, Set, Store, Tensor, Value, Var, extents
from quasim.trial import Problem

Complex = npt.NDArray[np.complex128]

LARGEST = 1 << 28
"""Of each dimension: twice as many amplitudes of complex64 take 4 GiB."""

DIMS = {
    1: (Dim("outer", 1, LARGEST), Dim("inner", 1, LARGEST)),
    2: (Dim("outer", 1, LARGEST), Dim("middle", 1, LARGEST), Dim("inner", 1, LARGEST)),
}
"""By the number of targets: amplitudes before, between and after them."""

_APPLY = {1: "rc,xcy->xry", 2: "rsct,xcytz->xrysz"}
_PLANES = ("re", "im")


def problem(qubits: int, targets: tuple[int, ...]) -> Problem:
    """The problem of a gate on these targets of a state of so many qubits.

    Args:
        targets: one or two; the larger is the more significant bit of the gate's rows and columns.

    Raises:
        ShapeError: they are not one or two different qubits of the state.
    """
    if len(targets) not in DIMS or len(set(targets)) < len(targets) or not all(0 <= t < qubits for t in targets):
        raise ShapeError(
            f"targets {targets} are not one or two different qubits below {qubits}", "number them from 0 on"
        )
    bounds = [qubits, *sorted(targets, reverse=True), -1]
    between = [1 << (high - low - 1) for high, low in pairwise(bounds)]
    dims = DIMS[len(targets)]
    return Problem.of(f"gate{len(targets)}", **{dim.name: size for dim, size in zip(dims, between, strict=True)})


class Gate:
    """out = G·ψ along the target dimensions; G is any matrix, with its two planes first: (2, 2ᵗ, 2ᵗ) for t targets."""

    tolerance = 1e-6
    """Above the rounding of the eight products in a part of an amplitude (5e-7), far below a wrong entry of G."""

    def __init__(self, targets: int) -> None:
        self.targets = targets
        self.name = f"gate{targets}"
        self.summary = f"{'one' if targets == 1 else 'two'}-qubit gate on a complex64 state, planar"
        self.kernel = _kernel(self.name, DIMS[targets])

    def inputs(self, shape: Mapping[str, int], rng: np.random.Generator) -> Arrays:
        """A random state with a norm of about 1, and a random unitary gate."""
        sizes = extents(self.kernel.tensors[0], shape)
        scale = np.float32(1 / np.sqrt(2 * np.prod(sizes)))
        re, im = (rng.standard_normal(sizes, dtype=np.float32) for _ in _PLANES)
        gate = _unitary(2**self.targets, rng)
        return {"re": re * scale, "im": im * scale, "gate": np.stack([gate.real, gate.imag]).astype(np.float32)}

    def reference(self, shape: Mapping[str, int], inputs: Arrays) -> dict[str, Reference]:
        """G·ψ in complex128. The scale of both parts is |G|·|ψ|, as |A||B| is of a product."""
        state, gate = _complex(inputs["re"], inputs["im"]), _complex(*inputs["gate"])
        out, scale = self._apply(gate, state), self._apply(np.abs(gate), np.abs(state))
        return {"out_re": Reference(out.real, scale), "out_im": Reference(out.imag, scale)}

    def library(self, inputs: Arrays, outputs: Arrays) -> bool:
        """numpy's einsum in float32, one for each product of planes."""
        re, im, (gate_re, gate_im) = inputs["re"], inputs["im"], inputs["gate"]
        outputs["out_re"][...] = self._apply(gate_re, re)
        outputs["out_re"] -= self._apply(gate_im, im)
        outputs["out_im"][...] = self._apply(gate_re, im)
        outputs["out_im"] += self._apply(gate_im, re)
        return True

    def cost(self, problem: Problem) -> CostFacts:
        """8·2ᵗ − 2 flops an amplitude, which is read and written once, as the IR says."""
        return cost_facts(self.kernel, problem.dims)

    def _apply(self, gate: npt.NDArray[Any], state: npt.NDArray[Any]) -> npt.NDArray[Any]:
        bits = gate.reshape((2,) * (2 * self.targets))
        return np.asarray(np.einsum(_APPLY[self.targets], bits, state))


def _complex(re: Array, im: Array) -> Complex:
    out = np.empty(re.shape, np.complex128)
    out.real, out.imag = re, im
    return out


def _unitary(size: int, rng: np.random.Generator) -> Complex:
    """Uniform among the unitary matrices (Mezzadri 2007): the phases of R's diagonal undo what QR chooses."""
    q, r = np.linalg.qr(_complex(rng.standard_normal((size, size)), rng.standard_normal((size, size))))
    phases = np.diag(r) / np.abs(np.diag(r))
    return np.asarray(q * phases)


def _kernel(name: str, dims: tuple[Dim, ...]) -> Kernel:
    axes = tuple(Axis(dim.name, dim) for dim in dims)
    shape = tuple(size for dim in dims for size in (dim, 2))[:-1]
    width = 2 ** (len(dims) - 1)
    re, im = (Tensor(part, shape, "float32", Role.INPUT) for part in _PLANES)
    gate = Tensor("gate", (2, width, width), "float32", Role.INPUT)
    outs = tuple(Tensor(f"out_{part}", shape, "float32", Role.OUTPUT) for part in _PLANES)
    places = [_place(axes, bits) for bits in product((0, 1), repeat=len(dims) - 1)]
    sets = [
        Set(_entry(plane, row, col), Load(gate, tuple(Affine(None, at) for at in (plane, row, col)), ()))
        for plane, row, col in product(range(2), range(width), range(width))
    ]
    sets += [
        Set(_amplitude(axes, plane, col), Load(part, place, axes))
        for col, place in enumerate(places)
        for plane, part in enumerate((re, im))
    ]
    stores = [
        Store(out, place, _sum(axes, plane, row, width), axes)
        for row, place in enumerate(places)
        for plane, out in enumerate(outs)
    ]
    return Kernel(name, dims, (re, im, gate, *outs), axes, (*sets, *stores))


def _place(axes: tuple[Axis, ...], bits: tuple[int, ...]) -> tuple[Affine, ...]:
    """The amplitudes whose targets are ``bits``."""
    first, *rest = axes
    between = (at for bit, axis in zip(bits, rest, strict=True) for at in (Affine(None, bit), Affine(axis)))
    return (Affine(first), *between)


def _entry(plane: int, row: int, col: int) -> Var:
    return Var(f"gate_{_PLANES[plane]}_{row}_{col}", ())


def _amplitude(axes: tuple[Axis, ...], plane: int, col: int) -> Var:
    return Var(f"{_PLANES[plane]}_{col}", axes)


def _sum(axes: tuple[Axis, ...], plane: int, row: int, width: int) -> Value:
    """A plane of a row of G·ψ: Σ Re G·Re ψ − Im G·Im ψ, or Σ Re G·Im ψ + Im G·Re ψ."""

    def terms() -> Iterator[Value]:
        for col in range(width):
            yield Map("mul", (_entry(0, row, col), _amplitude(axes, plane, col)))
            cross = Map("mul", (_entry(1, row, col), _amplitude(axes, 1 - plane, col)))
            yield cross if plane else Map("neg", (cross,))

    return reduce(_plus, terms())


def _plus(total: Value, term: Value) -> Value:
    if isinstance(term, Map) and term.op == "neg":
        return Map("sub", (total, *term.args))
    return Map("add", (total, term))
