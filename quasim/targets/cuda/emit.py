"""Print a thread program as CUDA C++: node by node, deciding nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import reduce

from quasim.kernels.index import Arith, Index, Num, Sym, extent_name
from quasim.kernels.ir import Role
from quasim.kernels.lowered import Compare
from quasim.kernels.threaded import (
    BLOCK,
    THREAD,
    Apply,
    Array,
    Assign,
    Barrier,
    Cell,
    Copy,
    Declare,
    Exchange,
    For,
    Guard,
    If,
    Keep,
    Let,
    Load,
    Node,
    Number,
    Operand,
    Real,
    Save,
    Settle,
    Shared,
    Stash,
    Take,
    ThreadProgram,
    Unroll,
)
from quasim.targets.cuda.prelude import PRELUDE

_STEP = "    "
_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
_CALLS = {"exp": "expf", "sqrt": "sqrtf", "max": "larger", "larger": "fmaxf", "fma": "fmaf"}


def emit(program: ThreadProgram) -> str:
    """The source's text; its entry is the function named as the kernel, with C linkage."""
    integer = "int" if program.index_bits == 32 else "long long"
    pointers = (
        f"{'const ' if t.role is Role.INPUT else ''}float *__restrict__ {t.name}_ptr" for t in program.kernel.tensors
    )
    extents = (f"const {integer} {extent_name(extent.dim)}" for extent in program.extents)
    lines = [
        f'extern "C" __global__ void __launch_bounds__({program.threads})',
        f"{program.kernel.name}({', '.join((*pointers, *extents))})",
        "{",
        *(f"{_STEP}{line}" for line in (*_shared(program.shared), *_numbers(integer), *_body(program.body, integer))),
        "}",
    ]
    return PRELUDE + "\n" + "\n".join(lines) + "\n"


def _numbers(integer: str) -> Iterator[str]:
    yield f"const {integer} {BLOCK} = blockIdx.x, {THREAD} = threadIdx.x;"


def _shared(buffers: tuple[Shared, ...]) -> Iterator[str]:
    """All of it is asked for at launch: one pool, cut up."""
    if not buffers:
        return
    yield "extern __shared__ quad pool[];"
    start = 0
    for buffer in buffers:
        yield f"float *const {buffer.name} = reinterpret_cast<float *>(pool) + {start};"
        start += buffer.size


def _body(body: tuple[Node, ...], integer: str) -> Iterator[str]:
    for node in body:
        if isinstance(node, Unroll | For):
            yield from _loop(node, integer)
        elif isinstance(node, If):
            yield from _branch(node, integer)
        else:
            yield from _statement(node, integer)


def _loop(node: Unroll | For, integer: str) -> Iterator[str]:
    unrolled = isinstance(node, Unroll)
    high = str(node.count) if isinstance(node, Unroll) else _index(node.high)
    yield "#pragma unroll" if unrolled else "#pragma unroll 1"
    yield f"for ({'int' if unrolled else integer} {node.name} = 0; {node.name} < {high}; ++{node.name}) {{"
    yield from _indented(node.body, integer)
    yield "}"


def _branch(node: If, integer: str) -> Iterator[str]:
    yield f"if ({_guard(node.guard)}) {{"
    yield from _indented(node.then, integer)
    if node.otherwise:
        yield "} else {"
        yield from _indented(node.otherwise, integer)
    yield "}"


def _indented(body: tuple[Node, ...], integer: str) -> Iterator[str]:
    return (f"{_STEP}{line}" for line in _body(body, integer))


