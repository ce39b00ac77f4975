"""What a variant is made of, as numbers for a performance model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from quasim.space import Floats
from quasim.trial import Introspection, Trial

FEATURES = ("registers", "local_bytes", "shared_bytes", "occupancy")
"""The columns of ``features``: what is known of a variant before it is launched.

The rates and the share of the roofline are left out: they are the time in other units, and would tell a model what it
is to predict.
"""

_UNKNOWN = Introspection()


def features(trials: Sequence[Trial]) -> Floats:
    """The compiler's facts of each trial, shape (trials, ``FEATURES``); NaN where a fact is not known.

    They exist for what was compiled alone, so a model that is asked of other genomes has to predict them, too.
    """
    made = [trial.introspection or _UNKNOWN for trial in trials]
    rows = [[getattr(facts, name) for name in FEATURES] for facts in made]
    return np.array(rows, dtype=np.float64).reshape(len(made), len(FEATURES))
