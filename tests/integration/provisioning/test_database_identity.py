"""Two databases with one Stripe account and one namespace: the second one is refused, unless it takes over."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from sandbox.postgres import PostgresServer
from tests.integration.provisioning.conftest import NewStack
from tests.support.stack import Stack, profile
from tests.support.waiting import wait_until
from worker.errors import Misconfigured
from worker.runtime.setup import setup

READS_NO_PRODUCTS = ["account_read", "customer_write", "subscription_write", "plan_read"]


@pytest.fixture
def other_database(postgres_server: PostgresServer, migrated_template: str) -> Iterator[str]:
    name = f"other_{secrets.token_hex(6)}"
    yield postgres_server.create_database(name, template=migrated_template)
    postgres_server.drop_database(name)


@pytest.fixture
def other(other_database: str, stack: Stack, new_stack: NewStack, closing: ExitStack) -> Iterator[Stack]:
    """Another deployment at the stack's account, with the same namespace: staging beside development."""
    yield new_stack(database_url=other_database, stripe=stack.stripe)
    closing.close()  # its workers, before its database is dropped


def metadata(stack: Stack) -> dict[str, str]:
    (product,) = stack.call_stripe("GET", "/v1/products")["data"]
    found: dict[str, str] = product["metadata"]
    return found


def database_id(stack: Stack) -> str:
    return str(stack.rows("SELECT database_id FROM deployment")[0]["database_id"])


def test_setup_writes_the_database_s_id_into_the_product(stack: Stack) -> None:
    assert list(metadata(stack).values()) == [database_id(stack)]
    asked = len(stack.requests("POST", "/v1/products/subkeeper_pending"))
    assert any("names this database" in line for line in stack.setup())
    assert len(stack.requests("POST", "/v1/products/subkeeper_pending")) == asked, "it was there already"


def test_setup_of_another_database_is_refused_and_names_the_way_out(stack: Stack, other: Stack) -> None:
    before = metadata(stack)
    with pytest.raises(Misconfigured, match="setup --take-over") as refusal:
        other.setup()
    assert database_id(stack) in str(refusal.value)
    assert metadata(stack) == before


def test_a_worker_on_another_database_does_not_start(stack: Stack, other: Stack) -> None:
    other.publish(profile("ada"))
    spawned = other.spawn("run", "profiles")
    assert spawned.wait() == 2
    assert "setup --take-over" in spawned.text
    assert other.ledger("ada") == {}


def test_a_database_that_takes_over_shuts_out_the_one_before(stack: Stack, other: Stack) -> None:
    spawned = other.spawn("setup", "--take-over")
    assert spawned.wait() == 0, spawned.text
    assert list(metadata(stack).values()) == [database_id(other)]
    assert stack.spawn("run", "profiles").wait() == 2
    other.start_worker()
    other.publish(profile("ada"))
    other.await_completed("ada")


def test_two_databases_can_take_over_from_each_other_within_a_day(stack: Stack, other: Stack) -> None:
    """Under one key Stripe would answer the second time from memory, and change nothing."""
    for taker in (other, stack, other):
        list(setup(taker.settings(), taker._rng, take_over=True))
        assert list(metadata(stack).values()) == [database_id(taker)]


def test_another_namespace_shares_the_product_and_has_a_word_of_its_own(stack: Stack, other: Stack) -> None:
    other.setup(SUBKEEPER_NAMESPACE="staging")
    assert set(metadata(stack).values()) == {database_id(stack), database_id(other)}
    for each, environ in ((stack, {}), (other, {"SUBKEEPER_NAMESPACE": "staging"})):
        worker = each.start_worker(**environ)
        wait_until(worker.is_ready)
        assert worker.stop() == 0


def test_what_somebody_wrote_into_the_product_stays(stack: Stack) -> None:
    stack.call_stripe("POST", "/v1/products/subkeeper_pending", **{"metadata[team]": "growth"})
    list(setup(stack.settings(), stack._rng, take_over=True))
    assert metadata(stack)["team"] == "growth"


@pytest.mark.parametrize(
    ("make_unread", "event"),
    [
        (lambda stack: stack.forget_claim(), "product.unclaimed"),
        (lambda stack: stack.control.put_key(stack.stripe.secret_key, READS_NO_PRODUCTS), "product.refused"),
    ],
    ids=["of the release before", "a key that may not"],
)
def test_a_product_that_tells_nothing_is_said_once_and_work_goes_on(
    stack: Stack, make_unread: Callable[[Stack], None], event: str
) -> None:
    make_unread(stack)
    worker = stack.spawn_worker()
    stack.publish(profile("ada"))
    stack.await_completed("ada")
    assert [(line["level"], line["plan"]) for line in worker.logged(event)] == [("warning", "pending")]
