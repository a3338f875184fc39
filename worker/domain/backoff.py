"""How long to wait before trying again."""

from __future__ import annotations

import random


def backoff(attempt: int, first: float, longest: float, rng: random.Random) -> float:
    """Seconds to wait after the `attempt`-th failure in a row (from 1): `first`, doubled up to `longest`, jittered.

    The jitter takes up to half away, so that those who failed together don't all come back at once.
    """
    ceiling = min(longest, first * 2.0 ** min(attempt - 1, 30))
    return ceiling * rng.uniform(0.5, 1.0)
