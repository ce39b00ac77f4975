"""Run as a program: launches variants on plain arrays, so that a sanitizer sees the memory around them.

Reads a JSON list of jobs from stdin, such as ``guarded`` reads; fails when an answer is wrong.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from quasim.kernels import family
from quasim.kernels.accuracy import kernel_errors, untouched_outputs
from quasim.targets.c.launch import load

if __name__ == "__main__":
    for library, name, shape, _ in json.load(sys.stdin):
        kernel, inputs = family(name).kernel, family(name).inputs(shape, np.random.default_rng(0))
        outputs = untouched_outputs(kernel, shape)
        load(Path(library), kernel)(shape, {**inputs, **outputs})
        error = kernel_errors(kernel, outputs, family(name).reference(shape, inputs)).frobenius
        if not error < family(name).tolerance:
            sys.exit(f"{name} {shape}: error {error}")
