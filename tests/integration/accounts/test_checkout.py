"""POST /billing/subscriptions: which page is opened, and what comes of one that a browser completes."""

from __future__ import annotations

import http.client
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode, urlsplit

import psycopg
import pytest
from structlog.testing import capture_logs

from tests.integration.accounts.conftest import Accounts, signed_up, token_of
from tests.integration.accounts.paying import (
    CANCEL,
    MASTERCARD,
    SAVED_AND_DECLINED,
    VISA,
    body,
    come_to,
    complete,
    completed,
    heard,
    opened,
    told,
)
from tests.integration.provisioning.test_privacy import dump
from tests.support.browser import Browser
from tests.support.waiting import wait_until
from worker.accounts.leases import ChangeLeases
from worker.domain.account_changes import AccountChange, Step


@pytest.fixture
def hearing(accounts: Accounts) -> Accounts:
    wait_until(accounts.stack.start_worker("events").is_ready)
    return accounts


def sessions(accounts: Accounts) -> list[dict[str, object]]:
    """What was asked of Stripe to open."""
    return [each["params"] for each in accounts.stack.requests("POST", "/v1/checkout/sessions")]


def test_who_has_a_subscription_saves_a_card_and_changes_plans_and_keeps_the_trial(hearing: Accounts) -> None:
    before = hearing.at_stripe("ann")
    page = opened(hearing)
    assert (told(hearing, page)["state"], told(hearing, page)["url"]) == ("pending", page.body["url"])
    browser = completed(page)
    (session,) = hearing.stack.events("checkout.session.completed")
    assert browser.url == f"https://app.example.com/done?session={session['data']['object']['id']}"
    assert told(hearing, page)["state"] == "pending", "where the browser is led says nothing"
    heard(hearing)
    applied = come_to(hearing, page, "applied")
    assert (applied["plan"], applied["code"], applied["url"]) == ("pro", None, None)
    after, row = hearing.at_stripe("ann"), hearing.read("ann").body
    assert (after["trial_end"], after["items"]["data"][0]["price"]["lookup_key"]) == (before["trial_end"], "pro")
    card = after["default_payment_method"]
    assert card is not None
    assert hearing.customer("ann")["invoice_settings"]["default_payment_method"] == card
    assert (row["plan"], row["status"]) == ("pro", "trialing")


def attached(accounts: Accounts, card: str) -> str:
    """A card of ann's, which is her default."""
    customer = accounts.customer("ann")["id"]
    made = accounts.stack.call_stripe("POST", f"/v1/payment_methods/{card}/attach", customer=customer)["id"]
    default = {"invoice_settings[default_payment_method]": str(made)}
    accounts.stack.call_stripe("POST", f"/v1/customers/{customer}", **default)
    return str(made)


def price_of(accounts: Accounts, plan: str) -> str:
    return str(accounts.stack.call_stripe("GET", f"/v1/prices?lookup_keys[]={plan}")["data"][0]["id"])


def on_plan(accounts: Accounts, plan: str, **form: str) -> None:
    """Somebody has put ann on a plan, of which nobody tells us."""
    item = accounts.at_stripe("ann")["items"]["data"][0]["id"]
    accounts.at_stripe_do("ann", **{"items[0][id]": item, "items[0][price]": price_of(accounts, plan), **form})


def invoices(accounts: Accounts) -> list[dict[str, Any]]:
    found = accounts.stack.call_stripe("GET", f"/v1/invoices?subscription={accounts.id_of('ann')}")["data"]
    return [{name: each[name] for name in ("id", "status", "amount_due", "attempt_count")} for each in found]


def through(accounts: Accounts, plan: str, card: str = VISA) -> dict[str, Any]:
    """Ann goes through Checkout; what comes of it."""
    page = opened(accounts, plan)
    completed(page, card)
    heard(accounts)
    wait_until(lambda: told(accounts, page)["state"] != "pending", what="the checkout has ended")
    return told(accounts, page)


