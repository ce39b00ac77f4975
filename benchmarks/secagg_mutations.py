"""Every verification of secure aggregation is held by a test: take one out, and a test of the protocol fails.

Each verification in turn is taken out of a copy of the package, and the tests of ``tests/aggregation/secure`` run on
that copy until one fails. A verification that no test misses is a survivor, and survivors fail the benchmark.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import Bar, Row, main, say
from benchmarks.secagg_mutants import Mutant, mutants
from quasim.errors import QuasimError

ROOT = Path(__file__).parents[1]
PACKAGE = Path("aggregation/secure")
TESTS = Path("tests/aggregation/secure")

TIMEOUT_S = 600.0
"""Of the tests on one copy, which take some seconds each; a verification whose loss makes them hang is missed, too."""

PROFILE = """
from hypothesis import Phase, settings

settings.register_profile("mutants", phases=[Phase.explicit, Phase.generate], derandomize=True, database=None)
settings.load_profile("mutants")
"""
"""One failing example is enough; the smallest would take a while to find."""

_DURATION = re.compile(r"^([\d.]+)s (?:setup|call|teardown)\s+(\S+?)::", re.MULTILINE)
_FAILED = re.compile(r"^(?:FAILED|ERROR) tests/\S*?([^/\s]+::.+?)(?: - |$)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the tests said about a copy.

    Attributes:
        killer: the test that failed first; None where all passed.
    """

    file: str
    mutant: Mutant
    killer: str | None


def options(parser: argparse.ArgumentParser) -> None:
    """Which verifications and tests, and how many copies at a time."""
    parser.add_argument("--only", metavar="REGEX", default="", help="those in whose file:line and source this is found")
    parser.add_argument("--tests", metavar="GLOB", default="test_*.py", help="files to try (default %(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="copies at a time (default %(default)s)")


def measure(given: argparse.Namespace) -> tuple[list[Row], list[Bar]]:
    """A row for each verification; survivors first."""
    chosen = [(file, mutant) for file, mutant in found() if re.search(given.only, _label(file, mutant))]
    say(f"secagg_mutations: {len(chosen)} verifications")
    tests = _tests(given.tests)
    with ThreadPoolExecutor(given.jobs) as pool:
        verdicts = list(pool.map(lambda one: _judge(one[0], one[1], tests), chosen))
    verdicts.sort(key=lambda verdict: verdict.killer is not None)
    rows: list[Row] = [
        {
            "place": f"{verdict.file}:{verdict.mutant.line}",
            "verification": verdict.mutant.what,
            "missed by": verdict.killer or "nobody: SURVIVED",
        }
        for verdict in verdicts
    ]
    survivors = sum(verdict.killer is None for verdict in verdicts)
    return rows, [
        Bar.at_least("verifications taken out", len(verdicts), 1),
        Bar.at_most("verifications that no test misses", survivors, 0),
    ]


def found() -> list[tuple[str, Mutant]]:
    """Every verification in the package, with the name of its file."""
    files = sorted((ROOT / PACKAGE).glob("*.py"))
    return [(path.name, mutant) for path in files for mutant in mutants(path.read_text())]


def _label(file: str, mutant: Mutant) -> str:
    return f"{file}:{mutant.line} {mutant.what}"


def _tests(pattern: str) -> list[str]:
    """The files of tests, those of the protocol first, and the quicker first among these and among the others.

    Raises:
        QuasimError: one fails on the package as it is, so that nothing could be learned.
    """
    paths = [f"{TESTS}/{path.name}" for path in sorted((ROOT / TESTS).glob(pattern))]
    with tempfile.TemporaryDirectory() as folder:
        output = _run(_copy(Path(folder)), paths, "--durations=0")
    if (failed := _FAILED.search(output)) is not None:
        raise QuasimError(f"{failed.group(1)} fails on the package as it is", "mend it first")
    spent = dict.fromkeys(paths, 0.0)
    for seconds, path in _DURATION.findall(output):
        spent[path] += float(seconds)
    return sorted(paths, key=lambda path: ("protocol" not in path, spent[path]))


def _judge(file: str, mutant: Mutant, tests: Sequence[str]) -> Verdict:
    """What the tests say; those of the file itself, if it has any, speak first."""
    own = sorted(tests, key=lambda path: path != f"{TESTS}/test_{file}")
    with tempfile.TemporaryDirectory() as folder:
        copy = _copy(Path(folder))
        (copy / PACKAGE / file).write_text(mutant.source)
        try:
            failed = _FAILED.search(_run(copy, own))
        except subprocess.TimeoutExpired:
            return Verdict(file, mutant, f"all: they hang for {TIMEOUT_S:.0f} s")
    if failed is None:
        say(f"secagg_mutations: {_label(file, mutant)} is missed by no test")
    return Verdict(file, mutant, failed.group(1) if failed else None)


def _copy(folder: Path) -> Path:
    """A checkout of package and tests alone; the engine comes from ours, where Python finds it next."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "aggregation", folder / "aggregation", ignore=ignored)
    shutil.copytree(ROOT / "tests" / "aggregation", folder / "tests" / "aggregation", ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "docs").symlink_to(ROOT / "docs")
    (folder / "tests" / "__init__.py").touch()
    (folder / "conftest.py").write_text(PROFILE)
    return folder


def _run(copy: Path, tests: Sequence[str], *options: str) -> str:
    """What pytest printed about a copy, until the first test failed.

    Raises:
        QuasimError: the tests could not run.
    """
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-rfE", "--no-header", "--tb=no", *options, *tests]
    environment = {**os.environ, "PYTHONPATH": f"{copy}:{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        command, cwd=copy, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    if (done.returncode != 0) != (_FAILED.search(done.stdout) is not None):
        raise QuasimError(f"the tests did not run: {(done.stdout + done.stderr)[-400:]}", "run them by hand")
    return done.stdout


if __name__ == "__main__":
    main("secagg_mutations", __doc__ or "", measure, options)
