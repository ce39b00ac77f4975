"""Small C variants of ``stencil2d``, right and wrong in every way a worker must survive."""

from __future__ import annotations

from pathlib import Path

from quasim.targets.c.compile import CCompiler
from quasim.trial import Problem
from quasim.worker.protocol import Variant

PROBLEM = Problem.of("stencil2d", h=20, w=37)

SHELL = """
#define _GNU_SOURCE
#include <math.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static int64_t calls;
int quasim_run(const int64_t *dims, void *const *tensors)
{
    int64_t h = dims[0], w = dims[1];
    float *x = tensors[0], *y = tensors[1];
    calls++;
    BEFORE
    for (int64_t i = 1; i < h - 1; i++)
        for (int64_t j = 1; j < w - 1; j++)
            y[i * w + j] = 0.5f * x[i * w + j]
                + 0.125f * (x[(i - 1) * w + j] + x[(i + 1) * w + j] + x[i * w + j - 1] + x[i * w + j + 1]);
    AFTER
    return 0;
}
"""


def variant(folder: Path, *, before: str = "", after: str = "") -> Variant:
    """A right variant that does something more before or after it computes."""
    source = SHELL.replace("BEFORE", before).replace("AFTER", after)
    return Variant(str(CCompiler.find().compile(source, folder).path))
