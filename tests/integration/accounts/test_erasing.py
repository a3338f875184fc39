"""POST /customers/{user_id}/erase: gone at Stripe and here, whatever is under way, and brought back by nothing."""

from __future__ import annotations

import json
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from threading import Event
from typing import Any
from urllib.parse import quote

import pytest

from tests.integration.accounts.conftest import ADMIN, Accounts, NewAccounts, signed_up, token_of
from tests.integration.accounts.paying import body, completed, opened
from tests.integration.events.test_verify import verify
from tests.integration.provisioning.test_privacy import dump
from tests.integration.web.callers import Reply, ask
from tests.support.stack import Stack, profile
from tests.support.waiting import wait_until
from worker.accounts import erasure_rows
from worker.accounts.erasure_rows import ErasureRows
from worker.domain.erasure import STRIPE_KEEPS
from worker.domain.event import TYPES
from worker.domain.provisioning import user_digest
from worker.runtime import accounts as watching
from worker.runtime.explaining import Entry, explain
from worker.sealing import Sealer
from worker.store import customers
from worker.stripe_api.gateway import StripeGateway
from worker.web.api import app


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "WAIT_SECONDS", 0.3)
    monkeypatch.setattr(app, "LOOK_SECONDS", 0.1)


def erase(accounts: Accounts, user: str = "ann", token: str | None = ADMIN.token, **headers: str) -> Reply:
    return ask(accounts, f"/customers/{quote(user, safe='')}/erase", token, "POST", **headers)


def told(accounts: Accounts, user: str = "ann") -> Reply:
    return ask(accounts, f"/customers/{quote(user, safe='')}/erasure", ADMIN.token)


def is_erased(accounts: Accounts, user: str = "ann") -> bool:
    return bool(told(accounts, user).status == 200 and told(accounts, user).body["state"] == "erased")


def gone(stack: Stack, user: str = "ann") -> None:
    """Nothing of the user's lives at Stripe, and here their id stays, tombstones, and what readers were told."""
    assert stack.customers(user) == []
    named = [each for each in stack.control.state()["subscriptions"] if each["metadata"].get("user_id") == user]
    assert {each["status"] for each in named} <= {"canceled", "incomplete_expired"}
    row = stack.ledger(user)
    assert (row["state"], row["erased_at"] is not None) == ("erased", True)
    kept = {name for name, value in row.items() if value not in (None, "", 0, False)}
    assert kept <= {"user_id", "state", "generation", "trial_end", "due_at", "first_seen_at", "erased_at"}
    assert row["trial_end"] == row["due_at"] == row["first_seen_at"] == row["erased_at"]
    mine = "SELECT 1 FROM billing_customers WHERE user_id = %s"
    assert not stack.rows(f"{mine} AND (deleted_at IS NULL OR default_payment_method IS NOT NULL)", user)
    assert not stack.rows(
        "SELECT 1 FROM billing_subscriptions s JOIN billing_customers c ON c.id = s.billing_customer_id"
        " WHERE c.user_id = %s",
        user,
    )
    assert not stack.rows("SELECT 1 FROM checkouts WHERE user_id = %s", user)
    assert not stack.rows("SELECT 1 FROM account_changes WHERE user_id = %s AND kind <> 'erase'", user)
    assert not stack.rows(
        "SELECT 1 FROM payment_methods p JOIN billing_customers c ON c.id = p.billing_customer_id WHERE c.user_id = %s",
        user,
    )


