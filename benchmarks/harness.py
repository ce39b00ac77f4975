"""What every benchmark shares: its document, its table, and its bars."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import platform
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from quasim.codec import to_json
from quasim.errors import QuasimError
from quasim.machine import this_machine
from storage.files import write_atomic

Row = dict[str, str | int | float | bool | None]

PACKAGES = ("numpy", "msgspec", "pyarrow", "ray", "cryptography", "torch", "triton", "nvidia-ml-py")


class Bar(msgspec.Struct, frozen=True):
    """A figure and what it has to reach."""

    name: str
    value: float
    bar: str
    ok: bool

    @classmethod
    def at_least(cls, name: str, value: float, bound: float) -> Bar:
        """A bar that larger values pass."""
        return cls(name, value, f">= {bound:g}", value >= bound)

    @classmethod
    def at_most(cls, name: str, value: float, bound: float) -> Bar:
        """A bar that smaller values pass."""
        return cls(name, value, f"<= {bound:g}", value <= bound)


class Document(msgspec.Struct, frozen=True):
    """What a benchmark prints with ``--json``.

    Attributes:
        device: CPU and GPUs of this machine.
        date: of the measurement, in UTC.
    """

    name: str
    device: str
    date: str
    versions: dict[str, str]
    rows: list[Row]
    bars: list[Bar]


Measure = Callable[[argparse.Namespace], tuple[list[Row], list[Bar]]]


def main(
    name: str, doc: str, measure: Measure, options: Callable[[argparse.ArgumentParser], None] | None = None
) -> None:
    """Parse the command line, measure, print; exit code 1 when a bar was missed, else that of an error of ours."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=doc)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--out", type=Path, help="also write the document to this file")
    if options is not None:
        options(parser)
    given = parser.parse_args()
    try:
        rows, bars = measure(given)
    except QuasimError as error:
        say(f"{name}: {error}")
        sys.exit(error.exit_code)
    date = datetime.now(timezone.utc).date().isoformat()
    document = Document(name, _device(), date, _versions(), rows, bars)
    if given.out is not None:
        write_atomic(given.out, to_json(document) + b"\n")
    if given.json:
        sys.stdout.write(to_json(document).decode() + "\n")
    else:
        _print(document)
    sys.exit(0 if all(bar.ok for bar in bars) else 1)


def say(text: str) -> None:
    """A line of progress, on stderr."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _device() -> str:
    machine = this_machine()
    return ", ".join((machine.name, f"{machine.cores} cores", machine.family, *_gpus()))


def _gpus() -> list[str]:
    """Names and driver of the NVIDIA GPUs; none where there is no driver."""
    try:
        pynvml = importlib.import_module("pynvml")
        pynvml.nvmlInit()
    except Exception:  # whatever is missing, there is no GPU to name
        return []
    handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
    found = [str(pynvml.nvmlDeviceGetName(handle)) for handle in handles]
    driver = f"driver {pynvml.nvmlSystemGetDriverVersion()}"
    pynvml.nvmlShutdown()
    return [*found, driver]


def _versions() -> dict[str, str]:
    """Versions of those packages that are installed here."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _print(document: Document) -> None:
    out = Console(width=None if sys.stdout.isatty() else 160, highlight=False, markup=False)
    out.print(f"{document.name} on {document.device}")
    for group in _alike(document.rows):
        table = Table(*group[0])
        for row in group:
            table.add_row(*(_text(row[name]) for name in group[0]))
        out.print(table)
    table = Table("bar", "value", "required", "ok")
    for bar in document.bars:
        table.add_row(bar.name, _text(bar.value), bar.bar, "yes" if bar.ok else "NO")
    out.print(table)


def _alike(rows: Sequence[Row]) -> list[list[Row]]:
    """Runs of rows with the same columns."""
    groups: list[list[Row]] = []
    for row in rows:
        if groups and list(groups[-1][0]) == list(row):
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "–" if value is None else str(value)
