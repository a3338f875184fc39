"""How Python itself is set for a process that works."""

from __future__ import annotations

import gc
import sys

SWITCH_INTERVAL = 0.001
"""Seconds after which a thread that runs Python makes way for one that wants to (Python's default: 0.005). A batch is
committed while the next one is decoded, and would wait that long for its turn after each answer of Postgres."""

GARBAGE_AFTER = 50_000
"""Objects that have come and not gone after which cycles of them are looked for (Python's default: 700). A batch in
hand has tens of thousands, none of them in a cycle, and a fifth of the time that events took went into finding that."""


def tune() -> None:
    """For all of the process."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    gc.set_threshold(GARBAGE_AFTER)
