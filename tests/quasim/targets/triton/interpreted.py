"""Triton modules run by Triton's interpreter, on numpy arrays, in a process of its own: it replaces the language."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from quasim.codec import from_msgpack, to_msgpack
from quasim.kernels import family
from quasim.kernels._base import Arrays, numpy_dtype
from quasim.kernels.accuracy import untouched_outputs
from quasim.kernels.ir import Dtype, Role, extents
from quasim.precision.classes import draw
from quasim.precision.probe import signs
from quasim.targets.gpu.build import Planned
from quasim.targets.triton.plans import planned
from quasim.targets.triton.source import (
    DescriptorParameter,
    ExtentParameter,
    PointerParameter,
    Source,
    SourceParameter,
    source,
)
from quasim.trial import Genome, Problem
from quasim.worker.process import ROOT

SEED = 7
NAMES = {"float8_e4m3fn": "float8e4nv", "float8_e5m2": "float8e5"}
"""What Triton calls formats otherwise than numpy."""

FORMATS: dict[str, Dtype] = {
    "fp8e4nv": "float8_e4m3fn",
    "fp8e5": "float8_e5m2",
    "fp16": "float16",
    "bf16": "bfloat16",
    "fp32": "float32",
}
"""Formats by the names of Triton's types."""

MULTIPROCESSORS = 3
"""Of the device that is pretended, so that persistent programs loop."""


class Case(msgspec.Struct, frozen=True):
    """A genome of a problem.

    Attributes:
        nan_at: put ``bad`` at this position of every input.
        bad: what is put there.
        data: the class of the inputs of a product; empty: the family's own.
    """

    problem: Problem
    genome: Genome
    nan_at: int | None = None
    bad: float = math.nan
    data: str = ""

    def inputs(self) -> Arrays:
        """Equal in every process."""
        dims = self.problem.dims
        arrays = family(self.problem.kernel).inputs(dims, np.random.default_rng(SEED))
        if self.data:
            arrays = dict(zip("ab", draw(self.data, SEED, dims["m"], dims["n"], dims["k"]), strict=True))
        if self.nan_at is not None:
            for array in arrays.values():
                array.flat[self.nan_at] = self.bad
        return arrays

    def source(self) -> Source:
        """The module of the genome."""
        return source(family(self.problem.kernel).kernel, self.genome, self.problem.dims)

    def planned(self) -> Planned:
        """All that is launched for the genome."""
        return planned(family(self.problem.kernel).kernel, self.genome, self.problem.dims)

    def layout(self, planned: Planned) -> dict[str, tuple[np.dtype[np.generic], tuple[int, ...]]]:
        """Format and shape of outputs, and of what launches hand on."""
        kernel, dims = family(self.problem.kernel).kernel, self.problem.dims
        found = {t.name: (numpy_dtype(t.dtype), extents(t, dims)) for t in kernel.tensors if t.role is Role.OUTPUT}
        handed_on = planned.workspace
        return found | {b.name: (numpy_dtype(b.dtype), tuple(s.of(dims) for s in b.shape)) for b in handed_on}


class Answer(msgspec.Struct, frozen=True):
    """Outputs by name: their bytes."""

    outputs: dict[str, bytes]


