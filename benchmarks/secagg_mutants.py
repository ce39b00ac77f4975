"""The verifications in a piece of source, each with the edit that takes it out and leaves the rest as it is.

A condition on which code raises or answers nothing (each part of an ``or`` by itself) becomes false; what a function
``is_...`` returns (each part of an ``and`` by itself) becomes true, and so does each call of one elsewhere; a call of a
check for what it may raise is skipped.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

CHECKS = ("check", "_check", "verify", "index")
"""How the names of functions begin that are called for what they may raise."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One verification fewer.

    Attributes:
        line: where the verification is, from 1.
        what: its source, on one line.
        source: of the whole file without it.
    """

    line: int
    what: str
    source: str


def mutants(source: str) -> list[Mutant]:
    """All of them, by line."""
    found = [_without(source, node, instead) for node, instead in _verifications(ast.parse(source))]
    return sorted(found, key=lambda mutant: mutant.line)


def _verifications(tree: ast.Module) -> Iterator[tuple[ast.expr, str]]:
    """Expressions, and what to put in their places."""
    guards = [node for node in ast.walk(tree) if isinstance(node, ast.If) and _refuses(node.body[0])]
    inside = {part for guard in guards for part in ast.walk(guard.test)}
    for guard in guards:
        yield from ((part, "False") for part in _parts(guard.test, ast.Or))
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and _name(node.value).startswith(CHECKS):
            yield node.value, "..."
        elif isinstance(node, ast.Call) and _name(node).startswith("is_") and node not in inside:
            yield node, "True"
        elif isinstance(node, ast.FunctionDef) and node.name.startswith("is_"):
            yield from ((part, "True") for value in _returned(node) for part in _parts(value, ast.And))


def _refuses(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Return) and statement.value is not None:
        return ast.unparse(statement.value) in ("None", "[]")
    return isinstance(statement, ast.Raise)


def _parts(test: ast.expr, operator: type[ast.boolop]) -> list[ast.expr]:
    if isinstance(test, ast.BoolOp) and isinstance(test.op, operator):
        return test.values
    return [test]


def _returned(function: ast.FunctionDef) -> Iterator[ast.expr]:
    for node in ast.walk(function):
        if isinstance(node, ast.Return) and node.value is not None and ast.unparse(node.value) != "True":
            yield node.value


def _name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ast.unparse(call.func)


def _without(source: str, node: ast.expr, instead: str) -> Mutant:
    # Columns count bytes. An expression over several lines stands in brackets, which stay.
    lines = source.encode().splitlines(keepends=True)
    before, after = lines[: node.lineno - 1], lines[node.end_lineno :]
    head, tail = lines[node.lineno - 1][: node.col_offset], lines[(node.end_lineno or 0) - 1][node.end_col_offset :]
    edited = b"".join([*before, head, instead.encode(), tail, *after])
    return Mutant(node.lineno, ast.unparse(node), edited.decode())
