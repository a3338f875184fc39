"""The real parts that tests run against, started when the first test asks for them and gone with the session.

Shared ones (`nsqd`, `postgres_server`) are for tests that leave them running; a test that kills or holds a server asks
for one of its own (`new_nsqd`, `new_postgres`). Each test gets names of its own (`topic`, `database_url`).
"""

from __future__ import annotations

import itertools
import os
import random
import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pytest
from hypothesis import HealthCheck, settings
from pydantic import SecretStr

from sandbox.nsq import Nsqd, Nsqlookupd, Tls
from sandbox.postgres import PostgresServer
from sandbox.stripe.control import Control
from sandbox.stripe.server import StripeServer
from sandbox.workspace import Workspace
from worker.settings.sections import DatabaseSettings
from worker.store.engine.database import Database
from worker.store.engine.migrations import upgrade

TEMPLATE = "subkeeper_template"

# A busy machine is no reason to fail.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


@pytest.fixture(autouse=True)
def one_day(request: pytest.FixtureRequest) -> None:
    """What is counted by days or months (reads of Stripe, events) is counted in one of each by a test: none with parts
    begins in the last minute and a half before midnight."""
    if "unit" not in request.path.parts:
        now = datetime.now(UTC)
        midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
        if (left := (midnight - now).total_seconds()) < 90:
            time.sleep(left + 0.1)


class NewNsqd(Protocol):
    """Starts an nsqd for one test, with the same choices as `Nsqd` itself."""

    def __call__(
        self,
        *,
        lookupds: Sequence[Nsqlookupd] = (),
        tls: Tls | None = None,
        auth_http_address: str | None = None,
        flags: Sequence[str] = (),
    ) -> Nsqd: ...


@pytest.fixture(scope="session")
def workspace() -> Iterator[Workspace]:
    """Where all parts of this session keep their data; removed at its end, or when the session is killed."""
    with Workspace() as workspace:
        yield workspace


@pytest.fixture(scope="session")
def nsqlookupd(workspace: Workspace) -> Iterator[Nsqlookupd]:
    with Nsqlookupd(workspace) as nsqlookupd:
        yield nsqlookupd


@pytest.fixture(scope="session")
def nsqd(workspace: Workspace, nsqlookupd: Nsqlookupd) -> Iterator[Nsqd]:
    """The shared broker, registered with `nsqlookupd`."""
    with Nsqd(workspace, lookupds=[nsqlookupd]) as nsqd:
        yield nsqd


@pytest.fixture(scope="session")
def postgres_server(workspace: Workspace) -> Iterator[PostgresServer]:
    with PostgresServer(workspace) as server:
        yield server


@pytest.fixture
def new_nsqd(workspace: Workspace) -> Iterator[NewNsqd]:
    """Starts brokers that this test alone uses and may kill."""
    with ExitStack() as stack:

        def start(
            *,
            lookupds: Sequence[Nsqlookupd] = (),
            tls: Tls | None = None,
            auth_http_address: str | None = None,
            flags: Sequence[str] = (),
        ) -> Nsqd:
            nsqd = Nsqd(workspace, lookupds=lookupds, tls=tls, auth_http_address=auth_http_address, flags=flags)
            return stack.enter_context(nsqd)

        yield start


@pytest.fixture
def new_nsqlookupd(workspace: Workspace) -> Iterator[Callable[[], Nsqlookupd]]:
    """Starts lookup servers that this test alone uses and may kill."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(Nsqlookupd(workspace))


@pytest.fixture
def new_postgres(workspace: Workspace) -> Iterator[Callable[[], PostgresServer]]:
    """Starts Postgres servers (without databases; 0.4 s) that this test alone uses and may kill."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(PostgresServer(workspace))


@pytest.fixture(scope="session")
def shared_stripe_server() -> Iterator[StripeServer]:
    with StripeServer() as server:
        yield server


@pytest.fixture
def stripe_server(shared_stripe_server: StripeServer) -> StripeServer:
    """The sandbox's Stripe in a thread, its account empty and its faults off."""
    Control(shared_stripe_server.url).reset()
    return shared_stripe_server


@pytest.fixture(scope="session")
def migrated_template(postgres_server: PostgresServer) -> str:
    """The name of a database with the newest schema and no rows, to copy."""
    url = postgres_server.create_database(TEMPLATE)
    database = Database(DatabaseSettings(url=SecretStr(url)))
    with database.connection() as connection:
        upgrade(connection)
    database.close()
    return TEMPLATE


@pytest.fixture
def database_url(postgres_server: PostgresServer, migrated_template: str) -> Iterator[str]:
    """The URL of a database of this test's own, with the newest schema and no rows (30 ms)."""
    name = f"test_{secrets.token_hex(6)}"
    yield postgres_server.create_database(name, template=migrated_template)
    postgres_server.drop_database(name)


@pytest.fixture
def empty_database_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a database of this test's own without any schema."""
    name = f"test_{secrets.token_hex(6)}"
    yield postgres_server.create_database(name)
    postgres_server.drop_database(name)


@pytest.fixture
def new_topic(request: pytest.FixtureRequest) -> Callable[[], str]:
    """Makes names of topics that no other test uses, with this test's name in them."""
    stem = re.sub(r"\W", "_", request.node.originalname).removeprefix("test_")[:40]
    prefix, numbers = f"{stem}.{secrets.token_hex(4)}", itertools.count(1)
    return lambda: f"{prefix}.{next(numbers)}"


@pytest.fixture
def topic(new_topic: Callable[[], str]) -> str:
    """The name of a topic that no other test uses."""
    return new_topic()


@pytest.fixture
def seed() -> int:
    """The seed of this test's randomness: a new one each time, or `SUBKEEPER_TEST_SEED` to see a failure again."""
    seed = int(os.environ.get("SUBKEEPER_TEST_SEED") or secrets.randbelow(2**32))
    print(f"SUBKEEPER_TEST_SEED={seed}")  # noqa: T201 (pytest shows it with a failed test)
    return seed


@pytest.fixture
def rng(seed: int) -> random.Random:
    """This test's source of chance."""
    return random.Random(seed)
