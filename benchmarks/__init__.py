"""One file a claim: ``python -m benchmarks.NAME [--json]`` prints a table, or one JSON document."""

import os

# Ray reads this once, when it is first imported, and its own default differs from place to place.
os.environ.setdefault("RAY_AUTH_MODE", "token")
