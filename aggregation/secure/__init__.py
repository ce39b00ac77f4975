"""Sums that nobody can look into: pairwise masks, shared secrets, and clients that check the server."""

from aggregation.secure.client import SecureClient
from aggregation.secure.degrees import Degrees, degrees
from aggregation.secure.encoding import Encoding
from aggregation.secure.members import Members
from aggregation.secure.server import SecureServer
from aggregation.secure.server_sum import LABEL
from aggregation.secure.terms import Terms, smallest_floor

__all__ = [
    "LABEL",
    "Degrees",
    "Encoding",
    "Members",
    "SecureClient",
    "SecureServer",
    "Terms",
    "degrees",
    "smallest_floor",
]
