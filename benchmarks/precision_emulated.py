"""Emulated, not measured on a device: errors of every precision plan on every data class, and who refuses it."""

from __future__ import annotations

import argparse

from benchmarks.harness import Bar, Row, main, say
from quasim.precision import CLASSES, PLANS, ProductErrors, answered, draw, emulate, product_errors
from quasim.precision.formats import Floats

SEED = 1
SIDE, DEPTH = 256, 512
LONG_SIDE, LONG_DEPTHS = 48, (1024, 4096, 8192)
"""A few elements with the sums of a real product: truncation grows with K."""

LONG_PLANS = ("fp64", "fp32", "bf16x6", "tf32x3", "fp16x2", "fp16x2f")


def _row(title: str, plan: str, refused: str, returned: ProductErrors, alone: ProductErrors | None = None) -> Row:
    return {
        "data": title,
        "plan": plan,
        "refused by": refused or None,
        "Frobenius": returned.frobenius,
        "componentwise": returned.componentwise,
        "Frobenius without checks": None if alone is None else alone.frobenius,
    }


def _class_rows(name: str) -> list[Row]:
    a, b = draw(name, SEED, SIDE, SIDE, DEPTH)
    rows = [_row(name, "float32, blocked (numpy)", "", product_errors(a @ b, a, b))]
    for plan in PLANS.values():
        returned, refused = answered(a, b, plan)
        alone = product_errors(emulate(a, b, plan), a, b) if refused else None
        rows.append(_row(name, plan.name, refused, product_errors(returned, a, b), alone))
    return rows


def _long_rows(depth: int) -> list[Row]:
    a, b = draw("normal", SEED, LONG_SIDE, LONG_SIDE, depth)
    return [_row(f"normal, K = {depth}", plan, "", _errors(a, b, plan)) for plan in LONG_PLANS]


def _errors(a: Floats, b: Floats, plan: str) -> ProductErrors:
    return product_errors(emulate(a, b, PLANS[plan]), a, b)


def _ratios(rows: list[Row], plan: str) -> list[float]:
    """Componentwise error of what is returned over that of float32 sums, on each class."""
    by = {(row["data"], row["plan"]): row["componentwise"] for row in rows}
    return [float(str(by[name, plan])) / float(str(by[name, "fp32"])) for name in CLASSES]


def measure(_: argparse.Namespace | None = None) -> tuple[list[Row], list[Bar]]:
    """The tables, and bars of the plans that split into fp16 words."""
    rows: list[Row] = []
    for name in CLASSES:
        say(f"precision_emulated: {name}")
        rows += _class_rows(name)
    bars = [
        Bar.at_most(f"{plan}: componentwise error over that of fp32, worst class", max(_ratios(rows, plan)), 1.0)
        for plan in ("fp16x2k", "fp16x2", "fp16x2f")
    ]
    for depth in LONG_DEPTHS:
        rows += _long_rows(depth)
    return rows, bars


if __name__ == "__main__":
    main("precision_emulated", __doc__ or "", measure)
