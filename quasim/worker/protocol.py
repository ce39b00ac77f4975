"""What agent and worker say to each other: typed messages, each a 4-byte big-endian length and its MessagePack."""

from __future__ import annotations

import struct
from collections.abc import Callable
from enum import Enum

import msgspec

from quasim.codec import from_msgpack, to_msgpack
from quasim.errors import DataError
from quasim.measure import timing
from quasim.meters.energy import Energy
from quasim.targets.gpu.image import Image, Loadable
from quasim.trial import Problem, Status, Timing

HEADER = struct.Struct(">I")

MAX_BYTES = 64 << 20
"""Far above any reply (a sample takes 9 bytes), far below what a garbled length would ask for."""


class PeakKind(str, Enum):
    """What a peak does, in the order of the numbers that its C source gives them."""

    COPY = "copy"
    STREAM = "stream"
    FMA = "fma"


class Variant(msgspec.Struct, frozen=True, tag="variant"):
    """A compiled kernel of the problem's family; ``path`` is absolute."""

    path: str


class Library(msgspec.Struct, frozen=True, tag="library"):
    """The platform's library (numpy), with as many threads as the worker has."""


class Peak(msgspec.Struct, frozen=True, tag="peak"):
    """A compiled peak of the machine; ``path`` is absolute."""

    path: str
    kind: PeakKind


class Binary(msgspec.Struct, frozen=True, tag="binary"):
    """A kernel of the problem's family, compiled for the worker's GPU; one launch of it, or several in a row."""

    image: Loadable


class PeerKind(str, Enum):
    """How PyTorch computes a family: its primitive operations one by one, these compiled, or the vendor's function."""

    EAGER = "eager"
    COMPILED = "compiled"
    LIBRARY = "library"


class Peer(msgspec.Struct, frozen=True, tag="peer"):
    """PyTorch on the worker's GPU."""

    kind: PeerKind


class DevicePeakKind(str, Enum):
    """A device copy, or the vendor's matrix product in the precision of the problem's operands."""

    COPY = "copy"
    PRODUCT = "product"


class DevicePeak(msgspec.Struct, frozen=True, tag="device_peak"):
    """What the worker's GPU reaches with the vendor's own code."""

    kind: DevicePeakKind


Entry = Variant | Library | Peak | Binary | Peer | DevicePeak
"""The first three are of a CPU worker, the others of a GPU worker; each refuses the other's as a launch error."""


class Plan(msgspec.Struct, frozen=True):
    """How entries are timed.

    A window begins with a launch that is not counted, unless that one fills the window by itself. It ends when it has
    both ``min_samples`` and ``window_ns``, and at the latest at ``max_samples`` or ``cap_ns``.

    Attributes:
        rounds: windows per entry. In each round every entry has one window, in shuffled order.
        race_ratio: an entry whose first three launches are all slower than this many times the best known time
            gives up.
        energy_window_ns: how long each entry is metered after it was timed, on a GPU worker; 0: unmetered.
    """

    rounds: int = 1
    window_ns: int = 40_000_000
    min_samples: int = 7
    max_samples: int = 2000
    cap_ns: int = 1_000_000_000
    race_ratio: float = 3.0
    energy_window_ns: int = 0

    def __post_init__(self) -> None:
        if min(self.rounds, self.window_ns, self.min_samples, self.cap_ns) < 1 or self.max_samples < self.min_samples:
            raise ValueError(f"not a plan: {self}")
        if self.energy_window_ns < 0:
            raise ValueError(f"not a plan: {self}")


class Prepare(msgspec.Struct, frozen=True, tag="prepare"):
    """Make inputs from the seed, their reference, and enough copies to leave the caches behind.

    Attributes:
        standard: a kernel whose answer is the reference, where the family has none; on a GPU worker.
    """

    problem: Problem
    seed: int
    standard: Image | None = None


class Run(msgspec.Struct, frozen=True, tag="run"):
    """Check each entry once, then time those that are right; the problem was prepared before.

    Attributes:
        order_seed: of the order of entries within each round.
        best_ns: best time known of the problem, for racing; None: no racing.
    """

    problem: Problem
    seed: int
    entries: tuple[Entry, ...]
    plan: Plan
    order_seed: int = 0
    best_ns: float | None = None


Request = Prepare | Run


class Gpu(msgspec.Struct, frozen=True):
    """The device of a GPU worker, as its driver and PyTorch describe it.

    Attributes:
        name: as the vendor prints it.
        uuid: ``GPU-…``; the same for every process, whatever devices are visible to it.
        arch: such as ``sm_90``.
        multiprocessors: how many.
        l2_bytes, memory_bytes: of the whole device.
        versions: (component, version) pairs of what runs there.
    """

    name: str
    uuid: str
    arch: str
    multiprocessors: int
    l2_bytes: int
    memory_bytes: int
    versions: tuple[tuple[str, str], ...]


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The first thing a worker says: it has started under its limits; ``gpu`` None: it works on the CPU."""

    gpu: Gpu | None = None


class Unable(msgspec.Struct, frozen=True, tag="unable"):
    """The other first thing: what is missing on this machine, and what to do about it. The worker ends."""

    what: str
    do: str


class Prepared(msgspec.Struct, frozen=True, tag="prepared"):
    """The problem is ready: ``sets`` copies of its arrays, ``set_bytes`` each."""

    sets: int
    set_bytes: int


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one entry.

    Attributes:
        windows: samples in ns, window by window; empty unless the status is ok.
        error_frobenius, error_componentwise: None where no answer was computed, or where it was wrong beyond measure.
        check_ns, measure_ns: None where it came to no check, or to no timing.
        work: bytes or flops of one launch of a peak; 0 for everything else.
        energy: of one launch; None where none was asked for.
    """

    status: Status
    windows: tuple[tuple[int, ...], ...] = ()
    error_frobenius: float | None = None
    error_componentwise: float | None = None
    check_ns: int | None = None
    measure_ns: int | None = None
    work: int = 0
    detail: str = ""
    energy: Energy | None = None

    @property
    def timing(self) -> Timing | None:
        """Of all windows; None unless the status is ok."""
        return timing(self.windows) if self.status is Status.OK else None


class Ran(msgspec.Struct, frozen=True, tag="ran"):
    """One outcome for each entry, in order.

    Attributes:
        spent: an entry left the process unfit for more (a poisoned CUDA context): it must be replaced, and outcomes
            other than ``crashed`` say nothing.
    """

    outcomes: tuple[Outcome, ...]
    spent: bool = False


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The request as a whole could not be served, and the worker lives on."""

    detail: str


Reply = Ready | Unable | Prepared | Ran | Failed


def pack(message: Request | Reply) -> bytes:
    """The message with its length in front."""
    body = to_msgpack(message)
    return HEADER.pack(len(body)) + body


def read_body(read: Callable[[int], bytes]) -> bytes:
    """The body of the next message; ``read(n)`` gives exactly n bytes.

    Raises:
        DataError: the length cannot be one of ours.
    """
    (size,) = HEADER.unpack(read(HEADER.size))
    if size > MAX_BYTES:
        raise DataError(f"a message of {size} bytes is no message", "something else wrote into the pipe")
    return read(size)


def read_request(read: Callable[[int], bytes]) -> Request:
    """The next request; raises ``DataError`` when it is none."""
    return from_msgpack(read_body(read), Request, "a worker's request")  # type: ignore[arg-type]


def read_reply(read: Callable[[int], bytes]) -> Reply:
    """The next reply; raises ``DataError`` when it is none."""
    return from_msgpack(read_body(read), Reply, "a worker's reply")  # type: ignore[arg-type]
