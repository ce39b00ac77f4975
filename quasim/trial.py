"""Value types of a tuning run: the problem, the genome, and one measured result."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from enum import Enum

import msgspec

from quasim.errors import ShapeError, SpaceError

Value = bool | int | float | str


class Problem(msgspec.Struct, frozen=True, order=True):
    """What is tuned: a kernel family at one shape.

    Attributes:
        kernel: name of a registered family, such as ``matmul``.
        shape: (dimension, extent) pairs in the family's own order.
    """

    kernel: str
    shape: tuple[tuple[str, int], ...]

    def __post_init__(self) -> None:
        for name, extent in self.shape:
            if extent < 0:
                raise ShapeError(f"{self.kernel}: {name}={extent} is negative", "give an extent of 0 or more")

    @classmethod
    def of(cls, kernel: str, **shape: int) -> Problem:
        """A problem from keyword extents, in the order given."""
        return cls(kernel, tuple(shape.items()))

    @classmethod
    def parse(cls, kernel: str, text: str) -> Problem:
        """A problem from ``m=768,n=768,k=768``.

        Raises:
            ShapeError: the text is not a list of NAME=INTEGER, or names one twice.
        """
        pairs: list[tuple[str, int]] = []
        for part in text.split(","):
            name, _, extent = part.strip().partition("=")
            if not name.isidentifier() or not extent.strip().isdigit():
                raise ShapeError(f"{part!r} in shape {text!r} is not NAME=INTEGER", "write m=768,n=768,k=768")
            if name in dict(pairs):
                raise ShapeError(f"{name} stands twice in shape {text!r}", "name each dimension once")
            pairs.append((name, int(extent)))
        return cls(kernel, tuple(pairs))

    @property
    def dims(self) -> dict[str, int]:
        """Extents by dimension name."""
        return dict(self.shape)

    @property
    def shape_text(self) -> str:
        """``m=768,n=768,k=768``, as ``parse`` reads it."""
        return ",".join(f"{name}={extent}" for name, extent in self.shape)

    def __str__(self) -> str:
        return f"{self.kernel}[{self.shape_text}]"

    @property
    def shape_class(self) -> str:
        """The shape in logarithmic buckets (nearest power of two), which fleets may share."""
        return ",".join(f"{name}~{_bucket(extent)}" for name, extent in self.shape)


def _bucket(extent: int) -> str:
    return f"2^{round(math.log2(extent))}" if extent else "0"


class Genome(Mapping[str, Value]):
    """One configuration of a search space: an immutable, hashable mapping of parameter to value."""

    __slots__ = ("_hash", "_items")

    def __init__(self, values: Mapping[str, Value]) -> None:
        self._items = dict(values)
        self._hash = hash(frozenset(self._items.items()))

    def __getitem__(self, name: str) -> Value:
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Genome) and self._items == other._items

    def __repr__(self) -> str:
        return f"Genome({self})"

    def __str__(self) -> str:
        return ",".join(f"{name}={value}" for name, value in self._items.items())

    def __reduce__(self) -> tuple[type[Genome], tuple[dict[str, Value]]]:
        return Genome, (self._items,)

    def integer(self, name: str) -> int:
        """The value of an integer parameter.

        Raises:
            SpaceError: the genome has no such integer.
        """
        value = self._items.get(name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise SpaceError(f"{name}={value!r} is not an integer of genome {self}", "take it from the kernel's space")
        return value


class Status(str, Enum):
    """How a trial ended; everything but ``OK`` is data about the genome, not an error of the run."""

    OK = "ok"
    COMPILE_ERROR = "compile_error"
    LAUNCH_ERROR = "launch_error"
    WRONG_RESULT = "wrong_result"
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    UNCERTIFIED = "uncertified"
    OVER_BUDGET = "over_budget"


class EnergySource(str, Enum):
    """Where an energy figure comes from."""

    COUNTER = "counter"
    INTEGRATED = "integrated"
    MODEL = "model"
    UNMETERED = "unmetered"


class Timing(msgspec.Struct, frozen=True):
    """Repeated timings of one variant.

    Attributes:
        median_ns: median time of one launch.
        low_ns, high_ns: 95 % confidence interval of the median.
        samples: how many launches were timed.
    """

    median_ns: float
    low_ns: float
    high_ns: float
    samples: int

    def __post_init__(self) -> None:
        if not 0 < self.low_ns <= self.median_ns <= self.high_ns < math.inf:
            raise ValueError(f"not an interval of times: {self.low_ns}, {self.median_ns}, {self.high_ns} ns")
        if self.samples < 1:
            raise ValueError(f"a timing needs samples, got {self.samples}")


class ErrorAgainst(str, Enum):
    """What a trial's errors are relative to: the exact answer, or what a foreign kernel's default computes."""

    FLOAT64 = "float64"
    DEFAULT = "default"


class Origin(str, Enum):
    """Who says so: a measurement, the compiler, or arithmetic on what these said."""

    MEASURED = "measured"
    COMPILER = "compiler"
    DERIVED = "derived"


class Introspection(msgspec.Struct, frozen=True, kw_only=True):
    """What a variant is made of and what it reached; flat, so that each field can be a column. None: not known.

    ``origin`` tells of each field who says so.

    Attributes:
        registers: 32-bit registers of a thread.
        local_bytes: memory of a thread for what found no register; 0: nothing was spilled.
        shared_bytes: shared memory of a block.
        occupancy: resident warps as a share of the most there can be, 0 to 1.
        bytes_per_s: compulsory traffic (each input read once, each output written once) over the median time.
        flops_per_s: floating-point operations over the median time.
        roofline_fraction: least time that the measured peaks of the device allow, in units of the median time.
    """

    registers: int | None = None
    local_bytes: int | None = None
    shared_bytes: int | None = None
    occupancy: float | None = None
    bytes_per_s: float | None = None
    flops_per_s: float | None = None
    roofline_fraction: float | None = None

    @staticmethod
    def origin(field: str) -> Origin:
        """Who says so."""
        return Origin.COMPILER if field in ("registers", "local_bytes", "shared_bytes") else Origin.DERIVED


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one evaluated genome.

    Attributes:
        timing: None unless ``status`` is ok.
        error_frobenius: ‖C−R‖_F / ‖R‖_F against float64; None where it was not computed.
        error_componentwise: max |C−R| / scale against float64, where the family states its scale
            (|A||B| for matmul); None where it was not computed.
        error_against: what both errors are relative to; ``default``: it says nothing of the right answer.
        energy_j: joules of one launch, gross; None where no meter read it.
        energy_low_j, energy_high_j: its 95 % interval; None where the meter gave none.
        energy_above_idle_j: the same less what the idle device draws; None where that was not measured.
        compile_ns: time from genome to library: lowering, printing, and the compiler unless the library was cached;
            None where nothing was compiled.
        check_ns: time spent on checking the answer; None where it was not checked.
        measure_ns: time spent warming up and timing, under the device lease.
        detail: why a failed trial failed, in one line; of an ok trial, why it has no energy, where one was asked for.

    Raises:
        ValueError: a timing without status ok or the reverse, or joules without a source or the reverse.
    """

    status: Status
    timing: Timing | None = None
    error_frobenius: float | None = None
    error_componentwise: float | None = None
    energy_j: float | None = None
    energy_source: EnergySource = EnergySource.UNMETERED
    energy_low_j: float | None = None
    energy_high_j: float | None = None
    energy_above_idle_j: float | None = None
    compile_ns: int | None = None
    check_ns: int | None = None
    measure_ns: int | None = None
    detail: str = ""
    error_against: ErrorAgainst = ErrorAgainst.FLOAT64

    def __post_init__(self) -> None:
        if (self.timing is None) == (self.status is Status.OK):
            raise ValueError(f"a trial has a timing exactly when its status is ok: {self.status}, {self.timing}")
        if (self.energy_j is None) != (self.energy_source is EnergySource.UNMETERED):
            raise ValueError(f"energy_j={self.energy_j} does not go with source {self.energy_source.value}")


class Trial(Findings, frozen=True, kw_only=True):
    """One evaluated genome, and what became of it.

    Attributes:
        introspection: None where the target tells nothing.
    """

    problem: Problem
    target: str
    genome: Genome
    introspection: Introspection | None = None

    @property
    def time_ns(self) -> float:
        """Median time of a launch; infinity for a failed trial."""
        return self.timing.median_ns if self.timing else math.inf
