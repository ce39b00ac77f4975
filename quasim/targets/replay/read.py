"""Reading a recording of either form, told apart by its content."""

from __future__ import annotations

from pathlib import Path

import msgspec

from quasim.codec import from_json
from quasim.targets.replay.cachefile import read_cache
from quasim.targets.replay.recording import Recording, read_content
from quasim.targets.replay.t4file import read_t4


class _Form(msgspec.Struct, frozen=True):
    """Only T4 files have results."""

    results: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


def read_recording(path: Path) -> Recording:
    """Read a Kernel Tuner cache file or a T4 results file, plain or gzipped.

    Raises:
        DataError: missing, damaged, or not of its format; says where.
    """
    form = from_json(read_content(path), _Form, f"recording {path}")
    return read_cache(path) if form.results is msgspec.UNSET else read_t4(path)
