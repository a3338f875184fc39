"""Invoices from draft to paid, failed, tried again, given up; and what that does to their subscription."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.sandbox_stripe.account import DAY, HOUR, Account, Refused

PAID = ["payment_intent.succeeded", "invoice.paid", "invoice.payment_succeeded"]
FAILED = ["payment_intent.payment_failed", "invoice.payment_failed", "invoice.updated"]
OPENED = ["invoice.finalized", "payment_intent.created"]


def declining(account: Account, status: str = "active") -> tuple[str, str]:
    """A paid subscription whose card stopped paying, and its customer."""
    customer = account.customer("pm_card_visa")
    subscription = account.subscribe(customer)
    assert subscription["status"] == status
    use(account, customer, "pm_card_chargeCustomerFail")
    return subscription["id"], customer


def use(account: Account, customer: str, card: str) -> str:
    """From now on the customer pays with that card."""
    method = str(account.post(f"/v1/payment_methods/{card}/attach", customer=customer)["id"])
    account.post(f"/v1/customers/{customer}", {"invoice_settings[default_payment_method]": method})
    return method


def to_period_end(account: Account, subscription: str) -> None:
    account.time = account.subscription(subscription)["items"]["data"][0]["current_period_end"]


def test_the_first_invoice_is_finalized_and_paid_at_once(account: Account) -> None:
    before = account.mark()
    subscription = account.subscribe(account.customer("pm_card_visa"), **{"expand[0]": "latest_invoice.payments"})
    bill = subscription["latest_invoice"]
    assert (subscription["status"], bill["status"], bill["amount_paid"]) == ("active", "paid", 2000)
    assert (bill["attempt_count"], bill["next_payment_attempt"], bill["amount_remaining"]) == (1, None, 0)
    payment = bill["payments"]["data"][0]
    assert (payment["status"], payment["amount_paid"]) == ("paid", 2000)
    intent = account.get(f"/v1/payment_intents/{payment['payment']['payment_intent']}")
    assert (intent["status"], intent["amount_received"]) == ("succeeded", 2000)
    assert bill["parent"]["subscription_details"]["subscription"] == subscription["id"]
    assert account.told(before)[2:] == ["customer.subscription.created", "invoice.created", *OPENED, *PAID]


def test_a_trial_s_first_invoice_is_finalized_and_paid_for_nothing(account: Account) -> None:
    before = account.mark()
    account.subscribe(account.customer(), trial_period_days=31)
    assert account.told(before)[1:] == [
        "customer.subscription.created",
        "invoice.created",
        "invoice.finalized",
        "invoice.paid",
        "invoice.payment_succeeded",
    ]


@pytest.mark.parametrize("price", ["paid", "price"])
def test_a_renewal_s_invoice_is_a_draft_for_an_hour(account: Account, price: str) -> None:
    subscription = account.subscribe(account.customer("pm_card_visa"), getattr(account, price))["id"]
    before = account.mark()
    to_period_end(account, subscription)
    assert account.told(before) == ["invoice.created", "customer.subscription.updated"]
    bill = account.latest(subscription)
    assert (bill["status"], bill["number"]) == ("draft", None)
    assert bill["automatically_finalizes_at"] == bill["next_payment_attempt"] == bill["created"] + HOUR
    account.wait(HOUR)
    told = [*OPENED, *PAID] if price == "paid" else ["invoice.finalized", *PAID[1:]]
    assert account.told(before)[2:] == told
    assert account.latest(subscription)["status"] == "paid"
    assert {event["created"] for event in account.events(before)[2:]} == {bill["created"] + HOUR}


def test_a_renewal_keeps_to_its_anchor_s_day(account: Account) -> None:
    account.time = 1_769_860_800.0  # 31 January 2026, noon
    subscription = account.subscribe(account.customer("pm_card_visa"))["id"]
    days = []
    for _ in range(3):
        to_period_end(account, subscription)
        days.append(int(account.time - 1_769_860_800) // DAY)
    assert days == [28, 59, 89]


def test_a_failed_payment_is_tried_again_by_the_schedule_and_then_the_subscription_canceled(account: Account) -> None:
    subscription, customer = declining(account)
    before = account.mark()
    to_period_end(account, subscription)
    account.wait(HOUR)
    delinquent, updated = "customer.updated", "customer.subscription.updated"
    assert account.told(before) == ["invoice.created", updated, *OPENED, *FAILED, delinquent, updated]
    assert account.subscription(subscription)["status"] == "past_due"
    assert account.get(f"/v1/customers/{customer}")["delinquent"]
    for attempt, days in enumerate((3, 5, 7), start=1):
        bill = account.latest(subscription)
        assert (bill["attempt_count"], bill["next_payment_attempt"]) == (attempt, account.time + days * DAY)
        before = account.mark()
        account.wait(days * DAY)
        assert account.told(before)[:3] == FAILED
    ended = account.subscription(subscription)
    assert account.told()[-1] == "customer.subscription.deleted"
    assert (ended["status"], ended["cancellation_details"]["reason"]) == ("canceled", "payment_failed")
    bill = account.latest(subscription)
    assert (bill["status"], bill["attempt_count"], bill["next_payment_attempt"]) == ("open", 4, None)


@pytest.mark.parametrize("then", ["unpaid", "past_due"])
def test_the_settings_say_when_to_try_again_and_what_follows(account: Account, then: str) -> None:
    account.service.ledger.remember_retries(type(account.service.ledger.retries)((1,), then))
    subscription, _ = declining(account)
    to_period_end(account, subscription)
    account.wait(HOUR + DAY)
    assert account.subscription(subscription)["status"] == then
    to_period_end(account, subscription)
    renewed = account.latest(subscription)
    assert (renewed["status"], renewed["auto_advance"]) == ("draft", then == "past_due")


def test_a_card_that_pays_again_ends_the_arrears(account: Account) -> None:
    subscription, customer = declining(account)
    to_period_end(account, subscription)
    account.wait(HOUR)
    use(account, customer, "pm_card_visa")
    account.subscription(subscription)
    before = account.mark()
    account.wait(3 * DAY)
    assert account.told(before) == [*PAID, "customer.updated", "customer.subscription.updated"]
    assert account.subscription(subscription)["status"] == "active"
    assert account.events(before)[-1]["data"]["previous_attributes"] == {"status": "past_due"}
    assert account.latest(subscription)["attempt_count"] == 1


def test_a_paid_subscription_without_a_card_becomes_past_due(account: Account) -> None:
    customer = account.customer("pm_card_visa")
    subscription = account.subscribe(customer)["id"]
    method = account.get(f"/v1/customers/{customer}/payment_methods")["data"][0]["id"]
    account.post(f"/v1/payment_methods/{method}/detach")
    to_period_end(account, subscription)
    account.wait(HOUR)
    assert account.subscription(subscription)["status"] == "past_due"
    assert "invoice.payment_failed" in account.told()


def test_a_card_past_its_month_is_declined(account: Account) -> None:
    customer = account.customer("pm_card_visa")
    subscription = account.subscribe(customer)["id"]
    method = account.get(f"/v1/customers/{customer}/payment_methods")["data"][0]["id"]
    account.post(f"/v1/payment_methods/{method}", {"card[exp_month]": 9, "card[exp_year]": 2026})
    to_period_end(account, subscription)
    account.wait(HOUR)
    failed = next(event for event in account.events() if event["type"] == "payment_intent.payment_failed")
    assert failed["data"]["object"]["last_payment_error"]["code"] == "expired_card"


def test_a_payment_that_needs_its_customer_says_so(account: Account) -> None:
    subscription = account.subscribe(account.customer("pm_card_authenticationRequired"))
    assert subscription["status"] == "incomplete"
    told = account.told()
    assert [kind for kind in told if kind.endswith(("requires_action", "action_required", "payment_failed"))] == [
        "payment_intent.requires_action",
        "invoice.payment_action_required",
        "invoice.payment_failed",
    ]


def start(account: Account, behavior: str, card: str | None) -> str:
    return str(account.subscribe(account.customer(card), payment_behavior=behavior)["status"])


def test_payment_behavior_says_what_a_first_payment_that_fails_leaves(account: Account) -> None:
    failing = "pm_card_chargeCustomerFail"
    assert start(account, "allow_incomplete", failing) == "incomplete"
    assert start(account, "default_incomplete", None) == "incomplete"
    refusals = [
        ("error_if_incomplete", failing, 402),
        ("error_if_incomplete", None, 400),
        ("allow_incomplete", None, 400),
    ]
    for behavior, card, status in refusals:
        count = account.service.ledger.tables["subscription"].count()
        with pytest.raises(Refused) as refusal:
            start(account, behavior, card)
        assert refusal.value.status == status
        assert account.service.ledger.tables["subscription"].count() == count


def test_an_incomplete_subscription_expires_after_23_hours(account: Account) -> None:
    subscription = account.subscribe(account.customer(), payment_behavior="default_incomplete")["id"]
    before = account.mark()
    account.wait(23 * HOUR - 1)
    assert account.subscription(subscription)["status"] == "incomplete"
    account.wait(1)
    assert account.told(before) == ["payment_intent.canceled", "invoice.voided", "customer.subscription.updated"]
    expired = account.subscription(subscription)
    assert (expired["status"], expired["ended_at"]) == ("incomplete_expired", account.time)
    assert account.latest(subscription)["status"] == "void"


def test_an_incomplete_subscription_is_active_once_its_invoice_is_paid(account: Account) -> None:
    customer = account.customer()
    subscription = account.subscribe(customer, payment_behavior="default_incomplete")
    path = f"/v1/invoices/{subscription['latest_invoice']}/pay"
    with pytest.raises(Refused) as refusal:
        account.post(path)
    assert refusal.value.status == 400
    failing = account.post("/v1/payment_methods/pm_card_chargeCustomerFail/attach", customer=customer)["id"]
    with pytest.raises(Refused) as refusal:
        account.post(path, payment_method=failing)
    assert refusal.value.status == 402
    assert account.latest(subscription["id"])["attempt_count"] == 1
    good = account.post("/v1/payment_methods/pm_card_visa/attach", customer=customer)["id"]
    assert account.post(path, payment_method=good)["status"] == "paid"
    assert account.subscription(subscription["id"])["status"] == "active"
    with pytest.raises(Refused):
        account.post(path, payment_method=good)


def test_what_is_voided_or_given_up_leaves_the_subscription_active(account: Account) -> None:
    for verb, status in (("void", "void"), ("mark_uncollectible", "uncollectible"), ("pay", "paid")):
        subscription, _ = declining(account)
        to_period_end(account, subscription)
        account.wait(HOUR)
        bill = account.latest(subscription)
        sent = {"paid_out_of_band": "true"} if verb == "pay" else {}
        before = account.mark()
        assert account.post(f"/v1/invoices/{bill['id']}/{verb}", sent)["status"] == status
        kind = {"void": "voided", "mark_uncollectible": "marked_uncollectible", "pay": "paid"}[verb]
        assert f"invoice.{kind}" in account.told(before)
        assert account.subscription(subscription)["status"] == "active"
        account.wait(16 * DAY)
        assert account.latest(subscription)["status"] == status


def test_a_draft_is_finalized_by_hand_and_collected_an_hour_later(account: Account) -> None:
    subscription = account.subscribe(account.customer("pm_card_visa"))["id"]
    to_period_end(account, subscription)
    path = f"/v1/invoices/{account.latest(subscription)['id']}/finalize"
    opened = account.post(path)
    assert (opened["status"], opened["next_payment_attempt"]) == ("open", account.time + HOUR)
    with pytest.raises(Refused):
        account.post(path)
    account.wait(HOUR)
    assert account.latest(subscription)["status"] == "paid"


def test_an_invoice_that_is_sent_falls_due(account: Account) -> None:
    customer = account.customer()
    with pytest.raises(Refused):
        account.subscribe(customer, collection_method="send_invoice")
    subscription = account.subscribe(customer, collection_method="send_invoice", days_until_due=7)["id"]
    assert account.latest(subscription)["status"] == "draft"
    account.wait(HOUR)
    bill = account.latest(subscription)
    assert (bill["status"], bill["due_date"], bill["next_payment_attempt"]) == ("open", account.time + 7 * DAY, None)
    account.wait(7 * DAY)
    assert account.subscription(subscription)["status"] == "past_due"
    assert account.told()[-3:] == ["invoice.overdue", "customer.updated", "customer.subscription.updated"]
    account.post(f"/v1/invoices/{bill['id']}/pay", paid_out_of_band="true")
    assert account.subscription(subscription)["status"] == "active"


def upgraded(account: Account, card: str | None, **sent: Any) -> dict[str, Any]:
    """A free subscription after its change to the paid price."""
    subscription = account.subscribe(account.customer(card), account.price)
    item = subscription["items"]["data"][0]["id"]
    account.wait(5 * DAY)
    changed = {"items[0][id]": item, "items[0][price]": account.paid}
    return account.post(f"/v1/subscriptions/{subscription['id']}", {**changed, **sent})


def test_a_change_from_free_to_paid_begins_a_period_and_is_paid_at_once(account: Account) -> None:
    after = upgraded(account, "pm_card_visa")
    assert after["items"]["data"][0]["current_period_start"] == account.time == after["billing_cycle_anchor"]
    bill = account.latest(after["id"])
    assert (after["status"], bill["billing_reason"], bill["amount_paid"]) == ("active", "subscription_update", 2000)


@pytest.mark.parametrize(("card", "status"), [(None, 400), ("pm_card_chargeCustomerFail", 402)])
def test_a_change_from_free_to_paid_that_must_be_paid_is_refused_otherwise(
    account: Account, card: str | None, status: int
) -> None:
    with pytest.raises(Refused) as refusal:
        upgraded(account, card, payment_behavior="error_if_incomplete")
    assert refusal.value.status == status
    subscription = account.get("/v1/subscriptions")["data"][0]
    assert (subscription["status"], account.latest(subscription["id"])["total"]) == ("active", 0)
    assert upgraded(account, card)["status"] == "past_due"


@pytest.mark.parametrize(
    ("card", "status"), [("pm_card_visa", "active"), ("pm_card_chargeCustomerFail", "past_due"), (None, "paused")]
)
def test_a_trial_s_end_is_paid_by_the_card_or_left_to_the_trial_s_settings(
    account: Account, card: str | None, status: str
) -> None:
    pause = {"trial_settings[end_behavior][missing_payment_method]": "pause"}
    subscription = account.subscribe(account.customer(card), trial_period_days=31, **pause)
    before = account.mark()
    account.time = subscription["trial_end"] + HOUR
    assert account.subscription(subscription["id"])["status"] == status
    announced, *told = account.told(before)
    first = "customer.subscription.paused" if card is None else "invoice.created"
    assert (announced, told[:2]) == ("customer.subscription.trial_will_end", [first, "customer.subscription.updated"])
    if card is None:
        assert "previous_attributes" not in account.events(before)[1]["data"]


def test_a_card_that_is_attached_and_nobody_s_default_pays_nothing(account: Account) -> None:
    customer = account.customer()
    account.post("/v1/payment_methods/pm_card_visa/attach", customer=customer)
    settings = {"trial_settings[end_behavior][missing_payment_method]": "cancel"}
    subscription = account.subscribe(customer, trial_period_days=1, **settings)["id"]
    account.wait(DAY)
    assert account.subscription(subscription)["status"] == "canceled"


def test_an_invoice_of_a_customer_that_is_deleted_is_neither_finalized_nor_paid(account: Account) -> None:
    customer = account.customer("pm_card_visa")
    subscription = account.subscribe(customer)["id"]
    to_period_end(account, subscription)
    bill = account.latest(subscription)["id"]
    account.delete(f"/v1/customers/{customer}")
    for verb in ("finalize", "pay"):
        with pytest.raises(Refused) as refusal:
            account.post(f"/v1/invoices/{bill}/{verb}")
        assert refusal.value.code == "resource_missing"
    account.wait(2 * HOUR)
    assert account.get(f"/v1/invoices/{bill}")["status"] == "draft"


def test_a_trial_that_is_ended_now_is_paid_now(account: Account) -> None:
    subscription = account.subscribe(account.customer("pm_card_visa"), trial_period_days=31)["id"]
    account.wait(DAY)
    after = account.post(f"/v1/subscriptions/{subscription}", trial_end="now")
    assert (after["status"], after["trial_end"]) == ("active", account.time)
    assert account.latest(subscription)["amount_paid"] == 2000


def paused(account: Account, price: str) -> tuple[str, str]:
    customer = account.customer()
    pause = {"trial_settings[end_behavior][missing_payment_method]": "pause"}
    subscription = account.subscribe(customer, price, trial_period_days=3, **pause)["id"]
    account.wait(5 * DAY)
    assert account.subscription(subscription)["status"] == "paused"
    return subscription, customer


def test_a_paused_subscription_is_resumed_for_nothing_or_by_a_card_that_pays(account: Account) -> None:
    free, _ = paused(account, account.price)
    assert account.post(f"/v1/subscriptions/{free}/resume")["status"] == "active"
    for card, status in (("pm_card_visa", "active"), ("pm_card_chargeCustomerFail", "past_due")):
        subscription, customer = paused(account, account.paid)
        use(account, customer, card)
        before = account.mark()
        resumed = account.post(f"/v1/subscriptions/{subscription}/resume")
        assert (resumed["status"], resumed["items"]["data"][0]["current_period_start"]) == (status, account.time)
        told = [kind for kind in account.told(before) if kind.startswith("customer.subscription")]
        assert told == ["customer.subscription.resumed", "customer.subscription.updated"]


def test_a_subscription_resumed_without_a_card_stays_paused_until_its_invoice_is_paid(account: Account) -> None:
    subscription, customer = paused(account, account.paid)
    assert account.post(f"/v1/subscriptions/{subscription}/resume")["status"] == "paused"
    bill = account.latest(subscription)
    assert (bill["status"], bill["attempted"]) == ("open", False)
    with pytest.raises(Refused):
        account.post(f"/v1/subscriptions/{subscription}/resume")
    use(account, customer, "pm_card_visa")
    account.post(f"/v1/invoices/{bill['id']}/pay")
    resumed = account.subscription(subscription)
    assert (resumed["status"], resumed["items"]["data"][0]["current_period_start"]) == ("active", account.time)


def test_a_resumption_that_nobody_pays_is_void_after_23_hours(account: Account) -> None:
    subscription, _ = paused(account, account.paid)
    account.post(f"/v1/subscriptions/{subscription}/resume")
    account.wait(23 * HOUR)
    assert (account.subscription(subscription)["status"], account.latest(subscription)["status"]) == ("paused", "void")


@pytest.mark.parametrize(
    ("behavior", "status"), [("void", "void"), ("mark_uncollectible", "uncollectible"), ("keep_as_draft", "draft")]
)
def test_invoices_of_a_paused_collection_are_not_collected(account: Account, behavior: str, status: str) -> None:
    subscription = account.subscribe(account.customer("pm_card_visa"))
    path = f"/v1/subscriptions/{subscription['id']}"
    until = subscription["items"]["data"][0]["current_period_end"] + DAY
    account.post(path, {"pause_collection[behavior]": behavior, "pause_collection[resumes_at]": until})
    account.time = until - 1
    bill = account.latest(subscription["id"])
    assert (bill["status"], account.subscription(subscription["id"])["status"]) == (status, "active")
    account.wait(1)
    assert account.subscription(subscription["id"])["pause_collection"] is None


def test_nothing_is_collected_after_the_end(account: Account) -> None:
    subscription, customer = declining(account)
    to_period_end(account, subscription)
    account.wait(HOUR)
    account.delete(f"/v1/subscriptions/{subscription}")
    use(account, customer, "pm_card_visa")
    account.wait(20 * DAY)
    bill = account.latest(subscription)
    assert (bill["status"], bill["auto_advance"], bill["next_payment_attempt"]) == ("open", False, None)
