"""What the fleet learns: rounds, sums, refined policies, signatures. No Ray, no sockets."""

from aggregation.agreement import Agreement, Noise
from aggregation.catalogue import Catalogue, Spaces
from aggregation.distill import local_update, refine
from aggregation.envelope import Distrust
from aggregation.fleet_server import FleetServer, round_server
from aggregation.fleet_state import AggregatorCore
from aggregation.participant import Participant
from aggregation.plain import PlainClient, PlainServer
from aggregation.rounds import RoundClient, RoundServer, RoundSpec
from aggregation.signing import PolicyRefusedError, PolicySigner, verify

__all__ = [
    "AggregatorCore",
    "Agreement",
    "Catalogue",
    "Distrust",
    "FleetServer",
    "Noise",
    "Participant",
    "PlainClient",
    "PlainServer",
    "PolicyRefusedError",
    "PolicySigner",
    "RoundClient",
    "RoundServer",
    "RoundSpec",
    "Spaces",
    "local_update",
    "refine",
    "round_server",
    "verify",
]
