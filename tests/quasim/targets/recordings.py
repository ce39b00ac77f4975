"""Small recordings in Kernel Tuner's form, and where the large ones are."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

SHARED = Path(__file__).parents[4] / "shared" / "data" / "spaces"

Json = dict[str, object]


def kernel_tuner_file() -> Json:
    """Three tiles and two layouts: four configurations that work, two that failed; one of eight was never tried."""
    cache: Json = {
        "1,row,True": {"tile": 1, "time": 3.0, "times": [2.0, 3.0, 4.0], "GFLOP/s": 7.5, "timestamp": "2024"},
        "2,row,True": {"tile": 2, "time": 2.0, "times": [0.5, 0.5], "compile_time": 9.5},
        "4,row,True": {"tile": 4, "time": "CompilationFailedConfig", "times": [1.0]},
        "1,column,True": {"tile": 1, "time": 5},
        "2,column,True": {"tile": 2, "time": "RuntimeFailedConfig", "compile_time": 9.5},
        "4,column,True": {"tile": 4, "time": 1.25, "times": [1.25]},
    }
    return {
        "device_name": "NVIDIA A100-PCIE-40GB",
        "kernel_name": "blur",
        "problem_size": [640, 480],
        "tune_params_keys": ["tile", "layout", "pack"],
        "tune_params": {"tile": [1, 2, 4], "layout": ["row", "column"], "pack": [True]},
        "objective": "time",
        "cache": cache,
    }


def write(path: Path, content: Json) -> Path:
    """Write a recording, gzipped where the name says so."""
    data = json.dumps(content).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def shared(name: str) -> Path:
    """A recording of the shared data; skips the test where it is absent."""
    path = SHARED / f"{name}.json.gz"
    if not path.exists():
        pytest.skip(f"the recorded space {path} is not here")
    return path
