"""Transactions that lock several tables take turns: none waits for one that waits for it (docs/design.md, *In which
order rows are locked*).

A gate holds the row that both come to, until each has locked what comes before that.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from msgspec import structs
from sqlalchemy import text

from tests.integration.store.conftest import LEASE, SEALED, new_rows
from tests.support.waiting import wait_until
from worker.accounts.leases import ChangeLease, ChangeLeases
from worker.domain.account_changes import Kind, Step
from worker.domain.deadline import Deadline
from worker.domain.default_card import DefaultCard
from worker.domain.lanes import Lane
from worker.domain.owners import user
from worker.domain.provisioning import Provisioning
from worker.domain.stripe_facts import Answer, ExpandedCustomer, FetchedSubscription, SubscriptionFact
from worker.domain.subscription import applied
from worker.events import absorption
from worker.events.absorption import Decided
from worker.events.refresher import Refresher, RefreshLease
from worker.provisioning.leases import Lease, Leases
from worker.sealing import HEADER_BYTES
from worker.store import account_changes, customers, refreshes, subscriptions
from worker.store.account_changes import NewChange
from worker.store.customer_defaults import FetchedDefault
from worker.store.engine.database import Database
from worker.store.provisioning import insert, leases, steps

NOW = datetime.now(UTC).replace(microsecond=0)
ADA = """
    INSERT INTO billing_customers (user_id, stripe_customer_id) VALUES ('ada', 'cus_1');
    INSERT INTO billing_subscriptions (billing_customer_id, stripe_subscription_id, plan, stripe_subscription_status,
        canceling, seen_from, seen_to)
    SELECT id, each.subscription, 'pending', each.status, false, now() - interval '1 day', now() - interval '1 day'
    FROM billing_customers, (VALUES ('sub_1', 'active'), ('sub_2', 'incomplete')) AS each (subscription, status);
    INSERT INTO provisionings (user_id, state, plan, trial_end, lane, stripe_customer_id, stripe_subscription_id)
    VALUES ('ada', 'completed', 'pending', now(), 0, 'cus_1', 'sub_1')