def test_a_user_is_erased_at_stripe_and_here_and_the_id_stays(accounts: Accounts) -> None:
    stack, subscription = accounts.stack, accounts.id_of("ann")
    customer = accounts.customer("ann")["id"]
    signed_up(stack, "bob")
    accounts.change("ann", {"stripe_source": "pm_card_visa", "email": "ann@canary.example"})
    ask(accounts, "/billing/payment-methods?user_id=ann", ADMIN.token)
    reply = erase(accounts, Idempotency_Key="k")
    assert (reply.status, reply.body["state"], reply.body["stripe_keeps"]) == (200, "erased", list(STRIPE_KEEPS))
    gone(stack)
    assert stack.call_stripe("GET", f"/v1/customers/{customer}") == {
        "id": customer, "object": "customer", "deleted": True,
    }  # fmt: skip
    (change,) = stack.rows("SELECT * FROM subscription_changes WHERE after IS NULL")
    assert (change["user_id"], change["stripe_subscription_id"], change["cause"]) == ("ann", subscription, "removed")
    (tombstone,) = stack.rows("SELECT * FROM subscription_tombstones")
    assert (tombstone["stripe_subscription_id"], tombstone["version"]) == (subscription, change["version"])
    assert "canary" not in dump(stack)
    assert accounts.read("bob").status == 200
    assert len(stack.requests("DELETE", f"/v1/customers/{customer}")) == 1
    assert [each["wanted"] for each in accounts.rows()] == [{}], "no id of Stripe's stays with who asked for it"


def test_the_same_request_has_the_same_result_and_so_has_another(accounts: Accounts) -> None:
    first = erase(accounts, Idempotency_Key="k")
    assert erase(accounts, Idempotency_Key="k").body == first.body == told(accounts).body
    assert erase(accounts, Idempotency_Key="other").body == first.body
    assert erase(accounts).body == first.body
    assert erase(accounts, "bob", Idempotency_Key="k").body["code"] == "key_reused"
    deleted = [each["path"].split("/")[2] for each in accounts.stack.control.requests() if each["method"] == "DELETE"]
    assert deleted == ["subscriptions", "customers"], "once"
    gone(accounts.stack)


def test_it_is_for_admins_alone(accounts: Accounts) -> None:
    for token, status in ((token_of("ann"), 403), (token_of("ann", "subscriptions:read"), 403), (None, 401)):
        assert erase(accounts, token=token).status == status
        assert ask(accounts, "/customers/ann/erasure", token).status == status
    missing = told(accounts)
    assert (missing.status, missing.body["code"]) == (404, "no_erasure")
    assert erase(accounts, token=token_of("eve", "subscriptions:admin")).status == 200


def test_nothing_is_done_any_more_for_who_is_erased(accounts: Accounts) -> None:
    assert erase(accounts).status == 200
    replies = [
        accounts.change("ann", {"plan": "pro"}),
        accounts.create({"user_id": "ann", "plan": "pending"}),
        accounts.delete("ann"),
        accounts.post("/billing/subscriptions", body()),
    ]
    assert [(each.status, each.body["code"]) for each in replies] == [(409, "erased")] * 4
    assert accounts.read("ann").status == 404
    gone(accounts.stack)


def test_no_event_brings_anything_back(accounts: Accounts) -> None:
    """Neither those from before, heard late, nor those of the erasure itself, nor one of an object that names them."""
    stack = accounts.stack
    wait_until(stack.start_worker("events").is_ready)
    accounts.change("ann", {"stripe_source": "pm_card_visa", "plan": "pro"})
    assert erase(accounts).status == 200
    told_of = stack.events(*TYPES)
    stack.hear(*told_of)
    stack.await_heard(*told_of)
    whose = {"metadata[subkeeper]": user_digest("subkeeper", "ann"), "metadata[user_id]": "ann"}
    stranger = stack.call_stripe("POST", "/v1/customers", email="a@example.org")["id"]
    made = stack.call_stripe(
        "POST", "/v1/subscriptions", customer=stranger, **{"items[0][price]": stack.price()["id"]},
        trial_period_days="3", **whose,
    )  # fmt: skip
    later = [
        each for each in stack.events("customer.subscription.created") if each["data"]["object"]["id"] == made["id"]
    ]
    stack.hear(*later)
    stack.await_heard(*later)
    wait_until(lambda: not stack.rows("SELECT 1 FROM subscription_refreshes"))
    assert not stack.rows("SELECT 1 FROM billing_subscriptions")
    assert not stack.rows("SELECT 1 FROM billing_customers WHERE deleted_at IS NULL")
    assert verify(stack) == verify(stack, "ann", repair=True) == []
    assert stack.ledger("ann")["state"] == "erased"


