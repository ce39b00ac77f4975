"""What the fleet learns: rounds, sums, refined policies, signatures. No Ray, no sockets."""

from aggregation.catalogue import Catalogue, Spaces
from aggregation.distill import local_update, refine
from aggregation.fleet_state import AggregatorCore
from aggregation.plain import PlainClient, PlainServer
from aggregation.rounds import RoundClient, RoundServer, RoundSpec
from aggregation.signing import Distrust, PolicyRefusedError, PolicySigner, verify

__all__ = [
    "AggregatorCore",
    "Catalogue",
    "Distrust",
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
    "verify",
]
