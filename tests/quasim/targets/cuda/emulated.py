"""Emitted CUDA C++ run on the host by ``emulated.h``, on arrays that end, or begin, at a page that may not be touched.

Run as a program it launches the cases of a library, each in a child of its own.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

from quasim.codec import from_msgpack, to_msgpack
from quasim.kernels import Array, Arrays, family
from quasim.kernels.accuracy import kernel_errors, untouched_outputs
from quasim.kernels.ir import Kernel, Role
from quasim.kernels.lower.threads import lower_threads
from quasim.kernels.threaded import ThreadProgram
from quasim.targets.cuda.emit import emit
from quasim.targets.cuda.prelude import PRELUDE
from quasim.trial import Genome, Problem
from quasim.worker.process import ROOT
from tests.quasim.targets.guarded import Fenced, in_child

SEED = 7
HEADER = Path(__file__).with_name("emulated.h")


class Case(msgspec.Struct, frozen=True):
    """A genome of a problem.

    Attributes:
        nan_at: put a NaN at this position of every input.
    """

    problem: Problem
    genome: Genome
    nan_at: int | None = None

    def program(self, kernel: Kernel | None = None) -> ThreadProgram:
        """The family's kernel, or another in its place, under the genome."""
        return lower_threads(kernel or family(self.problem.kernel).kernel, self.genome, self.problem.dims)

    def inputs(self) -> Arrays:
        """Equal in every process."""
        arrays = family(self.problem.kernel).inputs(self.problem.dims, np.random.default_rng(SEED))
        if self.nan_at is not None:
            for array in arrays.values():
                array.flat[self.nan_at % array.size] = np.nan
        return arrays


def compiled(programs: Sequence[ThreadProgram], folder: Path) -> Path:
    """One library with all programs: entry ``run_0`` launches the first, and so on."""
    parts = [PRELUDE, *(_part(number, program) for number, program in enumerate(programs))]
    text, library = folder / "emulated.cpp", folder / "emulated.so"
    text.write_text("".join(parts))
    flags = ["-std=c++17", "-O1", "-fPIC", "-shared", "-Wno-unknown-pragmas", "-fsanitize=alignment"]
    flags += ["-fsanitize-undefined-trap-on-error", "-include", str(HEADER)]
    subprocess.run(["g++", *flags, str(text), "-o", str(library)], check=True, timeout=120)
    return library


def _part(number: int, program: ThreadProgram) -> str:
    name, text = program.kernel.name, emit(program).removeprefix(PRELUDE)
    integer = "int" if program.index_bits == 32 else "long long"
    pointers = [f"static_cast<float *>(pointers[{i}])" for i in range(len(program.kernel.tensors))]
    extents = [f"static_cast<{integer}>(extents[{i}])" for i in range(len(program.extents))]
    return f"""
#define {name} kernel_{number}
{text}
#undef {name}
extern "C" void run_{number}(
    unsigned blocks, unsigned threads, int backwards, void **pointers, const long long *extents)
{{
    emulated::launch(blocks, threads, backwards, [=] {{ kernel_{number}({", ".join((*pointers, *extents))}); }});
}}
"""


def errors(library: Path, cases: Sequence[Case], *, behind: bool = True) -> list[float]:
    """The Frobenius error of each case, or minus the number of the signal that ended its child.

    Args:
        behind: the page that may not be touched begins where the arrays end; else it ends where they begin, and
            threads take turns backwards.
    """
    command = [sys.executable, "-m", __name__, str(library), "behind" if behind else "before"]
    done = subprocess.run(
        command, input=to_msgpack(list(cases)), cwd=ROOT, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return from_msgpack(done.stdout, list[float])


def _run(library: str, number: int, case: Case, behind: bool) -> float:
    member, dims = family(case.problem.kernel), case.problem.dims
    inputs, outputs = case.inputs(), untouched_outputs(member.kernel, dims)
    fenced = {name: Fenced(_placed(array, behind), behind) for name, array in {**inputs, **outputs}.items()}
    program = case.program()
    held = [fenced[tensor.name].array for tensor in program.kernel.tensors]
    pointers = (ctypes.c_void_p * len(held))(*(array.ctypes.data for array in held))
    extents = (ctypes.c_longlong * len(program.extents))(*(dims[extent.dim] for extent in program.extents))
    launch = ctypes.CDLL(library)[f"run_{number}"]
    launch(program.grid.blocks(dims, 1), program.threads, not behind, pointers, extents)
    outcome = {t.name: fenced[t.name].array for t in member.kernel.tensors if t.role is Role.OUTPUT}
    answers = {
        name: array.reshape(-1)[: outputs[name].size].reshape(outputs[name].shape) for name, array in outcome.items()
    }
    return kernel_errors(member.kernel, answers, member.reference(dims, inputs)).frobenius


def _placed(array: Array, behind: bool) -> Array:
    """Padded at the end so that an array that ends at a page begins at a multiple of 16 bytes, as on a device."""
    if not behind or array.nbytes % 16 == 0:
        return array
    return np.resize(array, -(-array.nbytes // 16) * 16 // array.itemsize)


def main(library: str, side: str) -> None:
    """Nothing may run on several threads here before the children are forked off."""
    cases = from_msgpack(sys.stdin.buffer.read(), list[Case])
    found = [in_child(partial(_run, library, number, case, side == "behind")) for number, case in enumerate(cases)]
    sys.stdout.buffer.write(to_msgpack(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
