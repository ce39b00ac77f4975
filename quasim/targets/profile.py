"""What hardware counters tell of one launch, whichever profiler read them."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import msgspec

from quasim.trial import Genome, Problem


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """Hardware counters of one launch, all of them ``measured``; None where the counter gave nothing.

    Attributes:
        branches, divergent_branches: that warps executed, and of these those whose threads went different ways.
        branch_efficiency: branches whose threads all went the same way, as a share of all, 0 to 1, averaged over the
            places in the code; 1: no divergence; None where nothing branches.
        l1_hit_rate, l2_hit_rate: sectors found there, as a share of those asked for, from cold caches.
        occupancy: resident warps over the time of the launch, as a share of the most there can be.
        dram_bytes_per_s: read from and written to device memory.
        dram_utilization: the same as a share of what the memory can move at its clock.
        reason: why there are no figures, in one line; empty where there are some.
    """

    branches: float | None = None
    divergent_branches: float | None = None
    branch_efficiency: float | None = None
    l1_hit_rate: float | None = None
    l2_hit_rate: float | None = None
    occupancy: float | None = None
    dram_bytes_per_s: float | None = None
    dram_utilization: float | None = None
    reason: str = ""


@runtime_checkable
class Profilable(Protocol):
    """A target that can have hardware counters read."""

    def profile(self, problem: Problem, genome: Genome) -> Profile:
        """The counters of one launch of a genome."""
        ...
