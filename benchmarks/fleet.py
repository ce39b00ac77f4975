"""The fleet's claims in one run: overhead of a trial, telemetry, adapting, repeatability, and survival of kill -9."""

from __future__ import annotations

import argparse

from benchmarks import adapting, chaos, overhead, repeat, telemetry
from benchmarks.harness import Bar, Row, main

PARTS = {
    "overhead": overhead.measure,
    "telemetry": telemetry.measure,
    "adapting": adapting.measure,
    "repeat": repeat.measure,
    "chaos": chaos.measure,
}


def options(parser: argparse.ArgumentParser) -> None:
    """Which parts to run."""
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))


def measure(given: argparse.Namespace) -> tuple[list[Row], list[Bar]]:
    """The chosen parts, one after the other."""
    rows: list[Row] = []
    bars: list[Bar] = []
    for part in given.parts:
        more_rows, more_bars = PARTS[part](None)
        rows += more_rows
        bars += more_bars
    return rows, bars


if __name__ == "__main__":
    main("fleet", __doc__ or "", measure, options)
