"""What a run tells its actors once, from its configuration, its folder and the site's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from actors.aggregator import AggregatorSpec, Watched
from actors.node_rounds import RoundsSpec
from actors.node_spec import NodeSpec, fingerprint
from aggregation.agreement import Agreement
from aggregation.catalogue import Catalogue
from cluster.config import FleetConfig
from cluster.federation import SiteFolder
from cluster.run_folder import RunFolder
from cluster.seats import Seat
from quasim.trial import Problem
from storage.keys import load_or_create_key

RESTARTS_PER_START = 1_000_000
"""Incarnations that are kept for each start of an agent by a driver: Ray restarts its process on its own, each time as
the next one, and 53 bits leave room for nine thousand million starts."""


@dataclass(frozen=True, slots=True)
class Specs:
    """Makes the specs of one run's actors.

    Attributes:
        problems: what is tuned, each shape in the order of its kernel's dimensions.
        trusted_key: Ed25519 public key of the aggregator.
        root: raw public key that rosters are verified with; None where rounds are plain.
    """

    config: FleetConfig
    folder: RunFolder
    site: Path
    problems: tuple[Problem, ...]
    trusted_key: bytes
    root: bytes | None

    def node(self, seat: Seat) -> NodeSpec:
        """Of the agent of a seat."""
        config, site_key = self.config, self.site / "site.key"
        return NodeSpec(
            name=seat.node,
            folder=self.folder.node(seat.node),
            federation=config.federation,
            trusted_key=self.trusted_key,
            site_key=site_key,
            site_fingerprint=fingerprint(load_or_create_key(site_key)),
            dictionary=self.site / "ids",
            problems=self.problems,
            objectives=tuple(map(config.objective, self.problems)),
            strategy=config.strategy,
            # Far apart, so that the problems of one node do not draw what those of the next draw.
            seed=config.seed * 1_000_000 + seat.number * 1_000,
            first_cycle=seat.first_cycle,
            evaluations=config.evaluations,
            recheck=config.recheck,
            rounds=RoundsSpec(
                secure=self.root is not None,
                identity=SiteFolder(self.site, config.federation).identity_file(seat.node),
                root=self.root or b"",
            ),
            regulation=config.energy,
            lowest_incarnation=seat.starts * RESTARTS_PER_START,
        )

    def aggregator(self, catalogue: Catalogue, agreement: Agreement) -> AggregatorSpec:
        """Of the aggregator, once all have agreed."""
        asked, folder = self.config.aggregation, self.folder
        return AggregatorSpec(
            folder=folder.aggregator,
            telemetry=folder.telemetry,
            policies=folder.policies,
            signing_key=self.site / "signing.key",
            federation=self.config.federation,
            catalogue=catalogue,
            floor=asked.floor,
            agreement=agreement,
            root=self.root or b"",
            canaries=asked.canary,
            table=folder.table,
            watched=Watched(folder.fleet_now, folder.events),
        )
