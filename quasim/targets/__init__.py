"""Where kernels run: C on this machine's CPU, and replayed recordings."""

from __future__ import annotations

from quasim.targets._base import DeviceFacts, Target

__all__ = ["DeviceFacts", "Target"]