def test_what_is_paid_for_is_prorated_and_the_new_card_pays(hearing: Accounts) -> None:
    attached(hearing, "pm_card_mastercard")
    on_plan(hearing, "pro")
    hearing.at_stripe_do("ann", trial_end="now")
    assert through(hearing, "gold")["state"] == "applied"
    asked = hearing.asked("ann")[-1]
    assert (asked["proration_behavior"], asked["payment_behavior"]) == ("always_invoice", "error_if_incomplete")
    row, after = hearing.read("ann").body, hearing.at_stripe("ann")
    assert (row["plan"], row["status"], invoices(hearing)[0]["status"]) == ("gold", "active", "paid")
    default = hearing.customer("ann")["invoice_settings"]["default_payment_method"]
    assert after["default_payment_method"] not in {None, default}, "the customer had one, and keeps it"


def test_a_decline_says_so_and_leaves_the_plan(hearing: Accounts) -> None:
    attached(hearing, "pm_card_visa")
    on_plan(hearing, "pro")
    hearing.at_stripe_do("ann", trial_end="now")
    came = through(hearing, "gold", SAVED_AND_DECLINED)
    assert (came["state"], came["code"]) == ("failed", "card_declined")
    assert hearing.at_stripe("ann")["items"]["data"][0]["price"]["lookup_key"] == "pro"
    assert through(hearing, "gold")["state"] == "applied", "another attempt"
    assert hearing.read("ann").body["plan"] == "gold"


def test_what_is_past_due_is_paid_before_the_plan_changes(hearing: Accounts) -> None:
    attached(hearing, "pm_card_chargeCustomerFail")
    on_plan(hearing, "pro")
    hearing.at_stripe_do("ann", trial_end="now")
    assert hearing.at_stripe("ann")["status"] == "past_due"
    (owed, *_) = invoices(hearing)
    declined = through(hearing, "gold", SAVED_AND_DECLINED)
    assert (declined["state"], declined["code"]) == ("failed", "card_declined")
    assert through(hearing, "gold")["state"] == "applied"
    assert {"id": owed["id"], "status": "paid"}.items() <= invoices(hearing)[1].items()
    assert (hearing.read("ann").body["plan"], hearing.read("ann").body["status"]) == ("gold", "active")


@pytest.fixture
def paused(hearing: Accounts) -> Accounts:
    """Ann's trial has ended without a card."""
    soon = hearing.stack.control.jump(0) + timedelta(hours=1).total_seconds()
    pausing = {"trial_settings[end_behavior][missing_payment_method]": "pause"}
    hearing.at_stripe_do("ann", trial_end=str(round(soon)), **pausing)
    hearing.stack.control.jump(timedelta(hours=2).total_seconds())
    assert hearing.at_stripe("ann")["status"] == "paused"
    return hearing


def test_what_is_paused_gets_its_plan_and_is_resumed(paused: Accounts) -> None:
    assert through(paused, "pro")["state"] == "applied"
    row = paused.read("ann").body
    assert (row["plan"], row["status"]) == ("pro", "active")
    assert (invoices(paused)[0]["status"], invoices(paused)[0]["amount_due"]) == ("paid", 900)
    assert paused.asked("ann")[-1]["proration_behavior"] == "none"


def test_a_resumption_that_waits_for_its_payment_is_paid_by_another_card(paused: Accounts) -> None:
    on_plan(paused, "pro", proration_behavior="none")
    paused.stack.call_stripe("POST", f"/v1/subscriptions/{paused.id_of('ann')}/resume", billing_cycle_anchor="now")
    (owed, *_) = invoices(paused)
    assert (owed["status"], paused.at_stripe("ann")["status"]) == ("open", "paused")
    assert through(paused, "gold")["state"] == "applied"
    assert (paused.read("ann").body["plan"], paused.read("ann").body["status"]) == ("gold", "active")
    assert {"id": owed["id"], "status": "paid"}.items() <= invoices(paused)[1].items()
    assert len(paused.stack.requests("POST", f"/v1/subscriptions/{paused.id_of('ann')}/resume")) == 1


