"""Run as a program: launches variants on arrays that end, or begin, at a page that may not be touched.

Reads JSON lists of jobs from stdin, one a line, runs each job in a child of its own, and writes for each list a line
with that of its outcomes: the Frobenius error, or minus the number of the signal that ended the child.
"""

from __future__ import annotations

import ctypes
import json
import math
import mmap
import os
import struct
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from quasim.kernels import Array, Arrays, family
from quasim.kernels.accuracy import kernel_errors, untouched_outputs
from quasim.targets.c.launch import load

PAGE = mmap.PAGESIZE
PROT_NONE = 0


class Fenced:
    """A copy of an array between two pages that may not be touched, close to the one behind or the one before."""

    def __init__(self, array: Array, behind: bool) -> None:
        room = -(-array.nbytes // PAGE) * PAGE
        self._pages = mmap.mmap(-1, room + 2 * PAGE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._pages))
        libc = ctypes.CDLL(None, use_errno=True)
        for page in (start, start + PAGE + room):
            if libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(PAGE), PROT_NONE):
                raise OSError(ctypes.get_errno(), "mprotect")
        offset = PAGE + (room - array.nbytes if behind else 0)
        self.array: Array = np.frombuffer(self._pages, array.dtype, array.size, offset).reshape(array.shape)
        self.array[...] = array


def error_of(library: str, name: str, shape: dict[str, int], behind: bool) -> float:
    """Launch once and hold the answer against the reference."""
    kernel = family(name).kernel
    inputs = family(name).inputs(shape, np.random.default_rng(list(shape.values())))
    outputs = untouched_outputs(kernel, shape)
    fenced = {tensor: Fenced(array, behind) for tensor, array in {**inputs, **outputs}.items()}
    arrays: Arrays = {tensor: fence.array for tensor, fence in fenced.items()}
    load(Path(library), kernel)(shape, arrays)
    answers = {tensor: arrays[tensor] for tensor in outputs}
    return kernel_errors(kernel, answers, family(name).reference(shape, inputs)).frobenius


def in_child(measure: Callable[[], float]) -> float:
    """What a forked child measures, or minus the signal that ended it."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(write, struct.pack("d", measure()))
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        said = answer.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return -float(os.WTERMSIG(status))
    return float(struct.unpack("d", said)[0]) if said else math.inf


if __name__ == "__main__":
    # Nothing may run on several threads here before the children are forked off.
    for line in sys.stdin:
        print(json.dumps([in_child(partial(error_of, *job)) for job in json.loads(line)]), flush=True)
