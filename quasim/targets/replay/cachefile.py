"""Reading and writing recordings in the form of Kernel Tuner's cache files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from quasim.codec import from_json, to_json
from quasim.errors import DataError, QuasimError
from quasim.space import Parameter, Rows, SearchSpace
from quasim.targets.replay.facts import Facts
from quasim.targets.replay.recording import (
    ADVICE,
    Recording,
    check_distinct,
    parameter,
    read_content,
    write_content,
)
from quasim.targets.replay.schema import FAILURES, NS_PER_MS, CacheFile, Entry, key
from quasim.trial import Problem, Status, Trial


def read_cache(path: Path) -> Recording:
    """Read a Kernel Tuner cache file.

    Raises:
        DataError: missing, corrupt, truncated, or not of the format; says where.
    """
    data = read_content(path)
    file = from_json(data, CacheFile, f"recording {path}")
    try:
        problem = file.problem()
        parameters = tuple(_parameter(name, file) for name in file.tune_params_keys)
    except (QuasimError, ValueError) as error:
        raise DataError(f"recording {path}: {error}", ADVICE) from error
    if not file.cache:
        raise DataError(f"recording {path} holds no configuration", ADVICE)
    return Recording(
        path=path,
        digest=hashlib.sha256(data).hexdigest(),
        device_name=file.device_name,
        problem=problem,
        parameters=parameters,
        rows=_rows(path, parameters, list(file.cache)),
        facts=tuple(_facts(path, name, raw) for name, raw in file.cache.items()),
    )


def _parameter(name: str, file: CacheFile) -> Parameter:
    if name not in file.tune_params:
        raise ValueError(f"tune_params lacks {name!r} of tune_params_keys")
    return parameter(name, file.tune_params[name])


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
            raise DataError(f"recording {path}: key {name!r} has {error}, not in tune_params", ADVICE) from error
    return check_distinct(path, rows)


def _facts(path: Path, name: str, raw: msgspec.Raw) -> Facts:
    try:
        return msgspec.json.decode(raw, type=Entry).facts()
    except (msgspec.MsgspecError, ValueError) as error:
        raise DataError(f"recording {path}: entry {name!r}: {error}", ADVICE) from error


def write_cache(path: Path, device_name: str, problem: Problem, trials: Sequence[Trial], space: SearchSpace) -> None:
    """Write trials as a Kernel Tuner cache file, gzipped where the name ends in ``.gz``; equal trials, equal bytes.

    Raises:
        DataError: a trial is of another problem or space, or a value cannot stand in a key.
        StorageError: the file cannot be written.
    """
    if any(trial.problem != problem for trial in trials):
        raise DataError(f"not all trials are of {problem}", "record one problem a file")
    for gene in space.parameters:
        texts = {str(value) for value in gene.values}
        if len(texts) < len(gene.values) or any("," in text for text in texts):
            raise DataError(f"values {gene.values} of {gene.name} make no keys", "write them otherwise")
    by_cell = sorted((space.cell(trial.genome), trial) for trial in trials)
    file = CacheFile(
        device_name=device_name,
        kernel_name=problem.kernel,
        problem_size=tuple(problem.dims.values()),
        problem_dims=tuple(problem.dims),
        tune_params_keys=space.names,
        tune_params={gene.name: gene.values for gene in space.parameters},
        cache={key(trial.genome, space.names): _written(trial) for _, trial in by_cell},
    )
    write_content(path, to_json(file))


def _written(trial: Trial) -> msgspec.Raw:
    facts = Facts.of(trial)
    if trial.timing is not None:
        entry = Entry(trial.timing.median_ns / NS_PER_MS, quasim=facts)
    else:
        words = {status: word for word, status in reversed(FAILURES.items())}
        failed = words[Status.COMPILE_ERROR if trial.status is Status.COMPILE_ERROR else Status.LAUNCH_ERROR]
        entry = Entry(failed, quasim=facts)
    # Kernel Tuner keeps the values beside the result; its own readers look for them there.
    return msgspec.Raw(msgspec.json.encode({**trial.genome, **msgspec.to_builtins(entry)}))
