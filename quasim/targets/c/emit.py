"""C source of a lowered kernel: one function, with its tensors, scratch memory and loop nest.

``int quasim_run(const int64_t *dims, void *const *tensors)`` takes the extents in the order of ``Kernel.dims`` and the
arrays in the order of ``Kernel.tensors``; it returns 0, or 1 if there was no memory for scratch.
"""

from __future__ import annotations

from collections.abc import Iterator

from quasim.kernels.index import extent_name, num
from quasim.kernels.ir import Role, Tensor
from quasim.kernels.lowered import Buffer, Lowered, Scope, flat
from quasim.targets.c.nodes import INDENT, Printer, memory
from quasim.targets.c.prelude import C_TYPES, prelude

ENTRY = "quasim_run"
"""Name of the emitted function."""


def emit(lowered: Lowered) -> str:
    """The C source; the same lowered kernel always gives the same text."""
    return "\n".join(_lines(lowered)) + "\n"


def _lines(lowered: Lowered) -> Iterator[str]:
    formats = {tensor.name: tensor.dtype for tensor in lowered.kernel.tensors}
    printer = Printer(lowered.shapes, formats, tuple(_own_part(b) for b in lowered.buffers if b.scope is Scope.THREAD))
    body = list(printer.block(lowered.body, 1))
    yield f"/* {lowered.kernel.name}: {lowered.genome} */"
    yield prelude(printer.lanes, printer.exp, sorted(set(formats.values()) - {"float32"}))
    yield f"int {ENTRY}(const int64_t *dims, void *const *tensors) {{"
    for number, dim in enumerate(lowered.kernel.dims):
        yield f"{INDENT}const int64_t {extent_name(dim.name)} = dims[{number}];"
    for number, tensor in enumerate(lowered.kernel.tensors):
        yield f"{INDENT}{_pointer(tensor)}{memory(tensor.name)} = tensors[{number}];"
    yield from (line for buffer in lowered.buffers for line in _allocate(buffer, printer))
    yield from _give_up(lowered.buffers)
    yield from body
    yield from (f"{INDENT}free(all_{buffer.name});" for buffer in lowered.buffers)
    yield f"{INDENT}return 0;"
    yield "}"


def _pointer(tensor: Tensor) -> str:
    return f"{'const ' if tensor.role is Role.INPUT else ''}{C_TYPES[tensor.dtype]} *const "


def _allocate(buffer: Buffer, printer: Printer) -> Iterator[str]:
    """Scratch for all threads; a shared buffer has one copy, under the name that the loop nest uses."""
    size = flat(tuple(s - 1 for s in buffer.shape), buffer.shape) + 1
    copies = printer.threads if buffer.scope is Scope.THREAD else 1
    yield f"{INDENT}const int64_t size_{buffer.name} = {printer.index(num(size))};"
    call = f"scratch(size_{buffer.name}, {copies}, {buffer.alignment})"
    yield f"{INDENT}float *const all_{buffer.name} = {call};"
    if buffer.scope is Scope.SHARED:
        yield f"{INDENT}float *const {memory(buffer.name)} = all_{buffer.name};"


def _own_part(buffer: Buffer) -> str:
    offset = f"thread_number() * padded(size_{buffer.name}, {buffer.alignment})"
    return f"float *const {memory(buffer.name)} = all_{buffer.name} + {offset};"


def _give_up(buffers: tuple[Buffer, ...]) -> Iterator[str]:
    """Return 1, with nothing leaked, if any scratch could not be had; freeing NULL is fine."""
    if buffers:
        yield f"{INDENT}if ({' || '.join(f'!all_{b.name}' for b in buffers)}) {{"
        yield from (f"{INDENT * 2}free(all_{buffer.name});" for buffer in buffers)
        yield f"{INDENT * 2}return 1;"
        yield f"{INDENT}}}"