"""
LEDGER = "SELECT 1 FROM provisionings WHERE user_id = 'ada' FOR UPDATE"
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


def run(database: Database, statements: str) -> list[Any]:
    """What the last of them returns, if anything."""
    found: list[Any] = []
    with database.transaction() as tx:
        for statement in statements.split(";"):
            result = tx.execute(text(statement))
            found = list(result.scalars()) if result.returns_rows else []
    return found


def meet(database: Database, gate: str, *, first: Callable[[], object], then: Callable[[], object]) -> None:
    """Both come to where `gate` keeps them out, or wait for each other before it; then it opens. Raises what they do,
    as `Contended` where Postgres has to end a deadlock."""
    with ThreadPoolExecutor(2) as threads:
        with database.transaction() as tx:
            tx.execute(text(gate))
            both = []
            for number, each in enumerate((first, then), 1):
                both.append(threads.submit(each))
                wait_until(lambda number=number: run(database, WAITING) == [number], what="it waits")  # type: ignore[misc]
        for each_of_them in both:
            each_of_them.result(30)


@pytest.fixture
def patient(new_database: Callable[..., Database]) -> Database:
    """Whoever waits does so for longer than a deadlock stands."""
    return new_database(lock_timeout=20.0, statement_timeout=25.0)


def hear(
    database: Database, statuses: dict[str, str], *, marks: Sequence[str] = (), customer: str | None = None
) -> None:
    """Events that say so of subscriptions, taken in as a batch: they lock customers (that of a card's), then
    subscriptions."""
    with database.transaction() as tx:
        if customer is not None:
            customers.locked(tx, [customer])
        decided = Decided(subscriptions.locked(tx, sorted(statuses)))
        for identifier, status in statuses.items():
            if (row := decided.rows.get(identifier)) is not None:
                state = {**row.state, "stripe_subscription_status": status}
                decided.write_row(*applied(row, state, NOW, "customer.subscription.updated"))
        decided.marked.update(marks)
        absorption.write(tx, [], decided)


def fact(identifier: str, default: str | None = None) -> SubscriptionFact:
    return SubscriptionFact(
        identifier, "cus_1", None, "price_1", "pending", "active", False, None, None, NOW, NOW, None, None, NOW,
        customer=ExpandedCustomer(default),
    )  # fmt: skip


def created(identifier: str) -> SubscriptionFact:
    """As the answer to a creation: its customer isn't told."""
    return structs.replace(fact(identifier), customer=None)


def answer(identifier: str) -> Answer[FetchedSubscription]:
    return Answer(FetchedSubscription(fact(identifier), "ada", None), NOW, NOW, False, None)


def leased(
    database: Database, identifier: str, kind: Kind, step: Step, wanted: dict[str, Any]
) -> tuple[ChangeLeases, ChangeLease]:
    """A change of one step that was asked for, and its lease."""
    new = NewChange(
        uuid.uuid4(), kind, "ada", "admin", None, b"", [step], wanted, None,
        stripe_subscription_id=identifier, stripe_customer_id="cus_1",
    )  # fmt: skip
    with database.transaction() as tx:
        change = account_changes.insert(tx, new, LEASE)
    assert change is not None
    held = ChangeLeases(database, lambda _: "pending", list, length=LEASE)
    return held, ChangeLease(change, Deadline.after(60))


def removal(database: Database, identifier: str) -> Callable[[], None]:
    """What is committed once it was canceled."""
    held, lease = leased(database, identifier, Kind.DELETE, Step.REMOVE, {})
    return lambda: held.remove(lease)


def answered(database: Database, identifier: str, status: str) -> Callable[[], None]:
    """What is committed once Stripe has answered a change, with the subscription in this status."""
    held, lease = leased(database, identifier, Kind.UPDATE, Step.CANCELING, {"canceling": True})
    watched = held.begin(lease, lease.change, watched=True)
    found = FetchedSubscription(structs.replace(fact(identifier), status=status), "ada", None)
    return lambda: held.advance(lease, lease.change, watched, Answer(found, NOW, NOW, False, None))


def detached(database: Database, identifier: str) -> Callable[[], None]:
    """What is committed once a card was taken from the customer, of whose default was heard meanwhile: so this
    subscription is to be asked for."""
    held, lease = leased(database, identifier, Kind.DETACHMENT, Step.DETACH, {"payment_method": "pm_1"})
    watched = held.begin(lease, lease.change, watched=False)
    with database.transaction() as tx:
        customers.write_defaults(tx, {"cus_1": DefaultCard("pm_heard", NOW, NOW)})
    default = Answer(ExpandedCustomer(None), NOW, NOW, False, None)
    return lambda: held.advance(lease, lease.change, watched, default=default)


def refresh(database: Database, identifier: str) -> Callable[[], object]:
    """What is committed once it was fetched."""
    refresher = Refresher(
        database, cast("Any", None), namespace="subkeeper", plan_of=lambda key: key, length=LEASE, rng=random.Random(1)
    )
    with database.transaction() as tx:
        refreshes.mark(tx, [identifier])
        leased = refreshes.lease_one(tx, identifier, LEASE)
    assert leased is not None
    return lambda: refresher._write(RefreshLease(leased, Deadline.after(60)), answer(identifier))


def settling(database: Database) -> Provisioning:
    """Ada's row of the ledger, leased, in the middle of her being provisioned anew; she has her customer."""
    run(database, "DELETE FROM provisionings")
    with database.transaction() as tx:
        insert.insert_new(tx, new_rows(["ada"]), lease=LEASE, stripe_now=NOW)
    with database.transaction() as tx:
        (row,) = leases.lease_due(tx, Lane.LIVE, 1, lease=LEASE, stripe_now=NOW, openable=[SEALED[:HEADER_BYTES]])
    run(database, "UPDATE provisionings SET state = 'customer_created', stripe_customer_id = 'cus_1'")
    return replace(row, stripe_customer_id="cus_1")


def ledger(database: Database) -> list[Any]:
    return run(database, "SELECT stripe_subscription_id FROM provisionings WHERE user_id = 'ada'")


def test_a_removal_and_an_event_of_the_users_other_subscription_take_turns(patient: Database) -> None:
    """The removal goes on to the other one, once it has the ledger's row."""
    run(patient, ADA)
    run(patient, "UPDATE billing_subscriptions SET stripe_subscription_status = 'active'")
    meet(patient, LEDGER, first=removal(patient, "sub_1"), then=lambda: hear(patient, {"sub_2": "past_due"}))
    assert ledger(patient) == ["sub_2"]
    assert run(patient, "SELECT stripe_subscription_id FROM billing_subscriptions") == ["sub_2"]
    told = run(
        patient, "SELECT cause FROM subscription_changes WHERE stripe_subscription_id = 'sub_2' ORDER BY version"
    )
    assert sorted(told) == ["became_current", "customer.subscription.updated"]


def test_an_answer_that_ends_one_and_an_event_of_the_users_other_subscription_take_turns(patient: Database) -> None:
    """As a removal: it goes on to the other one."""
    run(patient, ADA)
    run(patient, "UPDATE billing_subscriptions SET stripe_subscription_status = 'active'")
    meet(
        patient, LEDGER, first=answered(patient, "sub_1", "canceled"), then=lambda: hear(patient, {"sub_2": "past_due"})
    )  # fmt: skip
    assert ledger(patient) == ["sub_2"]
    assert run(patient, "SELECT state FROM account_changes") == ["applied"]
    assert run(patient, "SELECT count(*) FROM subscription_refreshes") == [0]


def test_an_answer_and_an_event_of_the_same_subscription_take_turns(patient: Database) -> None:
    """Both come to the mark; what was heard meanwhile is not written over."""
    run(patient, ADA)
    mark = "SELECT 1 FROM subscription_refreshes FOR UPDATE"
    first = answered(patient, "sub_1", "active")
    meet(patient, mark, first=first, then=lambda: hear(patient, {"sub_1": "past_due"}, marks=["sub_1"]))
    assert run(patient, "SELECT state FROM account_changes") == ["applied"]
    assert run(patient, "SELECT stripe_subscription_status FROM billing_subscriptions ORDER BY id") == [
        "past_due", "incomplete",
    ]  # fmt: skip
    assert run(patient, "SELECT wanted FROM subscription_refreshes") == [1]


def test_a_card_that_is_taken_away_and_an_event_of_the_subscription_take_turns(patient: Database) -> None:
    """Both come to the mark, as the customer's default is in doubt."""
    run(patient, ADA)
    run(patient, "INSERT INTO subscription_refreshes (stripe_subscription_id) VALUES ('sub_1')")
    mark = "SELECT 1 FROM subscription_refreshes FOR UPDATE"
    first = detached(patient, "sub_1")
    meet(patient, mark, first=first, then=lambda: hear(patient, {"sub_1": "past_due"}, marks=["sub_1"]))
    assert run(patient, "SELECT state FROM account_changes") == ["applied"]
    assert run(patient, "SELECT wanted FROM subscription_refreshes") == [3]


def test_an_end_and_a_beginning_of_two_subscriptions_of_a_user_take_turns(patient: Database) -> None:
    run(patient, ADA)
    run(patient, "UPDATE billing_subscriptions SET stripe_subscription_status = 'active'")
    end, change = {"sub_1": "canceled"}, {"sub_2": "past_due"}
    meet(patient, LEDGER, first=lambda: hear(patient, end), then=lambda: hear(patient, change))
    assert ledger(patient) == ["sub_2"]


@pytest.mark.parametrize("how", ["complete", "quarantine"])
def test_a_signup_and_what_is_heard_of_its_customer_take_turns(patient: Database, how: str) -> None:
    """She has another subscription by then, whose end is heard with her customer's card."""
    run(patient, ADA)
    row = settling(patient)
    held = Leases(patient, length=LEASE, now=lambda: NOW, openable=list, progress=lambda: None)

    def settle() -> None:
        if how == "complete":
            made = Answer(created("sub_3"), NOW, NOW, False, None)
            held.complete(Lease(row, Deadline.after(60), sent=True), made, plan="pending", cause="provisioned")
        else:
            held.quarantine(Lease(row, Deadline.after(60), sent=True), "customer_gone", customer_gone=True)

    meet(
        patient, LEDGER, first=settle, then=lambda: hear(patient, {"sub_1": "canceled"}, customer="cus_1")
    )  # fmt: skip
    assert run(patient, "SELECT state FROM provisionings") == ["completed" if how == "complete" else "quarantined"]


def test_a_fetch_and_events_that_ask_for_the_same_take_turns(patient: Database) -> None:
    """Of one that has no row yet, beside the end of another one of the user's."""
    run(patient, ADA)
    fetch = refresh(patient, "sub_new")
    meet(patient, LEDGER, first=lambda: hear(patient, {"sub_1": "canceled"}, marks=["sub_new"]), then=fetch)
    assert run(patient, "SELECT wanted FROM subscription_refreshes WHERE stripe_subscription_id = 'sub_new'") == [2]


# What is looked at under those locks


def test_a_signup_takes_its_customers_card_from_whoever_is_writing_it(patient: Database) -> None:
    """Whoever writes it sees no row of the signup's: that is to see the card."""
    run(patient, "INSERT INTO billing_customers (user_id, stripe_customer_id) VALUES ('ada', 'cus_1')")
    row = settling(patient)

    def complete() -> None:
        with patient.transaction() as tx:
            made = Answer(created("sub_1"), NOW, NOW, False, None)
            steps.complete(tx, row, made, plan="pending", cause="provisioned")

    with ThreadPoolExecutor(1) as threads:
        with patient.transaction() as tx:
            seen = (NOW, NOW)
            default = FetchedDefault.locking(tx, "cus_1", "pm_1", seen)
            assert subscriptions.locked(tx, [], default.concerned) == {}
            default.write(tx, [], "requested")
            completing = threads.submit(complete)
            wait_until(lambda: completing.done() or run(patient, WAITING) == [1])
        completing.result(30)
    assert run(patient, "SELECT customer_default_payment_method FROM billing_subscriptions") == ["pm_1"]
    assert run(patient, "SELECT after -> 'payable' FROM subscription_changes") == [True]


@pytest.mark.parametrize("is_unmoved", [True, False])
def test_an_answer_that_is_too_near_is_believed_beside_what_was_known_when_it_was_asked_for_alone(
    patient: Database, is_unmoved: bool
) -> None:
    """Whoever gave a card is told that it is there; not where another one was heard of meanwhile."""
    run(patient, "INSERT INTO billing_customers (user_id, stripe_customer_id) VALUES ('ada', 'cus_1')")
    known = DefaultCard("pm_heard", NOW, NOW)
    with patient.transaction() as tx:
        customers.write_defaults(tx, {"cus_1": known})
    beside = known if is_unmoved else DefaultCard(None, NOW, NOW)
    with patient.transaction() as tx:
        found = FetchedDefault.locking(tx, "cus_1", "pm_given", (NOW, NOW), beside)
        found.write(tx, [], "requested")
    assert found.sure_after is not None, "it is asked for again all the same"
    expected = "pm_given" if is_unmoved else "pm_heard"
    assert found.payment_method == expected
    assert run(patient, "SELECT default_payment_method FROM billing_customers") == [expected]


def test_what_was_removed_before_is_not_completed_with(patient: Database) -> None:
    run(patient, ADA)
    removal(patient, "sub_1")()
    row = settling(patient)
    with patient.transaction() as tx:
        made = Answer(created("sub_1"), NOW, NOW, False, None)
        steps.complete(tx, row, made, plan="pending", cause="provisioned")
    assert run(patient, "SELECT state FROM provisionings") == ["completed"]
    assert run(patient, "SELECT stripe_subscription_id FROM billing_subscriptions") == ["sub_2"]
    assert run(patient, "SELECT cause FROM subscription_changes WHERE after IS NOT NULL") == []


def test_what_was_removed_since_somebody_looked_is_not_inserted(patient: Database) -> None:
    run(patient, ADA)
    removal(patient, "sub_1")()
    with patient.transaction() as tx:
        customers.locked(tx, ["cus_1"])
        state = fact("sub_1").columns("pending")
        assert not subscriptions.insert(tx, "sub_1", "cus_1", user("ada"), state, seen=(NOW, NOW), stripe_created=NOW)
        assert subscriptions.insert(tx, "sub_3", "cus_1", user("ada"), state, seen=(NOW, NOW), stripe_created=NOW)
    assert run(patient, "SELECT stripe_subscription_id FROM billing_subscriptions ORDER BY 1") == ["sub_2", "sub_3"]


def test_an_answer_that_was_asked_for_before_the_row_changed_is_not_written(patient: Database) -> None:
    """It is asked for again; and that Stripe had it is known all the same."""
    run(patient, ADA)
    with patient.transaction() as tx:
        refreshes.mark(tx, ["sub_1"])
    run(patient, "UPDATE subscription_refreshes SET missing_since = now()")
    fetch = refresh(patient, "sub_1")
    hear(patient, {"sub_1": "past_due"})
    assert fetch() == "overtaken"
    status = "SELECT stripe_subscription_status FROM billing_subscriptions WHERE stripe_subscription_id = 'sub_1'"
    assert run(patient, status) == ["past_due"]
    assert run(patient, "SELECT missing_since FROM subscription_refreshes WHERE due_at <= now()") == [None]


def test_what_has_no_row_waits_for_whoever_is_to_decide_of_its_user(patient: Database) -> None:
    """An erasure that begins meanwhile is respected."""
    run(patient, ADA)
    fetch = refresh(patient, "sub_new")
    with ThreadPoolExecutor(1) as threads:
        with patient.transaction() as tx:
            account_changes.lock_user(tx, "ada")
            fetching = threads.submit(fetch)
            wait_until(lambda: fetching.done() or run(patient, WAITING) == [1])
            tx.execute(text("UPDATE provisionings SET state = 'erasing'"))
        assert fetching.result(30) == "unmatched"
    assert run(patient, "SELECT 1 FROM billing_subscriptions WHERE stripe_subscription_id = 'sub_new'") == []