def test_a_resumption_that_is_declined_says_so_and_the_next_card_pays_the_same_invoice(paused: Accounts) -> None:
    declined = through(paused, "pro", SAVED_AND_DECLINED)
    assert (declined["state"], declined["code"]) == ("failed", "card_declined")
    (owed, *_) = invoices(paused)
    assert through(paused, "pro")["state"] == "applied"
    assert {"id": owed["id"], "status": "paid"}.items() <= invoices(paused)[0].items()
    assert paused.read("ann").body["status"] == "active"


def test_who_had_one_that_has_ended_begins_another_without_a_trial(hearing: Accounts) -> None:
    first = hearing.id_of("ann")
    hearing.stack.call_stripe("DELETE", f"/v1/subscriptions/{first}")
    assert through(hearing, "pro")["state"] == "applied"
    (asked,) = sessions(hearing)
    assert (asked["mode"], [name for name in asked if "trial" in str(name)]) == ("subscription", [])
    hearing.stack.hear(*hearing.stack.events("customer.subscription.deleted", "customer.subscription.created"))
    wait_until(lambda: hearing.id_of("ann") != first)
    row, made = hearing.read("ann").body, hearing.at_stripe("ann")
    assert (row["plan"], row["status"], row["trial_end"]) == ("pro", "active", None)
    assert made["metadata"]["user_id"] == "ann"
    assert made["metadata"]["subkeeper"] == hearing.customer("ann")["metadata"]["subkeeper"]


def test_of_two_subscriptions_the_first_stays_and_the_second_ends_and_is_told(hearing: Accounts) -> None:
    """Somebody in the dashboard was quicker."""
    first = hearing.id_of("ann")
    hearing.stack.call_stripe("DELETE", f"/v1/subscriptions/{first}")
    page = opened(hearing, "pro")
    attached(hearing, "pm_card_visa")
    form = {"customer": hearing.customer("ann")["id"], "items[0][price]": price_of(hearing, "gold")}
    kept = hearing.stack.call_stripe("POST", "/v1/subscriptions", **form)["id"]
    hearing.stack.control.jump(5)
    completed(page)
    with capture_logs() as lines:
        heard(hearing)
        failed = come_to(hearing, page, "failed")
    assert failed["code"] == "second_subscription"
    living = {row["id"]: row["status"] for row in hearing.stack.subscriptions("ann") if row["id"] != first}
    assert (living.pop(kept), list(living.values())) == ("active", ["canceled"])
    (line,) = [each for each in lines if each["event"] == "checkout.subscribed_twice"]
    assert (line["user_id"], line["stripe_subscription_id"]) == ("ann", *living)


def test_a_new_page_ends_the_old_one(hearing: Accounts) -> None:
    old, new = opened(hearing, "pro"), opened(hearing, "gold")
    assert told(hearing, old)["state"] == "expired"
    assert Browser().open(old.body["url"]).title == "This link has expired"
    completed(new)
    heard(hearing)
    assert come_to(hearing, new, "applied")["plan"] == "gold"
    assert told(hearing, old)["state"] == "expired"


def test_a_page_that_is_complete_stands_though_nobody_has_told_us(hearing: Accounts) -> None:
    """Its event is late; Stripe says so as it is asked to end it."""
    page = opened(hearing, "pro")
    completed(page)
    refused = hearing.post("/billing/subscriptions", body(plan="gold"))
    assert (refused.status, refused.body["code"]) == (409, "checkout_complete")
    come_to(hearing, page, "applied")
    assert hearing.read("ann").body["plan"] == "pro"
    heard(hearing)
    assert told(hearing, page)["state"] == "applied"
    assert through(hearing, "gold")["state"] == "applied"


