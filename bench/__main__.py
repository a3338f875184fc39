"""`python -m bench [NAME…]`: runs the benchmarks, and prints one JSON object a line for each."""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from typing import Any

from bench import (
    absorb,
    api,
    backfill,
    budget,
    changed,
    counts,
    events,
    flood,
    known,
    latency,
    ledger,
    limits,
    looks,
    process,
    relay,
    rows,
    scale,
    settle,
    verify,
    webhook,
)
from bench.bench import Bench, say
from bench.stand import Stand
from worker.settings.sections import LogSettings
from worker.telemetry import configure_logging

BENCHES: dict[str, Bench[Any]] = {
    each.BENCH.name: each.BENCH
    for each in (
        absorb,
        settle,
        limits,
        budget,
        latency,
        backfill,
        process,
        ledger,
        scale,
        looks,
        events,
        known,
        flood,
        relay,
        webhook,
        rows,
        changed,
        verify,
        counts,
        api,
    )
}


def main() -> None:
    options = _options()
    configure_logging(LogSettings(level="warning", format="console"), sys.stderr)
    with Stand() as stand:
        for name in options.names or BENCHES:
            say(f"— {name}")
            result = BENCHES[name].run(stand, tiny=options.tiny, seconds=options.seconds, seed=options.seed)
            print(json.dumps(result), flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHES))
    parser.add_argument("--seconds", type=float, help="length of each window, of those that have one")
    parser.add_argument("--tiny", action="store_true", help="sizes that only show that it runs")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32), help="repeats the draws of a run")
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHES):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
    return options


if __name__ == "__main__":
    main()
