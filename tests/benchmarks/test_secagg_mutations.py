from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.secagg_mutants import mutants
from benchmarks.secagg_mutations import ROOT, found

SOURCE = '''
def check_both(a, b):
    """Docs."""
    if a or not b:
        raise ValueError("é", (
            a))
    self.check_other(a)

def is_small(x):
    try:
        return x > 0 and x < 9
    except TypeError:
        return False

def pick(x):
    if x.late:
        return None
    if x.quick:
        return 1
    return x if is_small(x) else None
'''


def test_each_verification_is_taken_out_once_and_by_itself() -> None:
    assert [(mutant.line, mutant.what) for mutant in mutants(SOURCE)] == [
        (4, "a"),
        (4, "not b"),
        (7, "self.check_other(a)"),
        (11, "x > 0"),
        (11, "x < 9"),
        (13, "False"),
        (16, "x.late"),
        (20, "is_small(x)"),
    ]


@pytest.mark.parametrize(
    ("what", "before", "after"),
    [
        ("not b", "    if a or not b:\n", "    if a or False:\n"),
        ("self.check_other(a)", "    self.check_other(a)\n", "    ...\n"),
        ("x < 9", "return x > 0 and x < 9\n", "return x > 0 and True\n"),
        ("is_small(x)", "return x if is_small(x) else None\n", "return x if True else None\n"),
    ],
)
def test_all_else_stays_as_it_is(what: str, before: str, after: str) -> None:
    (mutant,) = [mutant for mutant in mutants(SOURCE) if mutant.what == what]
    assert mutant.source == SOURCE.replace(before, after)


def test_a_verification_over_several_lines_is_taken_out_whole() -> None:
    (mutant,) = mutants("if (x\n        > y):\n    raise ValueError\n")
    assert mutant.source == "if (False):\n    raise ValueError\n"


def test_the_checks_of_both_sides_are_among_those_found() -> None:
    files = {file for file, _ in found()}
    assert {"opening_checks.py", "ring_checks.py", "set_checks.py", "client.py", "server.py", "server_sum.py"} <= files


@pytest.mark.parametrize(
    ("verification", "tests"),
    [("c_contiguous", "test_masks.py"), ("terms.policy != demands.policy", "test_protocol_lying_server.py")],
)
def test_a_verification_that_is_taken_out_is_missed(verification: str, tests: str) -> None:
    done = _mutations("--only", verification, "--tests", tests)
    assert done.returncode == 0, done.stderr
    assert f'"missed by":"{tests}::' in done.stdout


def test_a_verification_that_nothing_tests_survives() -> None:
    done = _mutations("--only", "terms.policy != demands.policy", "--tests", "test_masks.py")
    assert done.returncode == 1
    assert "SURVIVED" in done.stdout


def _mutations(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.secagg_mutations", *arguments, "--json"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
