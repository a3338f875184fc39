"""The account that the tests ask: a sandbox's of their own, or the one that `python -m tests.contract` was given.

Nothing is reset between tests, since a real account can't be: each test makes what it needs, and cleans it up.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import stripe

from sandbox.stripe.server import StripeServer
from tests.contract.account import Account, sandbox
from tests.contract.life import Clock, Makes
from tests.contract.real_account import TERMS


@pytest.fixture(scope="session")
def account(pytestconfig: pytest.Config) -> Iterator[Account]:
    with ExitStack() as stack:
        terms = pytestconfig.stash.get(TERMS, None)
        if terms is None:
            server = stack.enter_context(StripeServer(seed="contract"))
            terms = sandbox(server.url, server.secret_key)
        http = stripe.RequestsClient(timeout=30)
        stack.callback(http.close)
        yield Account(terms, http)


@pytest.fixture(scope="session")
def run() -> str:
    """This run's word in all that it makes."""
    return f"subkeeper-contract-{secrets.token_hex(6)}"


@pytest.fixture
def makes(account: Account, run: str, request: pytest.FixtureRequest) -> Iterator[Makes]:
    with ExitStack() as ending:
        yield Makes(account, ending, f"{run}-{secrets.token_hex(3)}")


@pytest.fixture
def clock(makes: Makes) -> Clock:
    return makes.clock()


@pytest.fixture(scope="session")
def product(account: Account, run: str) -> Iterator[str]:
    with ExitStack() as ending:
        yield Makes(account, ending, run).product()["id"]


@pytest.fixture(scope="session")
def free(account: Account, run: str, product: str) -> Iterator[str]:
    """A monthly price of nothing, as the Pending plan's."""
    with ExitStack() as ending:
        yield Makes(account, ending, run).price(product, 0)["id"]


@pytest.fixture(scope="session")
def paid(account: Account, run: str, product: str) -> Iterator[str]:
    """A monthly price of 5 dollars."""
    with ExitStack() as ending:
        yield Makes(account, ending, run).price(product, 500)["id"]
