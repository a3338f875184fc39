"""`python -m sandbox.stripe --port P`: this Stripe alone; prints one line of JSON when it listens.

The line has `stripe_api_base`, and `stripe_secret_key` if that was drawn from the seed: a key that was given (in
`STRIPE_SECRET_KEY`, off the command line that everybody can read) is not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from sandbox.stripe.identifiers import secret_key
from sandbox.stripe.server import serve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--seed", default="sandbox")
    parser.add_argument("--state-file", type=Path)
    parser.add_argument(
        "--unlimited-test-clocks", action="store_true", help="any number of customers and subscriptions on one"
    )
    given = parser.parse_args()
    own_key = os.environ.get("STRIPE_SECRET_KEY")
    key = own_key or secret_key(given.seed)

    def ready(url: str) -> None:
        said = {"stripe_api_base": url} | ({} if own_key else {"stripe_secret_key": key})
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()

    serve(
        given.host,
        given.port,
        secret_key=key,
        seed=given.seed,
        ready=ready,
        state_file=given.state_file,
        unlimited_test_clocks=given.unlimited_test_clocks,
    )


if __name__ == "__main__":
    main()
