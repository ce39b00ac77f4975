"""The T4 results format of the auto-tuning community: its schema as types, and what one of its results means.

The types accept what the published schemas of Kernel Tuner (``T4/1.0.0/results-schema.json``, Apache-2.0) and of
autotuning_methodology (``schemas/T4.json``, MIT) both accept, and are stricter where a replay needs it: plain values in
a configuration, positive times, no contradiction. What the schemas leave open is passed over, as their readers do.

A file of our own keeps to the format: times are in ns, as ``metadata.timeunit`` says; the figures of a trial are
``measurements`` with the names below; and ``metadata.quasim`` tells problem, parameters and default.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from quasim.space import Parameter
from quasim.targets.replay.facts import Facts, timing_of
from quasim.trial import EnergySource, ErrorAgainst, Genome, Problem, Status, Timing, Trial, Value

VERSION = "1.0.0"

NS_OF = {"nanoseconds": 1.0, "microseconds": 1e3, "milliseconds": 1e6, "seconds": 1e9}
NS_OF_SHORT = {"ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9}

TimeUnit = Literal["nanoseconds", "microseconds", "milliseconds", "seconds"]

Invalidity = Literal["timeout", "compile", "runtime", "correctness", "constraints", "correct"]

STATUSES: dict[Invalidity, Status] = {
    "correct": Status.OK,
    "compile": Status.COMPILE_ERROR,
    "runtime": Status.LAUNCH_ERROR,
    "correctness": Status.WRONG_RESULT,
    "timeout": Status.TIMEOUT,
    "constraints": Status.LAUNCH_ERROR,
}
"""What a result of others means that says no more than this; as in Kernel Tuner's cache files."""

INVALIDITIES: dict[Status, Invalidity] = {
    Status.OK: "correct",
    Status.COMPILE_ERROR: "compile",
    Status.LAUNCH_ERROR: "runtime",
    Status.WRONG_RESULT: "correctness",
    Status.TIMEOUT: "timeout",
    Status.CRASHED: "runtime",
    Status.UNCERTIFIED: "constraints",
    Status.OVER_BUDGET: "constraints",
}
"""How our statuses are written; the measurement ``status`` tells apart what the format does not."""

FIGURES = {
    "error_frobenius": "error_frobenius",
    "error_componentwise": "error_componentwise",
    "energy": "energy_j",
    "energy_low": "energy_low_j",
    "energy_high": "energy_high_j",
    "energy_above_idle": "energy_above_idle_j",
}
"""Names of our measurements that are numbers other than times, and the field that each is."""


class Measurement(msgspec.Struct, frozen=True):
    """One figure of a result; ``unit`` empty: none, or that of the file's times."""

    name: str = ""
    value: float | str | list[msgspec.Raw] = ""
    unit: str = ""


class Times(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a configuration cost, in the file's unit.

    Attributes:
        compilation: the schema's ``compilation_time`` as Kernel Tuner calls it.
        runtimes: the repeats, where they were kept.
        benchmark: warming up and timing, as Kernel Tuner calls it.
    """

    compilation_time: float | UnsetType = UNSET
    compilation: float | UnsetType = UNSET
    runtimes: tuple[float, ...] = ()
    framework: float | UnsetType = UNSET
    search_algorithm: float | UnsetType = UNSET
    validation: float | UnsetType = UNSET
    benchmark: float | UnsetType = UNSET

    def __post_init__(self) -> None:
        for name in ("compilation_time", "compilation", "framework", "search_algorithm", "validation", "benchmark"):
            value = getattr(self, name)
            if value is not UNSET and value < 0:
                raise ValueError(f"{name}={value} is negative")

    @property
    def compiling(self) -> float | UnsetType:
        """Time of the compiler, whichever name it has."""
        return self.compilation if self.compilation_time is UNSET else self.compilation_time


class Result(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One configuration.

    Raises:
        ValueError: it is called correct and incorrect at once, or names a measurement twice.
    """

    configuration: dict[str, Value]
    times: Times
    invalidity: Invalidity
    correctness: float
    timestamp: str = ""
    objectives: tuple[str, ...] = ()
    measurements: tuple[Measurement, ...] = ()

    def __post_init__(self) -> None:
        if self.correctness not in (0, 1):
            raise ValueError(f"correctness {self.correctness:g} is neither 0 nor 1")
        if self.invalidity == "correct" and not self.correctness:
            raise ValueError(f"invalidity 'correct' contradicts correctness {self.correctness:g}")
        names = [measurement.name for measurement in self.measurements]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"measurements name {sorted(twice)} twice")

    def facts(self, unit_ns: float) -> Facts:
        """What was recorded.

        Args:
            unit_ns: the file's unit of time, in ns.

        Raises:
            ValueError: a figure is missing or impossible; names it.
        """
        found = {measurement.name: measurement for measurement in self.measurements}
        status = Status(_text(found, "status") or STATUSES[self.invalidity].value)
        if (status is Status.OK) != (self.invalidity == "correct"):
            raise ValueError(f"status {status.value!r} contradicts invalidity {self.invalidity!r}")
        # Joules of unknown origin are none that we may hand on.
        source = EnergySource(_text(found, "energy_source") or "unmetered")
        kept = {n: f for n, f in FIGURES.items() if source is not EnergySource.UNMETERED or not n.startswith("energy")}
        failed = status is not Status.OK
        return Facts(
            status=status,
            timing=None if failed else self._timing(found, unit_ns),
            detail=_text(found, "detail") or (f"recorded as {self.invalidity}" if failed else ""),
            energy_source=source,
            compile_ns=_whole(self.times.compiling, unit_ns),
            check_ns=_whole(self.times.validation, unit_ns),
            measure_ns=_whole(self.times.benchmark, unit_ns),
            error_against=ErrorAgainst(_text(found, "error_against") or "float64"),
            **{field: _number(found, name) for name, field in kept.items()},
        )

    def _timing(self, found: dict[str, Measurement], unit_ns: float) -> Timing:
        time_ns = _time(found, "time", unit_ns)
        low_ns, high_ns = (_time(found, name, unit_ns) for name in ("time_low", "time_high"))
        samples = _number(found, "time_samples")
        if time_ns is None:
            raise ValueError("a correct result has no measurement 'time'")
        if low_ns is None or high_ns is None or samples is None:
            return timing_of(time_ns, [unit_ns * t for t in self.times.runtimes])
        if samples != int(samples):
            raise ValueError(f"measurement 'time_samples' is {samples}, not a whole number")
        return Timing(time_ns, low_ns, high_ns, int(samples))