def _statement(
    node: Let | Declare | Assign | Load | Save | Stash | Take | Copy | Settle | Exchange | Barrier, integer: str
) -> Iterator[str]:
    if isinstance(node, Let):
        yield f"const {integer} {node.name} = {_index(node.value)};"
    elif isinstance(node, Declare):
        yield f"float {node.array.name}{_dimensions(node.array)};"
    elif isinstance(node, Assign):
        yield f"{_cell(node.cell)} = {_operand(node.value)};"
    elif isinstance(node, Load):
        yield from _load(node)
    elif isinstance(node, Save):
        place = f"{node.tensor.name}_ptr + {_index(node.offset)}"
        call = f"save{node.lanes}{_once(node.once)}({place}, &{_cell(node.source)});"
        yield f"if ({_guard(node.guard)}) {call}" if node.guard else call
    elif isinstance(node, Stash):
        yield f"save{node.lanes}({_place(node.buffer, node.at)}, &{_cell(node.source)});"
    elif isinstance(node, Take):
        yield f"load{node.lanes}(&{_cell(node.into)}, {_place(node.buffer, node.at)});"
    elif isinstance(node, Copy):
        source = f"{node.tensor.name}_ptr + {_index(node.offset)}"
        yield f"copy4({_place(node.buffer, node.at)}, {source}, {_guard(node.guard) or 'true'});"
    elif isinstance(node, Settle):
        yield "settle();"
    elif isinstance(node, Exchange):
        yield f"{_cell(node.cell)} = exchange_{node.op}<{node.width}>({_cell(node.cell)});"
    else:
        yield "__syncthreads();"


def _load(node: Load) -> Iterator[str]:
    into = f"&{_cell(node.into)}"
    call = f"load{node.lanes}{_once(node.once)}({into}, {node.tensor.name}_ptr + {_index(node.offset)});"
    if not node.guard:
        yield call
        return
    yield f"if ({_guard(node.guard)}) {call}"
    yield f"else zero{node.lanes}({into});"


def _once(once: bool) -> str:
    return "_once" if once else ""


def _dimensions(array: Array) -> str:
    return "".join(f"[{size}]" for size in array.shape)


def _cell(cell: Cell) -> str:
    return cell.array.name + "".join(f"[{_index(at)}]" for at in cell.at)


def _place(buffer: Shared, at: tuple[Index, ...]) -> str:
    start: Index = Num(0)
    flat = reduce(lambda found, step: found * step[1] + step[0], zip(at, buffer.shape, strict=True), start)
    return f"{buffer.name} + {_index(flat)}"


def _guard(guard: Guard) -> str:
    return " && ".join(map(_compare, guard))


def _compare(compare: Compare) -> str:
    return f"{_index(compare.left)} {compare.op} {_index(compare.right)}"


def _index(index: Index) -> str:
    if isinstance(index, Num):
        return str(index.value)
    if isinstance(index, Sym):
        return index.name
    if not isinstance(index, Arith):
        raise TypeError(f"{index} has no form in CUDA C++")
    left, right = _index(index.left), _index(index.right)
    if index.op in ("min", "max"):
        return f"({left} {'<' if index.op == 'min' else '>'} {right} ? {left} : {right})"
    if index.op == "+" and right.startswith("-"):
        return f"({left} - {right[1:]})"
    return f"({left} {index.op} {right})"


def _operand(value: Operand) -> str:
    if isinstance(value, Cell):
        return _cell(value)
    if isinstance(value, Number):
        return _number(value.value)
    if isinstance(value, Real):
        return f"(float)({_index(value.value)})"
    if isinstance(value, Keep):
        return f"({_guard(value.guard)} ? {_operand(value.value)} : {_number(value.fill)})"
    return _apply(value)


def _apply(value: Apply) -> str:
    args = [_operand(arg) for arg in value.args]
    if value.op in ("cast", "promote"):
        return args[0]
    if value.op == "neg":
        return f"(-{args[0]})"
    if value.op in _INFIX:
        return f"({args[0]} {_INFIX[value.op]} {args[1]})"
    return f"{_CALLS[value.op]}({', '.join(args)})"


def _number(value: float) -> str:
    if math.isfinite(value):
        return f"{float(value)!r}f"
    if math.isnan(value):
        raise TypeError("NaN has no form in CUDA C++")
    return f"{'-' if value < 0 else ''}INFINITE"
