"""JSON schemas of what commands print with ``--json``, generated from the types that they print."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path

import msgspec

from actors.live import Event, FleetLive
from actors.log_lines import LogLine
from cluster import documents
from cluster.cli.config import Settings
from cluster.cli.evolve import Population
from cluster.cli.federation import Request, RosterSummary
from cluster.cli.fleet import Wish
from cluster.cli.node import BackgroundReport
from cluster.cli.policy import PolicySummary
from cluster.cli.telemetry import Answer, Exported
from cluster.cli.tune import TuneReport
from cluster.report import Report
from cluster.service.health import Health
from quasim.errors import UnknownNameError
from quasim.trial import Genome
from storage.files import make_folder, write_atomic

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, object]

FORMS: Mapping[str, tuple[object, ...]] = {
    "cap": (documents.MeasureNext, documents.ProposedCaps),
    "config show": (Settings,),
    "evolve init": (Population,),
    "federation enroll": (Request, RosterSummary),
    "federation init": (RosterSummary,),
    "federation roster": (RosterSummary,),
    "federation server": (documents.ServerKey,),
    "fleet status": (FleetLive,),
    "kernel list": (list[documents.KernelRow],),
    "kernel show": (documents.KernelOnCpu, documents.KernelOnGpu, documents.KernelCompiled),
    "meter": (documents.Unmetered, documents.MeteredTooShort, documents.Metered),
    "node background": (BackgroundReport,),
    "node drain": (Wish,),
    "node run": (Health,),
    "node undrain": (Wish,),
    "policy show": (PolicySummary,),
    "policy verify": (PolicySummary,),
    "report": (Report,),
    "run": (Report,),
    "telemetry export": (Exported,),
    "telemetry query": (Answer,),
    "tune": (TuneReport,),
}
"""The forms that a command's document may have, by the command's words."""

LINES: Mapping[str, tuple[object, ...]] = {"event": (Event,), "log line": (LogLine,)}
"""Documents of which there is one a line: of ``live/events.jsonl`` in the folder of a run, and of a log."""


def names() -> list[str]:
    """Every schema's name, such as ``kernel-list``."""
    return sorted(words.replace(" ", "-") for words in (*FORMS, *LINES))


def schema(name: str) -> Schema:
    """The schema of one document.

    Raises:
        UnknownNameError: there is none of this name.
    """
    words = name.replace("-", " ")
    forms = {**FORMS, **LINES}.get(words)
    if forms is None:
        raise UnknownNameError(f"no schema {name!r}", f"use one of {', '.join(names())}")
    parts, components = msgspec.json.schema_components(forms, schema_hook=_genome, ref_template="#/$defs/{name}")
    for component in components.values():
        _as_written(component)
    title = f"quasim {words} --json" if words in FORMS else f"quasim's {words}"
    body = parts[0] if len(parts) == 1 else {"anyOf": list(parts)}
    return {"$schema": DIALECT, "title": title, **body, "$defs": components}


def write_all(folder: Path) -> list[Path]:
    """Write every schema to ``<name>.json``; the files.

    Raises:
        StorageError: the folder cannot be written.
    """
    make_folder(folder)
    written = []
    for name in names():
        path = folder / f"{name}.json"
        write_atomic(path, text(name).encode())
        written.append(path)
    return written


def text(name: str) -> str:
    """A schema as it is printed and published."""
    return msgspec.json.format(msgspec.json.encode(schema(name)), indent=2).decode() + "\n"


def _genome(kind: type) -> Schema:
    if kind is Genome:
        return {"type": "object", "additionalProperties": {"type": ["boolean", "integer", "number", "string"]}}
    raise NotImplementedError(f"{kind.__name__} has no schema")


def _as_written(component: Schema) -> None:
    """A type's schema as that of its documents: msgspec speaks of what may be read, where defaults may be left out."""
    component["description"] = inspect.cleandoc(str(component.get("description", "")))
    properties = component.get("properties")
    if isinstance(properties, dict):
        component["required"] = list(properties)
        for field in properties.values():
            field.pop("default", None)
