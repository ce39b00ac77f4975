"""Reading and writing recordings in the T4 results format."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from quasim.codec import from_json, to_json
from quasim.errors import DataError, QuasimError
from quasim.space import Parameter, Rows, SearchSpace
from quasim.targets.replay.recording import (
    ADVICE,
    Recording,
    check_distinct,
    parameter,
    read_content,
    write_content,
)
from quasim.targets.replay.t4 import NS_OF, VERSION, Metadata, Own, T4File, result
from quasim.trial import Problem, Trial, Value

SHOWN = 80
"""Characters of a bad value that a message quotes."""


def read_t4(path: Path) -> Recording:
    """Read a T4 results file.

    One of others names neither problem nor parameters: its kernel is called after the file and has no extents, and its
    parameters are those of its configurations, numbers in ascending order.

    Raises:
        DataError: missing, damaged, or not of the format; says where, and quotes the bad value.
    """
    data = read_content(path)
    try:
        file = from_json(data, T4File, f"recording {path}")
    except DataError as error:
        raise DataError(error.what + _quoted(data, error.what), ADVICE) from error
    if not file.results:
        raise DataError(f"recording {path} holds no configuration", ADVICE)
    own = file.metadata.quasim or _guessed(path, file)
    unit_ns = NS_OF[file.metadata.timeunit]
    facts, rows = [], []
    indices = [{(type(value), value): i for i, value in enumerate(gene.values)} for gene in own.parameters]
    for at, one in enumerate(file.results):
        try:
            rows.append(_row(own.parameters, indices, one.configuration))
            facts.append(one.facts(unit_ns))
        except ValueError as error:
            raise DataError(f"recording {path}: $.results[{at}]: {error}", ADVICE) from error
    return Recording(
        path=path,
        digest=hashlib.sha256(data).hexdigest(),
        device_name=file.metadata.device,
        problem=own.problem,
        parameters=own.parameters,
        rows=check_distinct(path, np.array(rows, dtype=np.int32)),
        facts=tuple(facts),
        default=own.default,
    )


def _row(
    parameters: Sequence[Parameter], indices: Sequence[dict[tuple[type, Value], int]], values: dict[str, Value]
) -> list[int]:
    names = [gene.name for gene in parameters]
    if set(values) != set(names):
        raise ValueError(f"configuration names {sorted(values)}, not {sorted(names)}")
    row = [index.get((type(values[name]), values[name]), -1) for name, index in zip(names, indices, strict=True)]
    if -1 in row:
        gene = parameters[row.index(-1)]
        raise ValueError(f"{gene.name}={values[gene.name]!r} is not in {gene.values}")
    return row


def _guessed(path: Path, file: T4File) -> Own:
    """What a file of others leaves open, from its name and its configurations."""
    configurations = [one.configuration for one in file.results]
    try:
        genes = tuple(_gene(name, [c[name] for c in configurations if name in c]) for name in configurations[0])
    except QuasimError as error:
        raise DataError(f"recording {path}: {error}", ADVICE) from error
    return Own(Problem(path.name.split(".")[0], ()), genes)


def _gene(name: str, values: Sequence[Value]) -> Parameter:
    distinct = list(dict.fromkeys((type(value), value) for value in values))
    plain = [value for _, value in distinct]
    if not any(isinstance(value, str) for value in plain):
        plain.sort(key=float)
    return parameter(name, plain)


def _quoted(data: bytes, message: str) -> str:
    """`` (it is VALUE)`` for a message of msgspec that ends in the path of a bad value."""
    place = re.search(r"`\$([^`]*)`", message)
    try:
        node = msgspec.json.decode(data)
        for name, index in re.findall(r"\.(\w+)|\[(\d+)\]", place[1] if place else ""):
            node = node[name] if name else node[int(index)]
    except (msgspec.MsgspecError, LookupError, TypeError, RecursionError, UnicodeDecodeError):
        return ""
    return f" (it is {str(node)[:SHOWN]!r})" if place and not isinstance(node, (dict, list)) else ""


def write_t4(path: Path, device_name: str, problem: Problem, trials: Sequence[Trial], space: SearchSpace) -> None:
    """Write trials in the order given, gzipped where the name ends in ``.gz``; equal trials, equal bytes.

    Raises:
        DataError: there is no trial, or one is of another problem or space, or there twice.
        StorageError: the file cannot be written.
    """
    if not trials or any(trial.problem != problem for trial in trials):
        raise DataError(f"not all of {len(trials)} trials are of {problem}", "record one problem a file")
    check_distinct(path, _rows(trials, space))
    own = Own(problem, space.parameters, space.default)
    metadata = Metadata(device=device_name, autotuner="QuASIM", timeunit="nanoseconds", quasim=own)
    file = T4File(schema_version=VERSION, metadata=metadata, results=tuple(result(trial) for trial in trials))
    write_content(path, to_json(file))


def _rows(trials: Sequence[Trial], space: SearchSpace) -> Rows:
    return space.rows[[space.cell(trial.genome) for trial in trials]]
