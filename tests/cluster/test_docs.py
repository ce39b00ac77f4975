"""Every `quasim` command that the documentation shows is one that the command line takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from cluster.cli import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands(page: Path) -> list[tuple[str, str]]:
    """Lines of code blocks, and code within lines, that begin with ``quasim``."""
    return re.findall(r"^(quasim .*)$|`(quasim [a-z][^`]*)`", page.read_text(), re.MULTILINE)


SHOWN = sorted({(page.name, line or inline) for page in PAGES for line, inline in commands(page)})


def test_there_are_commands_to_check() -> None:
    assert {"README.md", "gpu-nodes.md", "cuda.md"} <= {page for page, _ in SHOWN}


@pytest.mark.parametrize(("page", "line"), SHOWN)
def test_a_command_in_the_documentation_parses(page: str, line: str) -> None:
    command, words = typer.main.get_command(app), shlex.split(line, comments=True)[1:]
    while words and words[0] in (known := getattr(command, "commands", {})):
        command = known[words.pop(0)]
    assert not hasattr(command, "commands"), f"no verb in {line}"
    command.make_context(line, words)  # parses, and runs nothing
