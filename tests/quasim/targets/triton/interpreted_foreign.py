"""A user's kernel run by Triton's interpreter on numpy arrays, in a process where that is switched on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from quasim.codec import from_msgpack, to_msgpack
from quasim.kernels import Arrays
from quasim.kernels.accuracy import untouched_outputs
from quasim.targets.triton.foreign import Autotuner
from quasim.targets.triton.foreign_family import load
from quasim.targets.triton.source import ConstantParameter, NumberParameter, PointerParameter, RealParameter, Source
from quasim.trial import Problem
from quasim.worker.process import ROOT
from tests.quasim.targets.triton.interpreted import SEED, patch_interpreter, scalar


def interpreted(place: str, source: Source, problem: Problem, folder: Path) -> Arrays:
    """The outputs of a source of the kernel at ``place``."""
    asked, answered = folder / "source.msgpack", folder / "answer.npz"
    asked.write_bytes(to_msgpack(source))
    environment = {**os.environ, "TRITON_INTERPRET": "1", "TRITON_CACHE_DIR": str(folder / "cache")}
    given = (place, problem.shape_text, str(asked), str(answered))
    command = [sys.executable, "-W", "ignore", "-m", __name__, *given]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(answered) as arrays:
        return dict(arrays)


def main(place: str, shape: str, asked: str, answered: str) -> None:
    """Run every block; in the process where the interpreter is switched on."""
    patch_interpreter()
    known = load(place)
    problem = Problem.parse(known.name, shape)
    source = from_msgpack(Path(asked).read_bytes(), Source)
    outputs = untouched_outputs(known.kernel, problem.dims)
    memory = {**known.inputs(problem.dims, np.random.default_rng(SEED)), **outputs}
    function = known.foreign.function
    if isinstance(function, Autotuner):
        function = function.fn
    grid = (source.grid.blocks(problem.dims, 1), *source.grid_yz)
    function[grid](**_arguments(source, memory))  # type: ignore[index]
    np.savez(answered, **outputs)  # type: ignore[arg-type]


def _arguments(source: Source, memory: Arrays) -> dict[str, object]:
    import triton.language as tl

    found: dict[str, object] = {}
    for p in source.parameters:
        if isinstance(p, PointerParameter):
            address = np.array([memory[p.tensor].ctypes.data], np.uint64)
            found[p.name] = scalar(address, tl.pointer_type(getattr(tl, p.dtype)))
        elif isinstance(p, NumberParameter):
            found[p.name] = scalar(np.array([p.value], np.int32), tl.int32)
        elif isinstance(p, RealParameter):
            found[p.name] = scalar(np.array([p.value], np.float32), tl.float32)
        else:
            assert isinstance(p, ConstantParameter)
            found[p.name] = p.value
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
