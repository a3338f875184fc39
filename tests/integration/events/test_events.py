"""What Stripe tells becomes our rows: each event once, in any order, beside the signups that cause most of them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.integration.provisioning.conftest import NewStack
from tests.support.stack import SECRET_KEY, Stack, Worker, profile, users
from tests.support.waiting import wait_until
from worker.broker import consumer
from worker.events import absorption, heard, inbox, refresher, snapshots
from worker.events.customer_news import CustomerNews
from worker.events.reading import pruned
from worker.events.surroundings import Surroundings
from worker.runtime import events, watch
from worker.store import events as recorded
from worker.store.engine.database import Database, Transaction
from worker.stripe_api.credentials import API_VERSION

CREATED = "customer.subscription.created"
NEW_KEY = "another-example-of-a-secret-key-of-32-characters-or-more"


def start(stack: Stack, *user_ids: str) -> Worker:
    """A process that takes events in, beside one in which these users have their subscriptions. Nobody polls: what is
    heard is what a test says."""
    worker = begin(stack)
    stack.publish(*[profile(user_id) for user_id in user_ids])
    stack.await_completed(*user_ids)
    return worker


def begin(stack: Stack) -> Worker:
    worker = stack.start_worker("events")
    wait_until(stack.start_worker("profiles").is_ready)
    wait_until(worker.is_ready)
    return worker


def of(stack: Stack, user_id: str) -> str:
    return str(stack.subscriptions(user_id)[0]["id"])


def reads(stack: Stack) -> int:
    """How often Stripe was asked for one subscription."""
    return sum(each["path"].startswith("/v1/subscriptions/") for each in stack.control.requests())


def subscribe(stack: Stack, customer: str, **more: str) -> dict[str, Any]:
    """What the dashboard does."""
    form = {"customer": customer, "items[0][price]": stack.price()["id"], "trial_period_days": "9", **more}
    return stack.call_stripe("POST", "/v1/subscriptions", **form)


def later(stack: Stack, event: dict[str, Any], seconds: int = 60) -> dict[str, Any]:
    """The event as if it had been made so much later: its second tells it apart from the row's."""
    return {**event, "created": event["created"] + seconds}


def test_our_own_signups_events_are_confirmed_and_cost_no_read(stack: Stack) -> None:
    start(stack, *users(3))
    events = stack.events("customer.created", "customer.subscription.created")
    assert len(events) == 6
    stack.hear(*events, *events)
    stack.await_heard(*events)
    assert set(stack.outcomes().values()) == {"confirmed"}
    assert reads(stack) == 0


def test_an_event_that_comes_before_its_own_signup_is_done_waits_for_it(new_stack: NewStack) -> None:
    """It would otherwise cost a read, and be judged against nothing."""
    stack = new_stack()
    stack.prepare()
    begin(stack)
    stack.control.fault("latency", match={"path": "/v1/subscriptions", "method": "POST"}, ms=1500, times=1)
    stack.publish(profile("ada"))
    wait_until(lambda: stack.events("customer.created"))
    stack.hear(*stack.events("customer.created"))
    wait_until(lambda: stack.events("customer.subscription.created") or stack.is_completed("ada"))
    stack.hear(*stack.events("customer.subscription.created"))
    stack.await_completed("ada")
    wait_until(lambda: len(stack.outcomes()) == 2, 20)
    assert set(stack.outcomes().values()) <= {"confirmed", "recorded"}
    assert reads(stack) == 0


def test_what_is_heard_while_its_own_signup_is_being_committed_comes_again(stack: Stack) -> None:
    """The rows were read before that commit, and whose signup is under way after it."""
    start(stack, "ada")
    read = [snapshots.read(pruned(each, "webhook"), lambda key: key) for each in stack.events(CREATED)]
    database = Database(stack.settings().database)
    with closing(database), database.transaction() as tx:
        news = CustomerNews(tx, read, datetime.now(UTC))
        around = Surroundings(tx, stack.settings().namespace, read, {}, news)
        decided = absorption.decide(read, {}, around, lambda _: 1)
    assert decided.waiting == {each.event.id for each in read}
    assert not decided.marked


