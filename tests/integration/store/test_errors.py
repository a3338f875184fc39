"""What Postgres says, in our words."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from pydantic import SecretStr
from sqlalchemy import Connection, event, text

from tests.faults.pooler import Pooler
from tests.support.waiting import wait_until
from worker.domain.lanes import Lane
from worker.domain.provisioning import Provisioning, State
from worker.domain.stripe_facts import AccountFact
from worker.errors import Conflict, Contended, Misconfigured, Rejected, TryLater, Unavailable, Unforeseen
from worker.settings.sections import DatabaseSettings
from worker.store import customers, deployment
from worker.store.engine.database import Database
from worker.store.engine.errors import (
    CustomerAlreadyExists,
    PaymentMethodAlreadyExists,
    StripeCustomerAlreadyExists,
    StripeSubscriptionAlreadyExists,
    SubscriptionAlreadyExists,
)
from worker.store.provisioning import steps

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def execute(database: Database, *statements: str) -> None:
    with database.transaction() as tx:
        for statement in statements:
            tx.execute(text(statement))


CUSTOMER = "INSERT INTO billing_customers (user_id, stripe_customer_id) VALUES ('{}', '{}')"
SUBSCRIPTION = (
    "INSERT INTO billing_subscriptions (billing_customer_id, stripe_subscription_id, plan, canceling, seen_from,"
    " seen_to, stripe_subscription_status) SELECT min(id), 'sub_1', 'p', false, now(), now(), 'active'"
    " FROM billing_customers"
)
COMPLETED = (
    "INSERT INTO provisionings (user_id, state, plan, trial_end, lane, stripe_subscription_id)"
    " VALUES ('{}', 'completed', 'p', now(), 0, 'sub_1')"
)
METHOD = (
    "INSERT INTO payment_methods (billing_customer_id, stripe_payment_method_id, priority)"
    " SELECT min(id), '{}', {} FROM billing_customers"
)


@pytest.mark.parametrize(
    ("statements", "error"),
    [
        ([CUSTOMER.format("ada", "cus_1"), CUSTOMER.format("ada", "cus_2")], CustomerAlreadyExists),
        ([CUSTOMER.format("ada", "cus_1"), CUSTOMER.format("bob", "cus_1")], StripeCustomerAlreadyExists),
        ([SUBSCRIPTION, SUBSCRIPTION], StripeSubscriptionAlreadyExists),
        ([COMPLETED.format("ada"), COMPLETED.format("bob")], SubscriptionAlreadyExists),
        ([METHOD.format("pm_1", 1), METHOD.format("pm_1", 2)], PaymentMethodAlreadyExists),
        ([METHOD.format("pm_1", 1), METHOD.format("pm_2", 1)], PaymentMethodAlreadyExists),
    ],
    ids=["user", "customer", "subscription", "ledger", "payment method", "priority"],
)
def test_each_unique_violation_has_its_name(database: Database, statements: list[str], error: type[Conflict]) -> None:
    if statements[0] in (SUBSCRIPTION, METHOD.format("pm_1", 1)):
        execute(database, CUSTOMER.format("ada", "cus_1"))
    with pytest.raises(error):
        execute(database, *statements)


def test_every_unique_constraint_that_a_use_case_can_meet_has_its_name(database: Database) -> None:
    """A key that nobody names would come out as a foreign error: primary keys are only written with ON CONFLICT."""
    with database.transaction() as tx:
        names = tx.execute(
            text("SELECT indexrelid::regclass::text FROM pg_index WHERE indisunique AND NOT indisprimary"
                 " AND indrelid::regclass::text IN (SELECT tablename FROM pg_tables WHERE schemaname = 'public')")
        ).scalars()  # fmt: skip
        found = set(names)
    assert found == {
        "billing_customers_user_id_key",
        "billing_customers_stripe_customer_id_key",
        "billing_subscriptions_stripe_subscription_id_key",
        "payment_methods_stripe_payment_method_id_key",
        "payment_methods_billing_customer_id_key",
        "provisionings_stripe_subscription_id_key",
        "quarantined_messages_topic_key",  # written with ON CONFLICT DO NOTHING
        "account_changes_key",  # likewise
        "charge_tries_stripe_invoice_id_key",  # written with ON CONFLICT DO NOTHING
        "charge_tries_unresolved_key",  # written under the invoice's lease, after the one before has its answer
        "checkouts_open_key",  # written in the user's turn, after the one before has ended
        "checkouts_stripe_session_id_key",  # as Stripe gives it, likewise
    }


def test_a_pair_that_is_there_is_no_conflict_and_a_deleted_customer_makes_room(database: Database) -> None:
    def record(user_id: str, customer_id: str) -> None:
        pending = (
            "INSERT INTO provisionings (user_id, plan, trial_end, lane, lease_token)"
            " VALUES (:user_id, 'p', now(), 0, 1)"
            " ON CONFLICT (user_id) DO UPDATE SET state = 'pending'"
        )
        with database.transaction() as tx:
            tx.execute(text(pending), {"user_id": user_id})
            row = Provisioning(user_id, State.PENDING, 1, "p", NOW, Lane.LIVE, 1, look_first=False, lease_token=1)
            frozen = replace(row, stripe_customer_id=customer_id, subscription_request="{}")
            steps.record_customer(tx, frozen, look_first=False, lease=timedelta(seconds=20), stripe_now=NOW)

    record("ada", "cus_1")
    record("ada", "cus_1")
    with pytest.raises(CustomerAlreadyExists):
        record("ada", "cus_2")
    with pytest.raises(StripeCustomerAlreadyExists):
        record("bob", "cus_1")
    with database.transaction() as tx:
        customers.mark_deleted(tx, "cus_1")
    with pytest.raises(StripeCustomerAlreadyExists):
        record("ada", "cus_1")
    record("ada", "cus_2")


def test_a_deadlock_is_to_be_tried_again(database: Database) -> None:
    execute(database, CUSTOMER.format("ada", "cus_1"), CUSTOMER.format("bob", "cus_2"))
    barrier = threading.Barrier(2)
    failures: list[Exception] = []

    def lock(*order: str) -> None:
        try:
            with database.transaction() as tx:
                for user_id in order:
                    tx.execute(
                        text("UPDATE billing_customers SET created_at = now() WHERE user_id = :u"), {"u": user_id}
                    )
                    if user_id == order[0]:
                        barrier.wait(10)
        except Exception as error:  # noqa: BLE001 - shown by the test
            failures.append(error)

    other = threading.Thread(target=lock, args=("ada", "bob"))
    other.start()
    lock("bob", "ada")
    other.join()
    assert [(type(error), str(error)) for error in failures] == [(Contended, "postgres 40P01 (a deadlock)")]


def test_a_lock_that_is_held_too_long_is_to_be_tried_again(new_database: Callable[..., Database]) -> None:
    impatient, holder = new_database(lock_timeout=0.05), new_database()
    execute(holder, CUSTOMER.format("ada", "cus_1"))
    with holder.transaction() as tx:
        tx.execute(text("SELECT * FROM billing_customers FOR UPDATE"))
        with pytest.raises(Contended, match="55P03"):
            execute(impatient, "UPDATE billing_customers SET deleted_at = now()")


@pytest.mark.parametrize("code", ["26000", "42P05"])
def test_a_prepared_statement_that_a_pooler_mixed_up_is_to_be_tried_again(database: Database, code: str) -> None:
    said = {"26000": ["EXECUTE elsewhere"], "42P05": ["PREPARE here AS SELECT 1", "PREPARE here AS SELECT 1"]}
    with pytest.raises(TryLater, match=code):
        execute(database, *said[code])


def test_what_nobody_foresaw_says_so_and_no_more_than_its_code(database: Database) -> None:
    with pytest.raises(Unforeseen, match="42P01") as unforeseen:
        execute(database, "SELECT 'ada@example.org' FROM a_table_that_is_not_there")
    assert "ada" not in str(unforeseen.value)


def prepared(database: Database) -> int:
    """How many statements are prepared after one was executed often, in one session."""
    for _ in range(10):
        database.ping()
    with database.transaction() as tx:
        return int(tx.execute(text("SELECT count(*) FROM pg_prepared_statements")).scalar_one())


def test_what_is_often_executed_is_prepared(database: Database) -> None:
    assert prepared(database) > 0


def test_behind_a_pooler_that_has_a_cancel_key_of_its_own_nothing_is_prepared(
    new_database: Callable[..., Database], database_url: str
) -> None:
    url = urlsplit(database_url)
    assert url.port
    with Pooler(url.port, sessions=1) as pooler:
        pooled = new_database(url=SecretStr(database_url.replace(str(url.port), str(pooler.port))))
        assert prepared(pooled) == 0


def test_after_a_prepared_statement_that_a_pooler_mixed_up_none_is_prepared(database: Database) -> None:
    assert prepared(database) > 0
    with pytest.raises(TryLater, match="26000"):
        execute(database, "EXECUTE elsewhere")
    assert prepared(database) == 0


def test_a_statement_that_takes_too_long_is_to_be_tried_again(new_database: Callable[..., Database]) -> None:
    with pytest.raises(TryLater, match="57014"):
        execute(new_database(statement_timeout=0.05), "SELECT pg_sleep(5)")


def test_a_backend_that_is_terminated_is_unavailable_and_the_next_transaction_works(
    database: Database, new_database: Callable[..., Database]
) -> None:
    def work() -> None:
        with database.transaction() as tx:
            pid = tx.execute(text("SELECT pg_backend_pid()")).scalar()
            execute(new_database(), f"SELECT pg_terminate_backend({pid})")
            tx.execute(text("SELECT 1"))

    with pytest.raises(Unavailable):
        work()
    database.ping()


@pytest.mark.parametrize("opened", [Database.transaction, Database.connection])
def test_a_session_that_is_ended_for_its_silence_is_unavailable(
    database: Database, opened: Callable[[Database], AbstractContextManager[Connection]]
) -> None:
    """As after a worker that was held, or a server that was: its own timeout comes before the next statement."""

    def work() -> None:
        with opened(database) as connection:
            connection.execute(text("SET idle_in_transaction_session_timeout = '20ms'"))
            time.sleep(0.2)
            connection.execute(text("SELECT 1"))

    with pytest.raises(Unavailable, match="25P03"):
        work()
    database.ping()


@pytest.mark.parametrize("opened", [Database.transaction, Database.connection])
def test_a_session_that_is_ended_before_its_pool_knows_the_server_is_unavailable(
    new_database: Callable[..., Database], opened: Callable[[Database], AbstractContextManager[Connection]]
) -> None:
    """SQLAlchemy asks a new server about itself in the first checkout, before our transaction begins."""
    database, other = new_database(), new_database()

    def is_there(process_id: int) -> bool:
        with other.transaction() as tx:
            found = tx.execute(text("SELECT FROM pg_stat_activity WHERE pid = :pid"), {"pid": process_id})
            return found.one_or_none() is not None

    @event.listens_for(database._engine, "connect", insert=True)
    def hold(connection: psycopg.Connection[Any], _record: object) -> None:
        connection.execute("SET idle_in_transaction_session_timeout = '20ms'")
        wait_until(lambda: not is_there(connection.info.backend_pid))

    with pytest.raises(Unavailable, match="25P03"), opened(database):
        pass


def test_idle_connections_that_died_meanwhile_cost_one_attempt_at_most(
    database: Database, new_database: Callable[..., Database]
) -> None:
    database.ping()
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
    execute(new_database(), f"{others} AND pid <> pg_backend_pid()")
    with pytest.raises(Unavailable):
        database.ping()
    database.ping()


def test_a_server_that_is_not_there_is_unavailable() -> None:
    url = "postgresql://postgres@127.0.0.1:1/nothing"
    database = Database(DatabaseSettings.model_validate({"url": url, "connect_timeout": 1}))
    with pytest.raises(Unavailable, match="postgres"):
        database.ping()
    with pytest.raises(Unavailable, match="postgres"), database.connection():
        pass


def test_a_pool_in_which_every_connection_is_used_is_unavailable(new_database: Callable[..., Database]) -> None:
    database = new_database(pool_size=2, connect_timeout=0.05)
    with database.transaction(), database.transaction(), pytest.raises(Unavailable, match="in use"):
        database.ping()


@pytest.mark.parametrize("value", ["a\x00b", "\ud800"], ids=["nul", "surrogate"])
def test_text_that_postgres_cannot_store_is_rejected(database: Database, value: str) -> None:
    with pytest.raises(Rejected), database.transaction() as tx:
        tx.execute(text("SELECT CAST(:value AS text)"), {"value": value})


def test_a_number_that_overflows_is_rejected(database: Database) -> None:
    with pytest.raises(Rejected), database.transaction() as tx:
        tx.execute(text("SELECT CAST(:value AS bigint)"), {"value": 2**63})


def test_no_translated_error_repeats_a_value(database: Database) -> None:
    execute(database, CUSTOMER.format("ada@example.org", "cus_1"))
    with pytest.raises(Conflict) as conflict:
        execute(database, CUSTOMER.format("ada@example.org", "cus_2"))
    assert "ada" not in str(conflict.value)


def test_the_deployment_s_row_is_written_once_and_then_holds_everybody_to_it(database: Database) -> None:
    def claim(account: str = "acct_1", namespace: str = "one", *, livemode: bool = False) -> None:
        with database.transaction() as tx:
            deployment.claim(tx, AccountFact(account, livemode), namespace)

    claim()
    claim()
    with pytest.raises(Misconfigured, match=r"^STRIPE_SECRET_KEY:"):
        claim("acct_2")
    with pytest.raises(Misconfigured, match=r"^namespace:"):
        claim(namespace="two")
    with pytest.raises(Misconfigured, match=r"^stripe\.livemode:"):
        claim(livemode=True)
