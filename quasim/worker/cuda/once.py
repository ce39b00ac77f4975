"""Launches one image once, for a profiler to watch: ``python -m quasim.worker.cuda.once REQUEST DESK``."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from quasim.codec import from_msgpack
from quasim.kernels import family
from quasim.targets.gpu.profiler import Once
from quasim.worker.cuda.arena import Arena
from quasim.worker.cuda.launcher import loaded
from quasim.worker.cuda.named import open_named


def main() -> None:
    """Prepare the arrays, launch, and wait."""
    once = from_msgpack(Path(sys.argv[1]).read_bytes(), Once, "a launch to be profiled")
    device, gpu = open_named(sys.argv[2])
    known = family(once.problem.kernel)
    inputs = known.inputs(once.problem.dims, np.random.default_rng(once.seed))
    arena = Arena(known.kernel, once.problem.dims, inputs, 0, device)
    launch = loaded(once.image, gpu).prepare(once.problem.dims, arena.sets[0])
    torch.cuda.synchronize()
    launch()
    torch.cuda.synchronize()


if __name__ == "__main__":
    main()
