"""Triton's own tuner on a foreign kernel: ``python -m benchmarks.autotune_peer PLACE SHAPE DEVICE ANSWER``."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

import msgspec
import numpy as np

from quasim.codec import to_json
from quasim.errors import ConfigError
from quasim.kernels.ir import Role, extents
from quasim.targets.triton.foreign import Autotuner
from quasim.targets.triton.foreign_family import ForeignFamily, load
from quasim.trial import Genome, Problem, Value


class Found(msgspec.Struct, frozen=True):
    """What the tuner chose.

    Attributes:
        seconds: of the first call, which compiles and times every configuration, and waits for the answer.
        configurations: how many it timed.
    """

    genome: Genome
    seconds: float
    configurations: int


def main() -> None:
    """Prepare arrays on the device, then time the first call."""
    place, shape, device, answer = sys.argv[1:]
    known = load(place)
    Path(answer).write_bytes(to_json(first_call(known, Problem.parse(known.name, shape), int(device))))


def first_call(known: ForeignFamily, problem: Problem, device: int) -> Found:
    """Call the kernel as its user does, in a process whose context and arrays are ready.

    Raises:
        ConfigError: the kernel is not decorated with ``triton.autotune``.
    """
    torch = import_module("torch")
    tuner = known.foreign.function
    if not isinstance(tuner, Autotuner):
        raise ConfigError(f"{known.name} has no tuner around it", "decorate it with @triton.autotune")
    torch.cuda.set_device(device)
    arguments = _arguments(known, problem)

    def grid(meta: Mapping[str, Value]) -> Sequence[int]:
        return known.foreign.blocks(problem.dims, {name: meta[name] for name in known.foreign.constants})

    torch.cuda.synchronize()
    begin = time.monotonic()
    tuner[grid](**arguments)  # type: ignore[index]
    torch.cuda.synchronize()
    seconds = time.monotonic() - begin
    chosen = tuner.best_config.all_kwargs()  # type: ignore[attr-defined]
    return Found(Genome(chosen), seconds, len(tuner.configs_timings))  # type: ignore[attr-defined]


def _arguments(known: ForeignFamily, problem: Problem) -> dict[str, object]:
    torch = import_module("torch")
    inputs = known.inputs(problem.dims, np.random.default_rng(0))
    arrays = {name: torch.from_numpy(array).cuda() for name, array in inputs.items()}
    scalars: dict[str, Value] = dict(known.foreign.scalars(problem.dims))
    return {**arrays, **_outputs(known, problem), **scalars}


def _outputs(known: ForeignFamily, problem: Problem) -> dict[str, object]:
    torch = import_module("torch")
    return {
        tensor.name: torch.empty(extents(tensor, problem.dims), dtype=getattr(torch, tensor.dtype), device="cuda")
        for tensor in known.kernel.tensors
        if tensor.role is Role.OUTPUT
    }


if __name__ == "__main__":
    main()