class Own(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a file of our own tells of its space.

    Attributes:
        default: what the kernel runs with untuned; None: the space names none.
    """

    problem: Problem
    parameters: tuple[Parameter, ...]
    default: Genome | None = None


class Metadata(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the results come from."""

    device: str = ""
    autotuner: str = ""
    timeunit: TimeUnit = "milliseconds"
    compute_api: Literal["OpenCL", "CUDA", "Vulkan", ""] = ""
    quasim: Own | None = None


class T4File(msgspec.Struct, frozen=True, kw_only=True):
    """A whole file.

    Raises:
        ValueError: its version is not one that is known here.
    """

    schema_version: str
    metadata: Metadata = Metadata()
    results: tuple[Result, ...]

    def __post_init__(self) -> None:
        if not re.fullmatch(r"1\.\d+\.\d+", self.schema_version):
            raise ValueError(f"schema_version {self.schema_version!r} is not 1.x.x")


def result(trial: Trial) -> Result:
    """How a trial is written, times in ns."""
    facts = Facts.of(trial)
    return Result(
        configuration=dict(trial.genome),
        times=Times(
            compilation_time=_known(facts.compile_ns),
            # A trial keeps the median of its samples, not these.
            runtimes=(facts.timing.median_ns,) if facts.timing else (),
            validation=_known(facts.check_ns),
            benchmark=_known(facts.measure_ns),
        ),
        invalidity=INVALIDITIES[facts.status],
        correctness=int(facts.status is Status.OK),
        objectives=("time",),
        measurements=tuple(_measured(facts)),
    )


def _measured(facts: Facts) -> list[Measurement]:
    kept: list[tuple[str, float | str | None, str]] = [
        ("status", facts.status.value, ""),
        *(_timed(facts.timing) if facts.timing else ()),
        *((name, getattr(facts, field), "J" if name.startswith("energy") else "") for name, field in FIGURES.items()),
        ("energy_source", facts.energy_source.value if facts.energy_j is not None else None, ""),
        ("error_against", facts.error_against.value if facts.error_frobenius is not None else None, ""),
        ("detail", facts.detail or None, ""),
    ]
    return [Measurement(name, value, unit) for name, value, unit in kept if value is not None]


def _timed(timing: Timing) -> list[tuple[str, float | str | None, str]]:
    return [
        ("time", timing.median_ns, "ns"),
        ("time_low", timing.low_ns, "ns"),
        ("time_high", timing.high_ns, "ns"),
        ("time_samples", timing.samples, ""),
    ]


def _text(found: dict[str, Measurement], name: str) -> str:
    value = found[name].value if name in found else ""
    if not isinstance(value, str):
        raise ValueError(f"measurement {name!r} is {_shown(value)}, not text")
    return value


def _number(found: dict[str, Measurement], name: str) -> float | None:
    if name not in found:
        return None
    value = found[name].value
    if not isinstance(value, (int, float)):
        raise ValueError(f"measurement {name!r} is {_shown(value)}, not a number")
    return value


def _shown(value: float | str | list[msgspec.Raw]) -> str:
    return "an array" if isinstance(value, list) else repr(value)


def _time(found: dict[str, Measurement], name: str, unit_ns: float) -> float | None:
    """A time in ns; one without a unit, or with a unit of others, is in the file's."""
    number = _number(found, name)
    if number is None:
        return None
    unit = found[name].unit
    if unit and unit not in NS_OF_SHORT:
        raise ValueError(f"measurement {name!r} has unit {unit!r}, not one of {', '.join(NS_OF_SHORT)}")
    return number * NS_OF_SHORT.get(unit, unit_ns)


def _whole(time: float | UnsetType, unit_ns: float) -> int | None:
    return None if time is UNSET else round(time * unit_ns)


def _known(time_ns: int | None) -> int | UnsetType:
    return UNSET if time_ns is None else time_ns
