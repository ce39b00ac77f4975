"""Reading and writing recordings, plain or gzipped."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from quasim.codec import from_json, to_json
from quasim.errors import DataError, QuasimError, StorageError
from quasim.space import Kind, Parameter, Rows, SearchSpace
from quasim.targets.replay.schema import FAILURES, NS_PER_MS, CacheFile, Entry, Facts, key
from quasim.trial import Problem, Status, Trial

GZIP_MAGIC = b"\x1f\x8b"

_ADVICE = "record it again, or fetch it anew"


@dataclass(frozen=True, slots=True)
class Recording:
    """One recorded space.

    Attributes:
        digest: SHA-256 of the file, in hex.
        parameters: in the file's order, values in listed order; categorical where text is among them.
        rows: value indices of each recorded configuration, shape (n, parameters).
        entries: what was recorded of each row.
    """

    path: Path
    digest: str
    device_name: str
    problem: Problem
    parameters: tuple[Parameter, ...]
    rows: Rows
    entries: tuple[Entry, ...]


def read_cache(path: Path) -> Recording:
    """Read a Kernel Tuner cache file.

    Raises:
        DataError: missing, corrupt, truncated, or not of the format; says where.
    """
    data = _read(path)
    file = from_json(data, CacheFile, f"recording {path}")
    try:
        problem = file.problem()
        parameters = tuple(_parameter(name, file) for name in file.tune_params_keys)
    except (QuasimError, ValueError) as error:
        raise DataError(f"recording {path}: {error}", _ADVICE) from error
    if not file.cache:
        raise DataError(f"recording {path} holds no configuration", _ADVICE)
    return Recording(
        path=path,
        digest=hashlib.sha256(data).hexdigest(),
        device_name=file.device_name,
        problem=problem,
        parameters=parameters,
        rows=_rows(path, parameters, list(file.cache)),
        entries=tuple(_entry(path, name, raw) for name, raw in file.cache.items()),
    )


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if data.startswith(GZIP_MAGIC) else data
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"recording {path} cannot be read: {error}", _ADVICE) from error


def _parameter(name: str, file: CacheFile) -> Parameter:
    if name not in file.tune_params:
        raise ValueError(f"tune_params lacks {name!r} of tune_params_keys")
    values = file.tune_params[name]
    text = any(isinstance(value, str) for value in values)
    return Parameter(name, values, Kind.CATEGORICAL if text else Kind.ORDINAL)


def _rows(path: Path, parameters: Sequence[Parameter], keys: Sequence[str]) -> Rows:
    indices = [{str(value): i for i, value in enumerate(p.values)} for p in parameters]
    rows = np.empty((len(keys), len(parameters)), dtype=np.int32)
    for at, name in enumerate(keys):
        values = name.split(",")
        if len(values) != len(parameters):
            raise DataError(f"recording {path}: key {name!r} has {len(values)} values", f"give {len(parameters)}")
        try:
            rows[at] = [index[value] for index, value in zip(indices, values, strict=True)]
        except KeyError as error:
            raise DataError(f"recording {path}: key {name!r} has {error}, not in tune_params", _ADVICE) from error
    if len(np.unique(rows, axis=0)) < len(rows):
        raise DataError(f"recording {path}: two keys name one configuration", _ADVICE)
    return rows


def _entry(path: Path, name: str, raw: msgspec.Raw) -> Entry:
    try:
        return msgspec.json.decode(raw, type=Entry)
    except msgspec.MsgspecError as error:
        raise DataError(f"recording {path}: entry {name!r}: {error}", _ADVICE) from error


def write_cache(path: Path, device_name: str, problem: Problem, trials: Sequence[Trial], space: SearchSpace) -> None:
    """Write trials as a Kernel Tuner cache file, gzipped where the name ends in ``.gz``; equal trials, equal bytes.

    Raises:
        DataError: a trial is of another problem or space, or a value cannot stand in a key.
        StorageError: the file cannot be written.
    """
    if any(trial.problem != problem for trial in trials):
        raise DataError(f"not all trials are of {problem}", "record one problem a file")
    for parameter in space.parameters:
        texts = {str(value) for value in parameter.values}
        if len(texts) < len(parameter.values) or any("," in text for text in texts):
            raise DataError(f"values {parameter.values} of {parameter.name} make no keys", "write them otherwise")
    by_cell = sorted((space.cell(trial.genome), trial) for trial in trials)
    file = CacheFile(
        device_name=device_name,
        kernel_name=problem.kernel,
        problem_size=tuple(problem.dims.values()),
        problem_dims=tuple(problem.dims),
        tune_params_keys=space.names,
        tune_params={parameter.name: parameter.values for parameter in space.parameters},
        cache={key(trial.genome, space.names): _written(trial) for _, trial in by_cell},
    )
    data = to_json(file)
    try:
        path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    except OSError as error:
        raise StorageError(f"recording {path} cannot be written: {error}", "choose a writable place") from error


def _written(trial: Trial) -> msgspec.Raw:
    facts = Facts(trial.status, trial.timing, trial.error_frobenius, trial.error_componentwise, trial.detail)
    if trial.timing is not None:
        entry = Entry(trial.timing.median_ns / NS_PER_MS, quasim=facts)
    else:
        words = {status: word for word, status in reversed(FAILURES.items())}
        failed = words[Status.COMPILE_ERROR if trial.status is Status.COMPILE_ERROR else Status.LAUNCH_ERROR]
        entry = Entry(failed, quasim=facts)
    # Kernel Tuner keeps the values beside the result; its own readers look for them there.
    return msgspec.Raw(msgspec.json.encode({**trial.genome, **msgspec.to_builtins(entry)}))
