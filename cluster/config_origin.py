"""Where each setting of a fleet comes from: a flag, a variable, the file, or the default."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from cluster.config import ENVIRONMENT, load_config, read_file

Origin = Literal["flag", "variable", "file", "default"]

Cell = str | int | float | bool | None

Step = str | int
"""Into a mapping by name, into a list by number."""


class Setting(msgspec.Struct, frozen=True):
    """One field of a resolved configuration.

    Attributes:
        name: such as ``aggregation.floor`` or ``problems[0].shape``.
        value: an empty list or mapping is ``[]`` or ``{}``.
        source: the flag, the variable or the file; "" for a default.
    """

    name: str
    value: Cell
    origin: Origin
    source: str


def settings(path: Path, environment: Mapping[str, str], flags: Mapping[str, object]) -> tuple[Setting, ...]:
    """Every field that a run would have, in the order of ``FleetConfig``.

    Args:
        as for ``load_config``.

    Raises:
        ConfigError: as ``load_config``.
    """
    config = load_config(path, environment, flags)
    file = read_file(path)
    given = {field: f"--{field}" for field, value in flags.items() if value is not None}
    variables = {field: name for name, field in ENVIRONMENT.items() if environment.get(name)}

    def setting(steps: tuple[Step, ...], value: Cell) -> Setting:
        field = str(steps[0])
        if field in given:
            return Setting(_name(steps), value, "flag", given[field])
        if field in variables:
            return Setting(_name(steps), value, "variable", variables[field])
        if _says(file, steps):
            return Setting(_name(steps), value, "file", str(path))
        return Setting(_name(steps), value, "default", "")

    return tuple(setting(steps, value) for steps, value in _leaves(msgspec.to_builtins(config), ()))


def _leaves(value: object, at: tuple[Step, ...]) -> Iterator[tuple[tuple[Step, ...], Cell]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(inner, (*at, name))
    elif isinstance(value, list | tuple) and value:
        for number, inner in enumerate(value):
            yield from _leaves(inner, (*at, number))
    else:
        yield at, value if isinstance(value, Cell) else msgspec.json.encode(value).decode()


def _says(file: object, steps: tuple[Step, ...]) -> bool:
    """Whether a file speaks of a field."""
    if not steps:
        return True
    first, *rest = steps
    if isinstance(file, dict):
        return first in file and _says(file[first], tuple(rest))
    # A list is given as a whole; its parts may still leave fields out.
    return isinstance(file, list) and isinstance(first, int) and _says(file[first], tuple(rest))


def _name(steps: tuple[Step, ...]) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return text.removeprefix(".")