def interpreted(cases: Sequence[Case], folder: Path) -> list[Arrays]:
    """The outputs of each case."""
    asked = folder / "cases.msgpack"
    asked.write_bytes(to_msgpack(list(cases)))
    answered = folder / "answers.msgpack"
    environment = {**os.environ, "TRITON_INTERPRET": "1", "TRITON_CACHE_DIR": str(folder / "cache")}
    command = [sys.executable, "-W", "ignore", "-m", __name__, str(asked), str(answered)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    answers = from_msgpack(answered.read_bytes(), list[Answer])
    return [_arrays(case, answer) for case, answer in zip(cases, answers, strict=True)]


def _arrays(case: Case, answer: Answer) -> Arrays:
    return {
        name: np.frombuffer(answer.outputs[name], dtype).reshape(shape)
        for name, (dtype, shape) in case.layout(case.planned()).items()
    }


def main(asked: str, answered: str) -> None:
    """Answer the cases of a file; in the process where the interpreter is switched on."""
    patch_interpreter()
    cases = from_msgpack(Path(asked).read_bytes(), list[Case])
    Path(answered).write_bytes(to_msgpack([_run(case) for case in cases]))


def patch_interpreter() -> None:
    """Arguments are made by us, and stay where they are: no torch is needed."""
    from triton.runtime import interpreter

    # The bounds of every sum of integers are computed for an assertion that only debugging makes.
    interpreter.interpreter_builder.options = interpreter.InterpreterOptions(sanitize_overflow=False)
    # The only assembly there is says that a register is itself.
    interpreter.InterpreterBuilder.create_inline_asm = lambda self, asm, constraints, values, *others: _Results(values)
    interpreter._implicit_cvt = lambda argument: argument
    interpreter._convert_float = _converted
    interpreter.ReduceOps.generic_reduce = _reduced
    interpreter._patch_lang_tensor = _with_index(interpreter._patch_lang_tensor)
    # Nothing but launches runs here, so the language stays patched; else each call of a function patches it again.
    interpreter._LangPatchScope.restore = lambda self: None
    interpreter._patch_lang = cache(interpreter._patch_lang)
    interpreter.GridExecutor._init_args_hst = lambda self, args, kwargs: (args, kwargs)
    interpreter.GridExecutor._restore_args_dev = lambda self, args, host, kwargs, kwargs_host: None


def _converted(data: npt.NDArray[np.generic], source: Any, target: Any, _: object) -> npt.NDArray[np.generic]:
    """Bits of another floating-point format, to nearest even as devices round; the interpreter's own cut fp8."""
    found = data.view(numpy_dtype(FORMATS[source.name])).astype(np.float32).astype(numpy_dtype(FORMATS[target.name]))
    return found.view(f"uint{target.primitive_bitwidth}")


def _reduced(operation: Any, values: Sequence[Any]) -> list[object]:
    """A fold by a function, halves of whole slices at a time; the interpreter's own goes element by element."""
    (value,) = values
    slices = np.moveaxis(value.handle.data, operation.axis, 0)
    while len(slices) > 1:
        halves = (operation.to_tensor(half, value.dtype) for half in np.split(slices, 2))
        slices = operation.combine_fn.fn(*halves).handle.data
    return [operation.to_tensor(slices[0], value.dtype)]


class _Results(list[object]):
    """Results of one instruction, as Triton's compiler gives them."""

    def get_result(self, number: int) -> object:
        """One of them."""
        return self[number]


def _with_index(patch: Callable[[type, object], None]) -> Callable[[type, object], None]:
    """The interpreter makes an integer of an array of one element, which numpy no longer does by itself."""

    def patched(tensor: type, scope: Any) -> None:
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    return patched


def _run(case: Case) -> Answer:
    from quasim.targets.triton.compile import _module

    dims = case.problem.dims
    outputs = untouched_outputs(family(case.problem.kernel).kernel, dims)
    planned = case.planned()
    layout = {name: found for name, found in case.layout(planned).items() if name not in outputs}
    outputs |= {name: np.zeros(shape, dtype) for name, (dtype, shape) in layout.items()}
    outputs |= {b.name: signs(*(s.of(dims) for s in b.shape)) for b in planned.workspace if b.fill == "signs"}
    memory = {**case.inputs(), **outputs}
    for text in planned.sources:
        assert isinstance(text, Source)
        arguments = [_argument(parameter, memory, dims) for parameter in text.parameters]
        with np.errstate(all="ignore"):
            getattr(_module(text.text), text.entry)[(text.grid.blocks(dims, MULTIPROCESSORS),)](*arguments)
    return Answer({name: array.tobytes() for name, array in outputs.items()})


def _argument(parameter: SourceParameter, memory: Arrays, dims: Mapping[str, int]) -> object:
    import triton.language as tl

    if isinstance(parameter, ExtentParameter):
        kind = tl.int64 if parameter.bits == 64 else tl.int32
        return scalar(np.array([dims[parameter.dim]], np.int64 if parameter.bits == 64 else np.int32), kind)
    assert isinstance(parameter, PointerParameter | DescriptorParameter)
    array = memory[parameter.tensor]
    assert array.flags.c_contiguous
    pointer = scalar(
        np.array([array.ctypes.data], np.uint64),
        tl.pointer_type(getattr(tl, NAMES.get(parameter.dtype, parameter.dtype))),
    )
    return pointer if isinstance(parameter, PointerParameter) else _descriptor(parameter, pointer, dims)


def scalar(data: npt.NDArray[np.generic], kind: object) -> object:
    """A value of one element, as the interpreter passes it."""
    import triton.language as tl
    from triton.runtime.interpreter import TensorHandle

    return tl.tensor(TensorHandle(data, kind), kind)


def _descriptor(parameter: DescriptorParameter, pointer: object, dims: Mapping[str, int]) -> object:
    import triton.language as tl
    from triton.runtime.interpreter import interpreter_semantic

    sizes = [size.of(dims) for size in parameter.shape]
    shape = [scalar(np.array([size], np.int32), tl.int32) for size in sizes]
    strides = [scalar(np.array([np.prod(sizes[i + 1 :])], np.int64), tl.int64) for i in range(len(sizes) - 1)]
    box = [tl.constexpr(size) for size in parameter.box]
    return interpreter_semantic.make_tensor_descriptor(
        base=pointer, shape=shape, strides=[*strides, tl.constexpr(1)], block_shape=box
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
