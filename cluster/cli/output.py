"""How commands speak: data on stdout, everything else on stderr, colour and progress on a terminal only."""

from __future__ import annotations

import sys

from rich.console import Console

from cluster.logs import remarks
from quasim.codec import to_json


def console() -> Console:
    """For people: tables and text on stdout."""
    # Piped output keeps whole lines: 160 columns hold every table of ours.
    return Console(
        width=None if sys.stdout.isatty() else 160, highlight=False, markup=False, soft_wrap=not sys.stdout.isatty()
    )


def log() -> Console:
    """For progress and remarks: on stderr, or in the log where logs are JSON."""
    return Console(file=remarks(), highlight=False, markup=False, soft_wrap=True)


def print_json(document: object) -> None:
    """For programs: one JSON document on stdout."""
    sys.stdout.write(to_json(document).decode() + "\n")
