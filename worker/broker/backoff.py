"""How long to wait before connecting again."""

from __future__ import annotations

import random

FIRST_DELAY = 0.1
"""Seconds before the first new attempt: a restarted nsqd listens again in about that time."""


def reconnect_delay(attempt: int, maximum: float, rng: random.Random) -> float:
    """Seconds to wait after the `attempt`-th failure in a row (from 1): doubling up to `maximum`, jittered.

    The jitter takes up to half away, so that the consumers of a restarted nsqd don't all come back at once.
    """
    ceiling = min(maximum, FIRST_DELAY * 2.0 ** min(attempt - 1, 30))
    return ceiling * rng.uniform(0.5, 1.0)
