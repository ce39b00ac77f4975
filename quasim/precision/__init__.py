"""Precision plans: formats by zone, words, scales, the guard before a result and the manager of an error budget."""

from quasim.precision.budget import Budget, Measured
from quasim.precision.check import ProductErrors, product_errors, sample_rows, sampled_error
from quasim.precision.choice import Choice, choose
from quasim.precision.classes import CLASSES, DataClass, draw
from quasim.precision.emulate import answered, emulate
from quasim.precision.formats import FORMATS, Format, format_named
from quasim.precision.guard import Flag, Verdict, examine, verdict
from quasim.precision.manager import Manager, PrecisionMap, Switch
from quasim.precision.plan import PLANS, SAFE, Plan, plan_named
from quasim.precision.probe import Refusal, probed_error, refusal

__all__ = [
    "CLASSES",
    "FORMATS",
    "PLANS",
    "SAFE",
    "Budget",
    "Choice",
    "DataClass",
    "Flag",
    "Format",
    "Manager",
    "Measured",
    "Plan",
    "PrecisionMap",
    "ProductErrors",
    "Refusal",
    "Switch",
    "Verdict",
    "answered",
    "choose",
    "draw",
    "emulate",
    "examine",
    "format_named",
    "plan_named",
    "probed_error",
    "product_errors",
    "refusal",
    "sample_rows",
    "sampled_error",
    "verdict",
]
