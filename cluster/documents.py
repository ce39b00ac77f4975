"""Documents that commands print from tables of facts: their fields, where no struct of ours is printed."""

from __future__ import annotations

from typing import TypedDict

from quasim.trial import Value


class KernelRow(TypedDict):
    """One family of `quasim kernel list --json`; a dimension's lowest and highest extent, and what divides it."""

    name: str
    summary: str
    dims: dict[str, tuple[int, int, int]]


class _KernelFacts(TypedDict):
    problem: str
    summary: str
    flops: float
    bytes: float
    intensity_flop_per_byte: float
    shape_class: str
    configurations: int
    space_digest: str
    genome: str
    parameters: dict[str, list[Value]]


class KernelOnCpu(_KernelFacts):
    """`quasim kernel show --json` of the C target."""

    accesses: int
    sums: list[str]


class KernelOnGpu(_KernelFacts):
    """`quasim kernel show --json` of a GPU's target; blocks: of the launch, or ``persistent``."""

    blocks: int | str
    requirements: int


# Made by call, since the names hold spaces: what is the compiler's is marked so where it is printed.
_Compiled = TypedDict(
    "_Compiled",
    {
        "registers (compiler)": int,
        "local_bytes (compiler)": int,
        "shared_bytes (compiler)": int,
        "threads (compiler)": int,
        "occupancy (derived)": float,
    },
)


class KernelCompiled(KernelOnGpu, _Compiled):
    """`quasim kernel show --resources --json`."""


class Unmetered(TypedDict):
    """`quasim meter --json` of a device that nothing meters, and why."""

    meter: str
    device: str
    source: str
    why: str


class _Metered(TypedDict):
    meter: str
    device: str
    source: str
    unreadable: dict[str, str]
    power_limits_w: dict[str, float | None]
    samples: int
    faults: list[str]


class MeteredTooShort(_Metered):
    """`quasim meter --json` where fewer than two samples came."""


class Now(TypedDict):
    """The last reading."""

    counter_j: float | None
    power_w: float | None
    average_power_w: float | None
    temperature_c: float | None
    clock_mhz: float | None
    clock_events: list[str]


class Metered(_Metered):
    """`quasim meter --json` of a metered device; None: not to be read, or not to be told from so few samples."""

    tick_ms: float | None
    read_ms: float
    read_worst_ms: float
    mean_power_w: float | None
    mean_power_low_w: float | None
    mean_power_high_w: float | None
    mean_power_voided: str
    now: Now


class MeasureNext(TypedDict):
    """`quasim cap --json` while too few clocks were measured."""

    runs: int
    measure_next_mhz: float


class ProposedCaps(TypedDict):
    """`quasim cap --json`; shares are the model's."""

    runs: int
    source: str
    clock_cap_mhz: float
    power_cap_w: float
    saves: float
    slows: float
    knee_mhz: float
    fit_error: float


class ServerKey(TypedDict):
    """`quasim federation server --json`: the aggregator's public key in hex."""

    server: str
