"""`python -m tests.contract`: asks a real account in test mode what the tests ask the sandbox's.

`STRIPE_TEST_SECRET_KEY`: its key; `STRIPE_TEST_API_BASE`: another Stripe than Stripe's. Arguments are pytest's. Exit
codes: 0 all agreed (or wasn't allowed to be asked); 1 something differed or stayed unclear; 2 no key of test mode.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.contract.account import STRIPE, KeyRefused, real
from tests.contract.real_account import RealAccount

NO_KEY = 2


def main(arguments: list[str]) -> int:
    try:
        terms = real(os.environ.get("STRIPE_TEST_SECRET_KEY", ""), os.environ.get("STRIPE_TEST_API_BASE", STRIPE))
    except KeyRefused as refusal:
        sys.stderr.write(f"STRIPE_TEST_SECRET_KEY: {refusal}\n")
        return NO_KEY
    options = ["-p", "no:xdist", "-p", "no:cacheprovider", "--tb=short", "-q", "--no-header", "-rN"]
    return int(pytest.main([str(Path(__file__).parent), *options, *arguments], plugins=[RealAccount(terms)]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
