"""The dashboard of a run as one file that needs no server: page, style, scripts and views inlined."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from storage.files import storage_errors

STATIC = Path(__file__).parent / "static"

MOST_FRAMES = 16
"""Cycles that the replay of a report holds; of a longer run so many, evenly spread. Each may hold 5,000 genomes."""

_LINKED = re.compile(r" *<(?:link|script) [^>]*(?:href|src)=\"/static/([\w.]+)\"[^>]*>(?:</script>)?\n")
_IMPORT = re.compile(r'^import (\{[^}]*\}) from "\./([\w.]+)";$', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async function|function|class|const) (\w+))", re.MULTILINE)

View = Callable[[str, int | None], bytes]
"""A view as JSON, by its name and the cycle that a replay stands at; None: everything there is."""


def html_report(view: View, names: Sequence[str], cycles: Sequence[int]) -> str:
    """The page with these views.

    Args:
        names: of the views.
        cycles: that are finished, in order.

    Raises:
        StorageError: the dashboard's own files cannot be read.
    """
    end = _object({name: view(name, None) for name in names})
    frames = {str(cycle): _object({name: view(name, cycle) for name in names}) for cycle in spread(cycles)}
    data = _object({"end": end, "cycles": _object(frames)}).decode()
    style, charts, script = _read("style.css"), _closed(_read("echarts.min.js")), _closed(bundle("app.js"))
    # Inlined text could end its element early; within JSON strings this escape is the same character.
    inlined = f'  <script type="application/json" id="quasim-data">{data.replace("<", chr(92) + "u003c")}</script>\n'
    head = f"{_policy(style, charts, script)}  <style>{style}</style>\n{inlined}"
    # Modules wait until the page is parsed, and so does what they need: charts come first in the order of the document.
    scripts = f'  <script>{charts}</script>\n  <script type="module">{script}</script>\n'
    page = _LINKED.sub("", _read("index.html"))
    return page.replace("</head>", f"{head}{scripts}</head>")


def spread(cycles: Sequence[int]) -> list[int]:
    """At most ``MOST_FRAMES`` of the cycles, evenly spread, the first and the last among them."""
    if len(cycles) <= MOST_FRAMES:
        return list(cycles)
    last = MOST_FRAMES - 1
    return [cycles[round(place * (len(cycles) - 1) / last)] for place in range(MOST_FRAMES)]


def bundle(entry: str) -> str:
    """One script of a module and all that it imports, each in its own scope: a page from disk cannot import files."""
    modules: dict[str, str] = {}
    _collect(entry, modules)
    return "const modules = {};\n" + "".join(modules.values())


def _collect(name: str, modules: dict[str, str]) -> None:
    """Add a module after those that it imports."""
    source = _read(name)
    for imported in _IMPORT.findall(source):
        if imported[1] not in modules:
            _collect(imported[1], modules)
    exported = ", ".join(found[1] for found in _EXPORT.finditer(source))
    body = _EXPORT.sub("", _IMPORT.sub(r'const \1 = modules["\2"];', source))
    modules[name] = f'modules["{name}"] = (() => {{\n{body}return {{ {exported} }};\n}})();\n'


def _policy(style: str, *scripts: str) -> str:
    """Let the file run these scripts alone and ask nobody for anything."""
    allowed = " ".join(_hash(script) for script in scripts)
    rules = f"default-src 'none'; script-src {allowed}; style-src {_hash(style)}; img-src data:; base-uri 'none'"
    return f'  <meta http-equiv="Content-Security-Policy" content="{rules}">\n'


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _closed(script: str) -> str:
    """A script that holds no end of its element; the escape is the same text within a string."""
    return script.replace("</script", r"<\/script")


def _object(fields: Mapping[str, bytes]) -> bytes:
    return b"{" + b",".join(b'"%s":%s' % (name.encode(), value) for name, value in fields.items()) + b"}"


def _read(name: str) -> str:
    with storage_errors("read the dashboard's page", STATIC / name):
        # As bytes: universal newlines would change what is hashed.
        return (STATIC / name).read_bytes().decode()