def test_a_replayed_signup_and_a_backfill_end_as_what_they_are(accounts: Accounts) -> None:
    stack = accounts.stack
    assert erase(accounts).status == 200
    worker = stack.start_worker()
    stack.publish(profile("ann"), profile("bob"))
    stack.publish(profile("ann"), topic=stack.backfill_topic)
    stack.await_completed("bob")
    told = partial(worker.metric, "subkeeper_messages_total", outcome="erased")
    wait_until(lambda: [told(topic=each) for each in (stack.topic, stack.backfill_topic)] == [1, 1])
    gone(stack)


def test_a_signup_that_is_in_flight_is_waited_for(
    accounts: Accounts, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it has asked for by then is there to be deleted."""
    stack, create = accounts.stack, StripeGateway.create_customer
    asked, answered = Event(), Event()

    def create_slowly(*arguments: Any, **named: Any) -> Any:
        answer = create(*arguments, **named)
        asked.set()
        assert answered.wait(60)
        return answer

    monkeypatch.setattr(StripeGateway, "create_customer", create_slowly)
    stack.start_worker()
    stack.publish(profile("bob"))
    assert asked.wait(60)
    reply = erase(accounts, "bob")
    assert (reply.status, reply.body["state"], reply.headers["Location"]) == (202, "erasing", "/customers/bob/erasure")
    assert accounts.post("/billing/subscriptions", body("bob")).body["code"] == "erased"
    wait_until(lambda: told(accounts, "bob").body["waits_for"] == "signup_unfinished")
    assert len(stack.customers("bob")) == 1
    answered.set()
    wait_until(lambda: is_erased(accounts, "bob"), 60)
    gone(stack, "bob")
    assert len(stack.requests("POST", "/v1/customers")) == 2, "ann's and bob's"


@pytest.mark.parametrize("step", ["customers", "subscriptions"])
def test_a_signup_whose_answer_is_lost_leaves_nothing(accounts: Accounts, impatient: None, step: str) -> None:
    stack = accounts.stack
    match = {"path": f"/v1/{step}", "method": "POST"}
    stack.control.fault("status", match=match, status=503, times=2, when="after", sticky=False)
    stack.start_worker()
    stack.publish(profile("bob"))
    wait_until(lambda: [each for each in stack.requests("POST", f"/v1/{step}") if each["user_id"] == "bob"])
    assert erase(accounts, "bob").status in {200, 202}
    wait_until(lambda: is_erased(accounts, "bob"), 40)
    gone(stack, "bob")


def test_a_signup_that_was_never_asked_for_is_no_reason_to_wait(accounts: Accounts) -> None:
    """As in a backlog while Stripe is away: what is sealed is erased, and no customer is made to be deleted."""
    stack = accounts.stack
    stack.rows(
        "INSERT INTO provisionings (user_id, plan, trial_end, lane, customer_request)"
        " VALUES ('bob', 'pending', now(), 0, '\\x00')"
    )
    assert erase(accounts, "bob").status == 200
    gone(stack, "bob")
    assert len(stack.requests("POST", "/v1/customers")) == 1, "ann's"


def test_who_was_never_heard_of_is_erased_before_their_signup_comes(accounts: Accounts) -> None:
    stack = accounts.stack
    assert erase(accounts, "a/b ü").status == 200
    stack.start_worker()
    stack.publish(profile("a/b ü"), profile("bob"))
    stack.await_completed("bob")
    wait_until(stack.is_drained)
    gone(stack, "a/b ü")


def test_a_customer_that_only_stripe_knows_is_found_by_its_metadata(accounts: Accounts) -> None:
    """Of a database that was lost."""
    stack = accounts.stack
    whose = {"metadata[subkeeper]": user_digest("subkeeper", "bob"), "metadata[user_id]": "bob"}
    customer = stack.call_stripe("POST", "/v1/customers", email="bob@example.org", **whose)["id"]
    assert erase(accounts, "bob").status == 200
    gone(stack, "bob")
    (row,) = stack.rows("SELECT * FROM billing_customers WHERE user_id = 'bob'")
    assert (row["stripe_customer_id"], row["deleted_at"] is not None) == (customer, True)


def test_an_open_page_is_closed(accounts: Accounts) -> None:
    page = opened(accounts)
    (session,) = accounts.stack.rows("SELECT stripe_session_id FROM checkouts")
    assert erase(accounts).status == 200
    assert (
        accounts.stack.call_stripe("GET", f"/v1/checkout/sessions/{session['stripe_session_id']}")["status"]
        == "expired"
    )
    assert ask(accounts, f"/billing/checkouts/{page.body['id']}", ADMIN.token).status == 404
    gone(accounts.stack)


@pytest.mark.parametrize("is_heard", [False, True], ids=["unheard", "heard"])
@pytest.mark.parametrize("plan", ["pro", None], ids=["setup", "begins another"])
def test_a_page_that_is_complete_goes_with_the_rest(accounts: Accounts, is_heard: bool, plan: str | None) -> None:
    """Heard of or not yet: nothing is applied, and what it has begun ends."""
    stack = accounts.stack
    if plan is None:
        stack.call_stripe("DELETE", f"/v1/subscriptions/{accounts.id_of('ann')}")
    wait_until(stack.start_worker("events").is_ready)
    completed(opened(accounts))
    if is_heard:
        stack.rows("UPDATE checkouts SET state = 'complete'")
    assert erase(accounts).status == 200
    events = stack.events(*TYPES)
    stack.hear(*events)
    stack.await_heard(*events)
    wait_until(lambda: not stack.rows("SELECT 1 FROM subscription_refreshes"))
    assert not stack.rows("SELECT 1 FROM billing_subscriptions")
    gone(stack)


def test_a_complete_page_whose_subscription_is_not_taken_in_yet_is_not_waited_for(accounts: Accounts) -> None:
    """It would be for ever: of somebody who is being erased nothing is taken in."""
    stack = accounts.stack
    stack.call_stripe("DELETE", f"/v1/subscriptions/{accounts.id_of('ann')}")
    completed(opened(accounts))
    stack.rows("UPDATE checkouts SET state = 'complete'")
    waiting = "SELECT 1 FROM account_changes WHERE kind = 'completion' AND last_error = 'subscription_not_taken_in'"
    wait_until(lambda: stack.rows(waiting), what="it waits")
    with ThreadPoolExecutor(1) as pool:
        erased = pool.submit(erase, accounts)
        wait_until(lambda: stack.ledger("ann")["state"] in {"erasing", "erased"}, what="it is asked for")
        stack.start_worker("events")
        assert erased.result().status in {200, 202}
    wait_until(lambda: is_erased(accounts), what="erased")
    gone(stack)


def test_of_completing_a_page_and_erasing_at_once_nothing_lives_on(accounts: Accounts) -> None:
    stack = accounts.stack
    stack.call_stripe("DELETE", f"/v1/subscriptions/{accounts.id_of('ann')}")
    opened(accounts)
    (row,) = stack.rows("SELECT stripe_session_id AS id FROM checkouts")

    def try_to_complete() -> None:
        stack.ask_stripe("POST", f"/v1/payment_pages/{row['id']}/confirm", payment_method="pm_card_visa")

    with ThreadPoolExecutor(2) as pool:
        erased = pool.submit(erase, accounts)
        pool.submit(try_to_complete).result()
    assert erased.result().status == 200
    gone(stack)


def test_what_was_asked_for_before_is_made_first_and_nothing_after(accounts: Accounts, impatient: None) -> None:
    stack, path = accounts.stack, f"/v1/subscriptions/{accounts.id_of('ann')}"
    stack.control.fault("status", match={"path": path, "method": "POST"}, status=503)
    assert accounts.change("ann", {"plan": "pro"}, Idempotency_Key="p").status == 202
    assert erase(accounts).status == 202
    assert told(accounts).body["waits_for"] == "earlier_changes"
    assert accounts.change("ann", {"canceling": True}).body["code"] == "erased"
    assert not stack.requests("DELETE", path)
    stack.control.clear_faults()
    wait_until(lambda: is_erased(accounts), 30)
    assert [each["params"]["items"] for each in stack.requests("POST", path) if each["status"] == 200]
    gone(stack)
    assert accounts.change("ann", {"plan": "pro"}, Idempotency_Key="p").body["code"] == "erased"


def test_of_changing_and_erasing_at_once_each_is_told_and_nothing_stays(accounts: Accounts) -> None:
    with ThreadPoolExecutor(4) as pool:
        changes = [pool.submit(accounts.change, "ann", {"canceling": True}) for _ in range(3)]
        erased = pool.submit(erase, accounts)
    assert {each.result().status for each in changes} <= {200, 404, 409}
    assert erased.result().status == 200
    gone(accounts.stack)


def shared(stack: Stack, owner: str = "bob", kind: str = "user") -> str:
    """Ann's customer, which somebody else owns too, with a subscription of theirs."""
    (row,) = stack.rows("SELECT * FROM billing_customers WHERE user_id = 'ann'")
    stack.rows(
        "INSERT INTO billing_owners (billing_customer_id, owner_kind, owner_id, role) VALUES (%s, %s, %s, 'payer')",
        row["id"], kind, owner,
    )  # fmt: skip
    return str(row["stripe_customer_id"])


def test_a_customer_that_others_own_stays_theirs_and_names_the_user_no_more(accounts: Accounts) -> None:
    stack, mine = accounts.stack, accounts.id_of("ann")
    customer = shared(stack)
    theirs = stack.call_stripe(
        "POST", "/v1/subscriptions", customer=customer, **{"items[0][price]": stack.price()["id"]},
        trial_period_days="3", **{"metadata[subkeeper]": user_digest("subkeeper", "bob"), "metadata[user_id]": "bob"},
    )["id"]  # fmt: skip
    assert erase(accounts).status == 200
    found = stack.call_stripe("GET", f"/v1/customers/{customer}")
    assert (found.get("deleted"), found["metadata"]) == (None, {})
    canceled = stack.call_stripe("GET", f"/v1/subscriptions/{mine}")
    assert (canceled["status"], canceled["metadata"]) == ("canceled", {})
    assert stack.call_stripe("GET", f"/v1/subscriptions/{theirs}")["status"] == "trialing"
    (row,) = stack.rows("SELECT * FROM billing_customers")
    assert row["deleted_at"] is None
    assert stack.ledger("ann")["state"] == "erased"
    assert not stack.rows("SELECT 1 FROM billing_subscriptions WHERE stripe_subscription_id = %s", mine)
    roles = stack.rows("SELECT owner_id, role FROM billing_owners ORDER BY owner_id")
    assert [tuple(each.values()) for each in roles] == [("ann", None), ("bob", "payer")]


def test_who_owns_anothers_customer_too_leaves_it_to_them(accounts: Accounts) -> None:
    stack = accounts.stack
    signed_up(stack, "bob")
    customer = shared(stack)
    assert erase(accounts, "bob").status == 200
    gone(stack, "bob")
    assert stack.call_stripe("GET", f"/v1/customers/{customer}")["metadata"]["user_id"] == "ann"
    assert accounts.at_stripe("ann")["status"] == "trialing"
    assert accounts.read("ann").status == 200


def test_a_page_of_the_portals_on_what_others_keep_is_waited_for(accounts: Accounts, impatient: None) -> None:
    stack = accounts.stack
    asked = {"user_id": "ann", "intent": "payment_method", "return_url": "https://app.example.com/"}
    wait_until(lambda: accounts.post("/billing/subscriptions/manage", asked).status == 200)
    shared(stack)
    assert erase(accounts).status == 202
    wait_until(lambda: told(accounts).body["waits_for"] == "portal_open")
    assert accounts.at_stripe("ann")["status"] == "trialing"
    stack.rows("UPDATE account_changes SET ended_at = ended_at - interval '61 minutes' WHERE kind = 'portal'")
    stack.rows("UPDATE account_changes SET due_at = now() WHERE state = 'pending'")
    wait_until(lambda: is_erased(accounts), 30)


def test_a_page_of_the_portals_on_what_goes_is_no_reason_to_wait(accounts: Accounts) -> None:
    asked = {"user_id": "ann", "intent": "payment_method", "return_url": "https://app.example.com/"}
    wait_until(lambda: accounts.post("/billing/subscriptions/manage", asked).status == 200)
    assert erase(accounts).status == 200
    gone(accounts.stack)


def test_what_stripe_refuses_waits_says_why_and_holds_up_nobody_else(
    accounts: Accounts, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = accounts.stack
    monkeypatch.setattr(watching, "WATCH_SECONDS", 0.1)
    monkeypatch.setattr(watching, "ERASED_WITHIN", timedelta(0))
    signed_up(stack, "bob")
    path = f"/v1/customers/{accounts.customer('ann')['id']}"
    stack.control.fault("status", match={"path": path, "method": "DELETE"}, status=403)
    assert erase(accounts).status == 202
    wait_until(lambda: told(accounts).body["waits_for"] == "not_permitted")
    wait_until(lambda: not accounts.worker.part("erasures")[0], 15)
    assert "not_permitted" in accounts.worker.part("erasures")[1]
    assert accounts.worker.metric("subkeeper_erasures_waiting") == 1
    assert accounts.worker.metric("subkeeper_erasures_oldest_age_seconds") > 0
    assert accounts.worker.metric("subkeeper_account_changes_waiting") == 0
    assert accounts.change("bob", {"plan": "pro"}).status in {200, 202}
    wait_until(lambda: accounts.read("bob").body["plan"] == "pro")
    stack.control.clear_faults()
    wait_until(lambda: is_erased(accounts), 40)
    wait_until(lambda: accounts.worker.part("erasures")[0], 15)
    gone(stack)


@pytest.mark.parametrize("what", ["customers", "subscriptions"])
def test_what_stripe_has_done_and_not_answered_is_done_once(accounts: Accounts, what: str) -> None:
    stack = accounts.stack
    identifier = accounts.id_of("ann") if what == "subscriptions" else accounts.customer("ann")["id"]
    match = {"path": f"/v1/{what}/{identifier}", "method": "DELETE"}
    stack.control.fault("status", match=match, status=503, times=1, when="after", sticky=False)
    assert erase(accounts).status in {200, 202}
    wait_until(lambda: is_erased(accounts), 30)
    gone(stack)
    kinds = [each["type"] for each in stack.events("customer.deleted", "customer.subscription.deleted")]
    assert sorted(kinds) == ["customer.deleted", "customer.subscription.deleted"]


def test_a_customer_that_was_deleted_before_is_no_reason_to_wait(accounts: Accounts) -> None:
    stack = accounts.stack
    stack.call_stripe("DELETE", f"/v1/customers/{accounts.customer('ann')['id']}")
    assert erase(accounts).status == 200
    gone(stack)


def test_what_is_in_quarantine_and_names_the_user_is_erased(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are; what was sealed under a key that is gone stays until it expires."""
    stack = accounts.stack
    monkeypatch.setattr(erasure_rows, "AT_ONCE", 2)
    sealer, unknown = Sealer([stack.environ["SUBKEEPER_SECRET_KEY"]]), Sealer(["a key of long ago, which is gone now"])
    kept = [b'{"id": "bob", "email": 1}', b'{"id": "annette", "email": 1}', b"ann"]
    theirs = [
        b'{"id": "ann", "email": 1}',
        b'{"specversion": "1.0", "data": {"id": "ann", "name": 1}}',
        b'{"id":"ann",',
    ]
    for number, content in enumerate([*kept, *theirs]):
        stack.rows(
            "INSERT INTO quarantined_messages (topic, nsq_message_id, reason, detail, sealed_body, body_digest,"
            " published_at, expires_at) VALUES ('t', %s, 'not_json', '', %s, %s, now(), now() + interval '1 day')",
            str(number), (unknown if content == b"ann" else sealer).seal(content, b"t"), content,
        )  # fmt: skip
    stack.rows("UPDATE provisionings SET state = 'quarantined', customer_request = '\\x00' WHERE user_id = 'ann'")
    assert erase(accounts).status == 200
    left = stack.rows("SELECT body_digest FROM quarantined_messages ORDER BY id")
    assert [bytes(each["body_digest"]) for each in left] == kept
    gone(stack)


def test_a_row_of_a_dead_process_is_gone_on_with(accounts: Accounts, impatient: None) -> None:
    stack = accounts.stack
    stack.control.fault("status", match={"path": f"/v1/customers/{accounts.customer('ann')['id']}"}, status=503)
    assert erase(accounts).status == 202
    wait_until(lambda: accounts.rows()[0]["last_error"] is not None)
    accounts.worker.stop()
    stack.control.clear_faults()
    stack.start_worker("web")
    wait_until(lambda: accounts.rows()[0]["state"] == "applied", 40)
    gone(stack)


def test_a_fetch_that_was_under_way_writes_nothing(accounts: Accounts) -> None:
    stack, subscription = accounts.stack, accounts.id_of("ann")
    wait_until(stack.start_worker("events").is_ready)
    path = f"/v1/subscriptions/{subscription}"
    stack.control.fault("latency", match={"path": path, "method": "GET"}, times=1, ms=800)
    stack.rows("INSERT INTO subscription_refreshes (stripe_subscription_id) VALUES (%s)", subscription)
    wait_until(lambda: stack.rows("SELECT 1 FROM subscription_refreshes WHERE lease_until > now()"))
    assert erase(accounts).status == 200
    wait_until(lambda: stack.requests("GET", path))
    stack.rows("INSERT INTO subscription_refreshes (stripe_subscription_id) VALUES (%s)", subscription)
    wait_until(lambda: not stack.rows("SELECT 1 FROM subscription_refreshes"))
    gone(stack)


def test_an_adoption_that_was_under_way_is_before_the_erasure_or_never(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever adopts has the user locked: the erasure begins after it, and finds what it has written."""
    stack, add = accounts.stack, customers.add
    whose = {"metadata[subkeeper]": user_digest("subkeeper", "bob"), "metadata[user_id]": "bob"}
    customer = stack.call_stripe("POST", "/v1/customers", email="bob@example.org")["id"]
    form = {"customer": customer, "items[0][price]": stack.price()["id"], "trial_period_days": "3", **whose}
    made = stack.call_stripe("POST", "/v1/subscriptions", **form)
    waiting: list[bool] = []
    with ThreadPoolExecutor(1) as pool:
        erased: list[Future[Reply]] = []

        def add_slowly(*arguments: Any) -> bool:
            erased.append(pool.submit(erase, accounts, "bob"))
            wait_until(lambda: stack.rows("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))
            waiting.append(True)
            return add(*arguments)

        monkeypatch.setattr(customers, "add", add_slowly)
        wait_until(stack.start_worker("events").is_ready)
        stack.hear(*stack.events("customer.subscription.created")[-1:])
        wait_until(lambda: bool(waiting))
        assert erased[0].result().status == 200
    gone(stack, "bob")
    assert stack.call_stripe("GET", f"/v1/subscriptions/{made['id']}")["status"] == "canceled"
    assert stack.call_stripe("GET", f"/v1/customers/{customer}")["deleted"] is True


def test_a_customer_that_is_given_to_somebody_meanwhile_stays_theirs(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the subscriptions' end and the customer's; once it has its tombstone nobody is given it."""
    stack, claim = accounts.stack, ErasureRows.claim
    given: list[str] = []

    def give_first(rows: ErasureRows, customer_id: str, user_id: str) -> bool:
        if not given:
            given.append(shared(stack))
        return claim(rows, customer_id, user_id)

    monkeypatch.setattr(ErasureRows, "claim", give_first)
    assert erase(accounts).status == 200
    assert stack.call_stripe("GET", f"/v1/customers/{given[0]}")["metadata"] == {}
    assert not stack.rows("SELECT 1 FROM billing_customers WHERE deleted_at IS NOT NULL")
    assert stack.ledger("ann")["state"] == "erased"


def test_it_is_explained(accounts: Accounts, impatient: None) -> None:
    stack = accounts.stack
    stack.control.fault("status", match={"path": f"/v1/subscriptions/{accounts.id_of('ann')}"}, status=503)
    assert erase(accounts).status == 202
    wait_until(lambda: "stripe" in str(told(accounts).body["waits_for"]))
    assert [each.what for each in explained(stack) if "eras" in each.what] == ["erasure asked for"]
    stack.control.clear_faults()
    wait_until(lambda: is_erased(accounts), 30)
    told_of = [each.what for each in explained(stack)]
    assert ("erased" in told_of, "erasure asked for" in told_of, "message absorbed" in told_of) == (True, False, False)


def explained(stack: Stack) -> list[Entry]:
    return explain(stack.settings(), "ann", timedelta(days=1))


def test_without_a_key_it_is_told_and_not_begun(new_accounts: NewAccounts) -> None:
    accounts = new_accounts(STRIPE_SECRET_KEY="")
    assert (erase(accounts).status, erase(accounts).body["code"]) == (503, "billing-disabled")
    assert told(accounts).status == 404


def test_no_line_of_the_log_holds_more_than_ids(deployment: Stack) -> None:
    """Of everything that an erasure goes through."""
    spawned = deployment.spawn("erase", "ann", "--yes", "--json")
    assert spawned.wait() == 0
    assert "example.org" not in spawned.text
    (line,) = [each for each in spawned.text.splitlines() if each.startswith("{")]
    shown: dict[str, Any] = json.loads(line)
    assert (shown["user_id"], shown["state"], shown["stripe_keeps"]) == ("ann", "erased", list(STRIPE_KEEPS))
    gone(deployment)


def test_a_charge_that_is_under_way_is_waited_for(accounts: Accounts, impatient: None) -> None:
    stack, customer = accounts.stack, accounts.customer("ann")["id"]
    tried = "INSERT INTO charge_tries (stripe_invoice_id, attempt_count, stripe_payment_method_id, stripe_customer_id,"
    stack.rows(f"{tried} is_ours) VALUES ('in_1', 1, 'pm_1', %s, true)", customer)
    stack.rows("INSERT INTO failing_invoices (stripe_invoice_id) VALUES ('in_1')")
    assert erase(accounts).status == 202
    wait_until(lambda: told(accounts).body["waits_for"] == "charge_under_way")
    assert accounts.at_stripe("ann")["status"] == "trialing"
    stack.rows("UPDATE charge_tries SET outcome = 'declined', ended_at = now()")
    stack.rows("UPDATE account_changes SET due_at = now() WHERE state = 'pending'")
    wait_until(lambda: is_erased(accounts), 30)
    assert not stack.rows("SELECT 1 FROM charge_tries")
    assert not stack.rows("SELECT 1 FROM failing_invoices")