def test_what_another_batch_records_meanwhile_is_known_at_once(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause: batches are committed side by side."""
    monkeypatch.setattr(consumer, "FIRST_PAUSE", 1000.0)
    monkeypatch.setattr(consumer, "LONGEST_PAUSE", 1000.0)
    start(stack, "ada")
    event = later(stack, stack.events(CREATED)[0])
    ask, others = recorded.known, [[pruned(event, "poll")]]

    def known(tx: Transaction, created: Mapping[str, int]) -> set[str]:
        found = ask(tx, created)
        while others:
            with closing(Database(stack.settings().database)) as database, database.transaction() as beside:
                recorded.record(beside, others.pop(), ["stale"])
        return found

    monkeypatch.setattr(recorded, "known", known)
    stack.hear(event)
    wait_until(lambda: stack.is_drained(stack.events_topic))
    assert (others, stack.outcomes()) == ([], {event["id"]: "stale"})


def test_a_later_snapshot_is_applied_once_and_told_in_the_outbox(stack: Stack) -> None:
    start(stack, "ada")
    subscription = of(stack, "ada")
    stack.call_stripe("POST", f"/v1/subscriptions/{subscription}", cancel_at_period_end="true")
    event = later(stack, stack.events("customer.subscription.updated")[-1])
    stack.hear(event, event)
    stack.hear(event)
    stack.await_heard(event)
    wait_until(lambda: stack.is_drained(stack.events_topic))
    assert stack.outcomes() == {event["id"]: "applied"}
    row = stack.subscription_row(subscription)
    assert (row["canceling"], row["version"]) == (True, 2)
    changes = stack.rows("SELECT version, before, after, cause FROM subscription_changes ORDER BY version")
    assert [(each["version"], each["cause"]) for each in changes[1:]] == [(2, "customer.subscription.updated")]
    assert (changes[1]["before"]["canceling"], changes[1]["after"]["canceling"]) == (False, True)
    assert changes[0]["after"].keys() == changes[1]["after"].keys()


def test_what_is_older_than_the_row_changes_nothing(stack: Stack) -> None:
    start(stack, "ada")
    created = stack.events("customer.subscription.created")[0]
    old = {**later(stack, created, -60), "data": {"object": {**created["data"]["object"], "status": "canceled"}}}
    stack.hear(old)
    stack.await_heard(old)
    assert stack.outcomes() == {old["id"]: "stale"}
    assert stack.subscription_row(of(stack, "ada"))["stripe_subscription_status"] == "trialing"


def test_what_cannot_be_put_in_order_is_asked_for(stack: Stack) -> None:
    start(stack, "ada")
    subscription = of(stack, "ada")
    stack.call_stripe("POST", f"/v1/subscriptions/{subscription}", cancel_at_period_end="true")
    event = stack.events("customer.subscription.updated")[-1]  # within a second or two of the signup
    stack.hear(event)
    wait_until(lambda: stack.subscription_row(subscription)["canceling"])
    assert stack.outcomes() == {event["id"]: "refreshing"}
    wait_until(lambda: not stack.rows("SELECT 1 FROM subscription_refreshes"))
    assert stack.rows("SELECT cause FROM subscription_changes WHERE version = 2") == [{"cause": "refresh"}]


def test_an_event_of_another_api_version_is_never_guessed_at(stack: Stack) -> None:
    start(stack, "ada")
    event = {**later(stack, stack.events("customer.subscription.created")[0]), "api_version": "2020-08-27"}
    assert event["api_version"] != API_VERSION
    stack.hear(event)
    stack.await_heard(event)
    assert stack.outcomes() == {event["id"]: "refreshing"}
    wait_until(lambda: not stack.rows("SELECT 1 FROM subscription_refreshes"))
    assert reads(stack) == 1


def test_while_the_key_is_refused_it_is_asked_ever_more_rarely(
    stack: Stack, quick_probes: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each attempt is a read of the month's."""
    monkeypatch.setattr(events, "LONGEST_PAUSE", 1.6)
    worker = start(stack, "ada")
    subscription = of(stack, "ada")
    stack.control.fault("status", match={"path": f"/v1/subscriptions/{subscription}"}, status=401)
    stack.hear({**later(stack, stack.events(CREATED)[0]), "api_version": "2020-08-27"})
    wait_until(lambda: reads(stack) == 7)
    at = [each["time"] for each in stack.control.requests() if each["path"] == f"/v1/subscriptions/{subscription}"]
    least = [0.2, 0.4, 0.8, 1.6, 1.6]
    assert all(after - before > pause - 0.1 for before, after, pause in zip(at[1:6], at[2:7], least, strict=True)), at
    assert "STRIPE_SECRET_KEY" in worker.part("stripe_events")[1]
    stack.control.clear_faults()
    wait_until(lambda: not stack.rows("SELECT 1 FROM subscription_refreshes"))
    wait_until(worker.is_ready)


def test_in_whatever_order_five_changes_come_the_row_ends_as_stripe_has_it(stack: Stack) -> None:
    names = users(8)
    start(stack, *names)
    orders = random.Random(7).sample(list(itertools.permutations(range(5))), len(names))
    heard = []
    for name, order in zip(names, orders, strict=True):
        path = f"/v1/subscriptions/{of(stack, name)}"
        for flag in ("true", "false", "true", "false", "true"):
            stack.call_stripe("POST", path, cancel_at_period_end=flag)
        mine = [each for each in stack.events("customer.subscription.updated") if each["data"]["object"]["id"] in path]
        spread = [later(stack, each, 30 * place) for place, each in enumerate(mine[-5:], start=1)]
        heard += [spread[place] for place in order]
    for event in heard:
        stack.hear(event)
    stack.await_heard(*heard)
    wait_until(lambda: not stack.rows("SELECT 1 FROM subscription_refreshes"))
    for name in names:
        assert stack.subscription_row(of(stack, name))["canceling"] is True
    versions = stack.rows("""
        SELECT array_agg(c.version ORDER BY c.id) AS told, max(s.version) AS last FROM subscription_changes c
        JOIN billing_subscriptions s USING (stripe_subscription_id) GROUP BY stripe_subscription_id
    """)
    assert all(each["told"] == list(range(1, each["last"] + 1)) for each in versions), "every change once, in order"


def test_of_many_events_about_few_rows_batches_that_are_committed_side_by_side_lose_none(new_stack: NewStack) -> None:
    """Each batch has events of every row: the one that comes second waits for its locks, and finds newer rows."""
    stack = new_stack(SUBKEEPER_ABSORB__BATCH="60")
    stack.prepare()
    names = users(3)
    start(stack, *names)
    heard = []
    for name in names:
        path = f"/v1/subscriptions/{of(stack, name)}"
        for flag in ("true", "false"):
            stack.call_stripe("POST", path, cancel_at_period_end=flag)
        flips = [each for each in stack.events("customer.subscription.updated") if each["data"]["object"]["id"] in path]
        heard += [
            {**later(stack, flips[number % 2], 30 * (number + 1)), "id": f"evt_{name}_{number}"}
            for number in range(401)
        ]
    heard.sort(key=lambda each: (each["created"], each["id"]))
    stack.hear(*heard)
    stack.await_heard(*heard)
    wait_until(lambda: not stack.rows("SELECT 1 FROM subscription_refreshes"))
    assert stack.outcomes().keys() == {each["id"] for each in heard}
    for name in names:
        row = stack.subscription_row(of(stack, name))
        told = stack.rows("SELECT version FROM subscription_changes WHERE user_id = %s ORDER BY id", name)
        assert row["canceling"] is flips_to(heard, name)
        assert [each["version"] for each in told] == list(range(1, row["version"] + 1))


def flips_to(heard: Sequence[dict[str, Any]], name: str) -> bool:
    """What the last of a user's events says."""
    last = [each for each in heard if each["id"].startswith(f"evt_{name}_")][-1]
    return bool(last["data"]["object"]["cancel_at_period_end"])


def test_a_subscription_made_elsewhere_is_adopted(stack: Stack) -> None:
    start(stack, "ada")
    first, customer = of(stack, "ada"), str(stack.customers("ada")[0]["id"])
    made = stack.call_stripe(
        "POST",
        "/v1/subscriptions",
        customer=customer,
        **{"items[0][price]": stack.price()["id"]},
        trial_period_days="9",
    )
    stack.hear(*stack.events("customer.subscription.created"))
    wait_until(lambda: stack.subscription_row(made["id"]))
    assert stack.ledger("ada")["stripe_subscription_id"] == first, "the first one lives"
    stack.call_stripe("DELETE", f"/v1/subscriptions/{first}")
    stack.hear(later(stack, stack.events("customer.subscription.deleted")[-1]))
    wait_until(lambda: stack.ledger("ada")["stripe_subscription_id"] == made["id"], what="the other one is the user's")
    causes = stack.rows("SELECT cause FROM subscription_changes WHERE stripe_subscription_id = %s", made["id"])
    assert [each["cause"] for each in causes] == ["adopted", "became_current"]
    last = subscribe(stack, customer)
    stack.hear(*stack.events(CREATED))
    wait_until(lambda: stack.subscription_row(last["id"]))
    stack.call_stripe("DELETE", f"/v1/subscriptions/{made['id']}")
    stack.hear({**stack.events("customer.subscription.deleted")[-1], "api_version": "2019-01-01"})
    wait_until(lambda: stack.ledger("ada")["stripe_subscription_id"] == last["id"], what="a fetch tells it as well")


def test_what_has_ended_gives_nobody_a_customer(stack: Stack) -> None:
    """A ledger that was lost: its customer may be gone, and the profile's message decides."""
    start(stack, "ada")
    ended = of(stack, "ada")
    stack.call_stripe("DELETE", f"/v1/subscriptions/{ended}")
    stack.rows("TRUNCATE billing_customers, provisionings CASCADE")
    stack.hear(*stack.events("customer.subscription.deleted"))
    wait_until(lambda: stack.rows("SELECT 1 FROM unmatched_subscriptions"))
    assert stack.rows("SELECT 1 FROM billing_customers") == []


def test_what_is_nobodys_is_recorded_and_costs_no_read(stack: Stack) -> None:
    start(stack)
    customer = stack.call_stripe("POST", "/v1/customers")["id"]
    subscribe(stack, customer)
    events = stack.events("customer.created", "customer.subscription.created")
    stack.hear(*events)
    stack.await_heard(*events)
    assert set(stack.outcomes().values()) == {"unmatched"}
    assert reads(stack) == 0
    assert [each["stripe_customer_id"] for each in stack.rows("SELECT * FROM unmatched_subscriptions")] == [customer]


def test_what_was_nobodys_until_its_users_provisioning_took_it_is_nobodys_no_longer(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ledger that was lost: the customer is ours by its metadata, the subscription Checkout's."""
    monkeypatch.setattr(refresher, "WAITING", timedelta(seconds=0.2))
    start(stack, "ada")
    customer = str(stack.customers("ada")[0]["id"])
    stack.call_stripe("DELETE", f"/v1/subscriptions/{of(stack, 'ada')}")
    made = subscribe(stack, customer)
    stack.rows("TRUNCATE billing_customers, provisionings CASCADE")
    stack.hear(*[each for each in stack.events(CREATED) if each["data"]["object"]["id"] == made["id"]])
    wait_until(lambda: stack.rows("SELECT 1 FROM unmatched_subscriptions"))
    stack.publish(profile("ada", created_at=None))
    stack.await_completed("ada")
    assert stack.ledger("ada")["stripe_subscription_id"] == made["id"]
    wait_until(lambda: not stack.rows("SELECT 1 FROM subscription_refreshes"))
    assert stack.rows("SELECT 1 FROM unmatched_subscriptions") == [], "else each hour asks for it again"


def test_a_notice_of_what_is_nobodys_in_the_end_costs_a_few_reads(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user has another customer: no fetch makes a row that the notice could be written to."""
    monkeypatch.setattr(consumer, "FIRST_REQUEUE", 0.05)
    monkeypatch.setattr(consumer, "LONGEST_REQUEUE", 0.05)
    start(stack, "ada")
    ours = {f"metadata[{name}]": value for name, value in stack.customers("ada")[0]["metadata"].items()}
    other = stack.call_stripe("POST", "/v1/customers", **ours)["id"]
    made = subscribe(stack, other, **ours)
    created = next(each for each in stack.events(CREATED) if each["data"]["object"]["id"] == made["id"])
    notice = {**created, "id": "evt_will", "type": "customer.subscription.trial_will_end"}
    stack.hear(notice)
    stack.await_heard(notice)
    wait_until(lambda: not stack.rows("SELECT 1 FROM subscription_refreshes"))
    assert stack.outcomes() == {"evt_will": "refreshing"}
    assert 1 <= reads(stack) <= absorption.MOST_WAITS + 1


def test_a_notice_waits_for_its_row_as_long_as_stripe_is_away(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer, "FIRST_REQUEUE", 0.05)
    monkeypatch.setattr(consumer, "LONGEST_REQUEUE", 0.05)
    monkeypatch.setattr(absorption, "MOST_WAITS", 1)
    worker = start(stack, "ada")
    made = subscribe(stack, str(stack.customers("ada")[0]["id"]))
    created = next(each for each in stack.events(CREATED) if each["data"]["object"]["id"] == made["id"])
    stack.control.fault("status", match={"path": f"/v1/subscriptions/{made['id']}"}, status=503)
    notice = {**created, "id": "evt_will", "type": "customer.subscription.trial_will_end"}
    stack.hear(notice)
    wait_until(lambda: worker.metric("subkeeper_stripe_events_total", outcome="waiting") > 3)
    stack.control.clear_faults()
    stack.await_heard(notice)
    causes = stack.rows("SELECT cause FROM subscription_changes WHERE stripe_subscription_id = %s", made["id"])
    assert [each["cause"] for each in causes] == ["adopted", "trial_will_end"]


def test_a_deleted_customer_leaves_a_tombstone_that_no_event_revives(stack: Stack) -> None:
    start(stack, "ada")
    created = stack.events("customer.subscription.created")[0]
    stack.call_stripe("DELETE", f"/v1/customers/{stack.customers('ada')[0]['id']}")
    told = stack.events("customer.deleted")
    stack.hear(*told)
    stack.await_heard(*told)
    assert stack.rows("SELECT deleted_at FROM billing_customers")[0]["deleted_at"] is not None
    stranger = {**created, "id": "evt_late", "data": {"object": {**created["data"]["object"], "id": "sub_late"}}}
    stack.hear(stranger)
    stack.await_heard(stranger)
    assert stack.outcomes()["evt_late"] == "tombstoned"
    assert stack.subscription_row("sub_late") == {}


def test_forged_messages_are_set_aside_and_the_others_go_on(stack: Stack) -> None:
    worker = start(stack, "ada")
    event = stack.events("customer.subscription.created")[0]
    stack.nsqd.publish(stack.events_topic, b'{"id": "evt_forged"}', b"0" * 64 + b'.{"id": "evt_forged"}')
    stack.hear(event)
    stack.await_heard(event)
    wait_until(lambda: stack.is_drained(stack.events_topic))
    reasons = stack.rows("SELECT reason FROM quarantined_messages")
    assert [each["reason"] for each in reasons] == ["envelope_forged"] * 2
    assert worker.metric("subkeeper_quarantined_total", reason="envelope_forged") == 2


def test_an_event_signed_under_a_key_to_come_waits_for_it(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "FIRST_REQUEUE", 0.2)
    monkeypatch.setattr(watch, "WATCH_INTERVAL", 0.2)
    file = tmp_path / "secret_key"
    file.write_text(SECRET_KEY)
    worker = stack.start_worker("events", SUBKEEPER_SECRET_KEY="", SUBKEEPER_SECRET_KEY_FILE=str(file))
    stack.start_worker("profiles")
    stack.publish(profile("ada"))
    stack.await_completed("ada")
    event = stack.events("customer.subscription.created")[0]
    stack.hear(event, key=NEW_KEY)
    wait_until(lambda: worker.metric("subkeeper_nsqd_requeues_total") > 0)
    assert stack.rows("SELECT 1 FROM quarantined_messages") == []
    file.write_text(f"{SECRET_KEY},{NEW_KEY}")
    stack.await_heard(event)
    assert stack.outcomes() == {event["id"]: "confirmed"}


def test_an_event_whose_key_never_comes_is_set_aside_and_taken_by_a_retry_with_the_key(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "FIRST_REQUEUE", 0.1)
    monkeypatch.setattr(heard, "MOST_WAITS_FOR_A_KEY", 3)
    worker = start(stack, "ada")
    event = stack.events("customer.subscription.created")[0]
    stack.hear(event, key=NEW_KEY)
    wait_until(lambda: stack.rows("SELECT 1 FROM quarantined_messages"))
    assert stack.rows("SELECT reason FROM quarantined_messages") == [{"reason": "envelope_key_unknown"}]
    assert worker.metric("subkeeper_quarantined_total", reason="envelope_key_unknown") == 1
    worker.stop()
    both = f"{SECRET_KEY},{NEW_KEY}"
    stack.start_worker("events", SUBKEEPER_SECRET_KEY=both)
    retried = stack.spawn("quarantine", "retry", "--all", SUBKEEPER_SECRET_KEY=both)
    assert retried.wait() == 0, retried.text
    stack.await_heard(event)


def test_an_event_that_nobody_foresaw_is_set_aside_in_the_end_and_taken_once_it_is_retried(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would hold the poller's cursor for ever."""
    monkeypatch.setattr(consumer, "FIRST_REQUEUE", 0.1)
    monkeypatch.setattr(inbox, "MOST_CRASHES", 3)
    worker = start(stack, "ada")
    poison = invoice_event(stack, 5, "invoice.paid", "evt_poison", status="paid", attempt_count=1)
    event = stack.events("customer.subscription.created")[0]
    said = pruned(event, "webhook")
    unreadable = {"id": "evt_unreadable", "created": event["created"], "object": {**said.object, "metadata": "text"}}
    stack.hear_signed({**said._asdict(), **unreadable})
    stack.hear(poison, event)
    wait_until(lambda: len(stack.outcomes()) == 3)
    set_aside = {"evt_poison": "quarantined", "evt_unreadable": "quarantined"}
    assert stack.outcomes() == {**set_aside, event["id"]: "confirmed"}
    assert worker.metric("subkeeper_quarantined_total", reason="event_unforeseen") == 2
    wait_until(lambda: stack.is_drained(stack.events_topic))

    stack.hear(invoice_event(stack, of(stack, "ada"), "invoice.paid", "evt_poison", status="paid", attempt_count=1))
    wait_until(lambda: stack.outcomes()["evt_poison"] == "applied")


def test_events_of_the_other_mode_are_recorded_and_change_nothing(stack: Stack) -> None:
    start(stack, "ada")
    event = {**later(stack, stack.events("customer.subscription.created")[0]), "livemode": True}
    stack.hear(event)
    stack.await_heard(event)
    assert stack.outcomes() == {event["id"]: "wrong_mode"}


def test_an_event_that_no_partition_holds_is_passed_and_its_subscription_fetched(stack: Stack) -> None:
    start(stack, "ada")
    stack.hear(later(stack, stack.events("customer.subscription.created")[0], -40 * 86_400))
    wait_until(lambda: reads(stack) == 1, what="it was fetched")
    wait_until(lambda: stack.is_drained(stack.events_topic))
    assert stack.outcomes() == {}


def test_another_process_that_drops_the_oldest_day_at_midnight_stops_no_event_of_it(stack: Stack) -> None:
    """This one learns of it within the hour."""
    start(stack, "ada")
    (oldest,) = stack.rows("SELECT (now() AT TIME ZONE 'UTC')::date - 32 AS day")
    stack.rows(
        "DO $$ BEGIN EXECUTE 'DROP TABLE ' || (SELECT min(inhrelid::regclass::text) FROM pg_inherits"
        " WHERE inhparent = 'processed_stripe_events'::regclass); END $$"
    )
    day = datetime.combine(oldest["day"], time(), UTC)
    stack.hear({**stack.events(CREATED)[0], "created": int(day.timestamp()) + 86_399})
    wait_until(lambda: reads(stack) == 1, what="it was fetched")
    wait_until(lambda: stack.is_drained(stack.events_topic))
    assert stack.outcomes() == {}


def test_a_failed_payment_and_its_recovery_reach_the_row_in_any_order(stack: Stack) -> None:
    start(stack, "ada")
    subscription = of(stack, "ada")
    paid = invoice_event(stack, subscription, "invoice.paid", "evt_paid", status="paid", attempt_count=2)
    failed = invoice_event(stack, subscription, "invoice.payment_failed", "evt_failed", status="open", attempt_count=1)
    stack.hear(failed)
    stack.await_heard(failed)
    row = stack.subscription_row(subscription)
    assert (row["failed_charge_attempts"], row["charge_invoice_paid"], row["charge_invoice"]) == (1, False, "in_1")
    stack.hear(paid)
    stack.await_heard(paid)
    late = {**failed, "id": "evt_again"}
    stack.hear(late)
    stack.await_heard(late)
    row = stack.subscription_row(subscription)
    assert (row["failed_charge_attempts"], row["charge_invoice_paid"]) == (0, True)
    assert stack.outcomes() == {"evt_failed": "applied", "evt_paid": "applied", "evt_again": "confirmed"}


def test_an_invoice_of_another_api_version_is_asked_for_through_its_subscription(stack: Stack) -> None:
    start(stack, "ada")
    failed = invoice_event(stack, of(stack, "ada"), "invoice.payment_failed", "evt_1", status="open", attempt_count=1)
    stack.hear({**failed, "api_version": "2020-08-27"})
    wait_until(lambda: reads(stack) == 1, what="it was fetched")
    wait_until(lambda: not stack.rows("SELECT 1 FROM subscription_refreshes"))
    assert stack.outcomes() == {"evt_1": "refreshing"}


def invoice_event(stack: Stack, subscription: object, kind: str, identifier: str, **fields: Any) -> dict[str, Any]:
    event = stack.events("customer.subscription.created")[0]
    invoice = {
        "id": "in_1",
        "object": "invoice",
        "created": event["created"],
        "customer": stack.customers("ada")[0]["id"],
        "total": 900,
        "parent": {"type": "subscription_details", "subscription_details": {"subscription": subscription}},
        **fields,
    }
    return {**event, "id": identifier, "type": kind, "data": {"object": invoice}}


def test_of_a_trials_end_is_told_once(stack: Stack) -> None:
    start(stack, "ada")
    subscription = of(stack, "ada")
    created = stack.events("customer.subscription.created")[0]
    will_end = {**created, "id": "evt_will", "type": "customer.subscription.trial_will_end"}
    active = {**created["data"]["object"], "status": "active", "trial_end": created["created"] + 60}  # ended at once
    ended = {
        **later(stack, created),
        "id": "evt_end",
        "type": "customer.subscription.updated",
        "data": {"object": active},
    }
    for event in (will_end, {**will_end, "id": "evt_will_2"}, ended, {**later(stack, ended, 99), "id": "evt_end_2"}):
        stack.hear(event)
        stack.await_heard(event)
    causes = [each["cause"] for each in stack.rows("SELECT cause FROM subscription_changes ORDER BY version")]
    assert causes[1:] == ["trial_will_end", "trial_ended"]
    row = stack.subscription_row(subscription)
    assert row["last_notified"] == row["trial_end"]


def test_whatever_is_read_of_stripe_is_counted_by_what_for(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "WATCH_INTERVAL", 0.2)
    before = len(stack.control.requests())
    begin(stack)
    stack.publish(profile("ada", created_at=None))
    stack.await_completed("ada")
    stack.hear({**stack.events("customer.subscription.created")[0], "api_version": "2019-01-01"})
    wait_until(lambda: reads(stack) == 1)
    asked = [each["path"] for each in stack.control.requests()[before:] if each["method"] == "GET"]
    looks = sum(path == "/v1/customers" for path in asked)
    wait_until(lambda: counted(stack) == {"prices": asked.count("/v1/prices"), "looks": looks, "refreshes": 1})
    assert looks == 2


def counted(stack: Stack) -> dict[str, int]:
    """The month's reads, by what for; without those of a start."""
    rows = stack.rows("SELECT purpose, reads FROM stripe_reads WHERE purpose <> 'other'")
    return {row["purpose"]: row["reads"] for row in rows}
