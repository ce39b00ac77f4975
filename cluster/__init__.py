"""How it is started: command line, configuration, fleet driver and report."""

import os

# Ray reads this once, when it is first imported, and its own default differs from place to place.
os.environ.setdefault("RAY_AUTH_MODE", "token")