def test_a_user_whom_somebody_has_locked_holds_nobody_elses_page_up(hearing: Accounts) -> None:
    signed_up(hearing.stack, "bob")
    pages = {user: opened(hearing, user=user) for user in ("ann", "bob")}
    with psycopg.connect(hearing.stack.database_url) as another:
        another.execute("SELECT pg_advisory_xact_lock(1533739011, hashtext('ann'))")
        for page in pages.values():
            completed(page)
        heard(hearing)
        wait_until(lambda: hearing.read("bob").body["plan"] == "pro", what="bob has what he has paid for")
        assert told(hearing, pages["ann"])["state"] == "pending"
    come_to(hearing, pages["ann"], "applied")


def test_events_that_come_twice_late_or_before_our_commit_complete_it_once(
    hearing: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the process dies between Stripe's answer and its commit, and somebody completes the page."""
    advance = ChangeLeases.advance

    def heard_first(leases: ChangeLeases, lease: Any, changed: AccountChange, *answer: Any, **more: Any) -> None:
        if changed.step is Step.OPEN and "session" in changed.wanted:
            (session,) = hearing.stack.call_stripe("GET", "/v1/checkout/sessions")["data"]
            complete(hearing, session)
            heard(hearing)
        advance(leases, lease, changed, *answer, **more)

    monkeypatch.setattr(ChangeLeases, "advance", heard_first)
    page = opened(hearing)
    come_to(hearing, page, "applied")
    events = hearing.stack.events("checkout.session.completed")
    again = [{**each, "id": f"{each['id']}_again"} for each in events]
    hearing.stack.hear(*events, *again)
    hearing.stack.await_heard(*again)
    assert [row["kind"] for row in hearing.rows()] == ["checkout", "completion"]
    assert told(hearing, page)["state"] == "applied"


def test_a_page_that_nobody_came_to_expires(hearing: Accounts) -> None:
    page = opened(hearing)
    hearing.stack.control.jump(timedelta(hours=25).total_seconds())
    heard(hearing)
    assert come_to(hearing, page, "expired")["url"] is None


def test_a_later_one_wins(hearing: Accounts) -> None:
    """However it came that two are complete."""
    first = opened(hearing, "pro")
    completed(first)
    hearing.stack.rows("UPDATE checkouts SET state = 'expired', ended_at = now()")
    second = opened(hearing, "gold")
    completed(second)
    *_, last = hearing.stack.events("checkout.session.completed")
    hearing.stack.hear(last)
    assert come_to(hearing, second, "applied")["plan"] == "gold"
    hearing.stack.rows("UPDATE checkouts SET state = 'open', ended_at = NULL WHERE plan = 'pro'")
    heard(hearing)
    assert come_to(hearing, first, "failed")["code"] == "superseded"
    assert hearing.read("ann").body["plan"] == "gold"


def test_a_subscription_that_ended_while_the_page_was_open_is_not_changed(hearing: Accounts) -> None:
    page = opened(hearing, "pro")
    hearing.stack.call_stripe("DELETE", f"/v1/subscriptions/{hearing.id_of('ann')}")
    completed(page)
    heard(hearing)
    assert come_to(hearing, page, "failed")["code"] == "subscription_ended"
    assert through(hearing, "pro")["state"] == "applied"


def test_a_card_is_saved_and_becomes_the_default_where_there_is_none(hearing: Accounts) -> None:
    asked = {"user_id": "ann", "return_url": CANCEL}
    for number in (VISA, MASTERCARD):
        page = hearing.post("/billing/payment-methods/setup", asked, token_of("ann"))
        assert page.status == 201
        assert completed(page, number).url == CANCEL
        heard(hearing)
        assert come_to(hearing, page, "applied")["plan"] is None
    customer = hearing.customer("ann")
    cards = hearing.stack.call_stripe("GET", f"/v1/customers/{customer['id']}/payment_methods")["data"]
    first = customer["invoice_settings"]["default_payment_method"]
    assert [each["card"]["brand"] for each in cards if each["id"] == first] == ["visa"]
    assert (len(cards), hearing.at_stripe("ann")["default_payment_method"]) == (2, None)
    wait_until(lambda: hearing.read("ann").body["payable"], what="our row says that the user could be charged")


def test_a_key_that_may_not_do_what_is_left_keeps_that_waiting_alone(paused: Accounts) -> None:
    path = f"/v1/subscriptions/{paused.id_of('ann')}/resume"
    paused.stack.control.fault("status", match={"path": path}, status=403, sticky=False)
    page = opened(paused, "pro")
    completed(page)
    heard(paused)
    wait_until(lambda: told(paused, page)["code"] == "not_permitted", what="the checkout waits")
    assert (told(paused, page)["state"], paused.worker.is_ready()) == ("pending", True)
    paused.stack.control.clear_faults()
    come_to(paused, page, "applied", 30)


def test_a_resumption_whose_invoice_became_void_is_asked_for_once_more(paused: Accounts) -> None:
    """The first answer was lost; by the time it is asked for again, under the same key, nothing is owed any more."""
    path = f"/v1/subscriptions/{paused.id_of('ann')}/resume"
    paused.stack.control.fault("status", match={"path": path}, status=503, sticky=False)
    page = opened(paused, "pro")
    completed(page)
    heard(paused)
    wait_until(lambda: told(paused, page)["code"] == "stripe_status_503", what="the resumption waits")
    (row,) = [each for each in paused.rows() if each["kind"] == "completion"]
    card = paused.at_stripe("ann")["default_payment_method"]
    paused.stack.control.clear_faults()
    customer = f"/v1/customers/{paused.customer('ann')['id']}"
    paused.at_stripe_do("ann", default_payment_method="")
    paused.stack.call_stripe("POST", customer, **{"invoice_settings[default_payment_method]": ""})
    key = next(each["idempotency_key"] for each in paused.stack.requests("POST", path))
    connection = http.client.HTTPConnection(urlsplit(paused.stack.stripe.url).netloc)
    headers = {"Authorization": f"Bearer {paused.stack.stripe.secret_key}", "Idempotency-Key": str(key)}
    connection.request("POST", path, urlencode({**row["request"], "expand[0]": "latest_invoice"}), headers)
    bill = json.loads(connection.getresponse().read())["latest_invoice"]
    connection.close()
    assert bill["status"] == "open"
    paused.stack.call_stripe("POST", f"/v1/invoices/{bill['id']}/void")
    paused.at_stripe_do("ann", default_payment_method=str(card))
    come_to(paused, page, "applied", 30)
    assert paused.read("ann").body["status"] == "active"
    assert len({each["idempotency_key"] for each in paused.stack.requests("POST", path)}) == 2


def test_the_same_request_under_its_key_opens_one_page(accounts: Accounts) -> None:
    with ThreadPoolExecutor(4) as threads:
        pages = list(threads.map(lambda _: opened(accounts, Idempotency_Key="k"), range(4)))
    assert {(each.status, each.body["url"], each.headers["Location"]) for each in pages} == {
        (201, pages[0].body["url"], f"/billing/checkouts/{pages[0].body['id']}")
    }
    assert len(accounts.stack.call_stripe("GET", "/v1/checkout/sessions")["data"]) == 1
    reused = accounts.post("/billing/subscriptions", body(plan="gold"), token_of("ann"), Idempotency_Key="k")
    assert (reused.status, reused.body["code"]) == (422, "key_reused")
    assert pages[0].body["url"] not in dump(accounts.stack), "whoever has it is taken for the user"
    assert "app.example.com" not in dump(accounts.stack), "once it is open, Stripe alone needs it"
