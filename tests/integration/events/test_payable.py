"""Whether a subscription could be charged follows its own default payment method and its customer's, in any order."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.integration.events.test_events import begin, later, of, reads, start, subscribe
from tests.integration.events.test_verify import quick_second_look, verify
from tests.integration.provisioning.conftest import NewStack
from tests.support.stack import Stack, profile
from tests.support.waiting import wait_until
from worker.domain.drift import Kind, Repair
from worker.events import absorption

__all__ = ["quick_second_look"]


def customer_of(stack: Stack, user_id: str) -> str:
    return str(stack.customers(user_id)[0]["id"])


def add_card(stack: Stack, customer: str, name: str = "pm_card_visa") -> str:
    return str(stack.call_stripe("POST", f"/v1/payment_methods/{name}/attach", customer=customer)["id"])


def make_default(stack: Stack, customer: str, card: str) -> dict[str, Any]:
    """The event of it."""
    form = {"invoice_settings[default_payment_method]": card}
    stack.call_stripe("POST", f"/v1/customers/{customer}", **form)
    return stack.events("customer.updated")[-1]


def is_payable(stack: Stack, subscription: str) -> bool:
    query = """
        SELECT after->'payable' AS payable FROM subscription_changes
        WHERE stripe_subscription_id = %s ORDER BY version DESC LIMIT 1
    """
    return bool(stack.rows(query, subscription)[0]["payable"])


def causes(stack: Stack, subscription: str) -> list[str]:
    query = "SELECT cause FROM subscription_changes WHERE stripe_subscription_id = %s ORDER BY version"
    return [each["cause"] for each in stack.rows(query, subscription)]


def test_a_customers_default_card_is_a_change_of_its_subscription_and_costs_no_read(stack: Stack) -> None:
    start(stack, "ada")
    subscription, customer = of(stack, "ada"), customer_of(stack, "ada")
    assert not is_payable(stack, subscription)
    card = add_card(stack, customer)
    set_, same = later(stack, make_default(stack, customer, card)), {**stack.events("customer.created")[0]}
    stack.hear(set_, same)
    stack.await_heard(set_, same)
    assert stack.outcomes()[set_["id"]] == "applied"
    assert (is_payable(stack, subscription), causes(stack, subscription)) == (True, ["provisioned", "customer.updated"])
    stack.call_stripe("POST", f"/v1/payment_methods/{card}/detach")
    unset = later(stack, stack.events("customer.updated")[-1], 120)
    stack.hear(unset)
    stack.await_heard(unset)
    assert not is_payable(stack, subscription)
    assert stack.subscription_row(subscription)["version"] == 3
    assert reads(stack) == 0


def test_what_is_older_than_what_is_known_of_a_customer_changes_nothing(stack: Stack) -> None:
    start(stack, "ada")
    subscription, customer = of(stack, "ada"), customer_of(stack, "ada")
    old = later(stack, make_default(stack, customer, add_card(stack, customer)), -60)
    stack.hear(old)
    stack.await_heard(old)
    assert stack.outcomes() == {old["id"]: "stale"}
    assert not is_payable(stack, subscription)


def test_a_subscriptions_own_default_card_counts_as_well(stack: Stack) -> None:
    start(stack, "ada")
    subscription = of(stack, "ada")
    card = add_card(stack, customer_of(stack, "ada"))
    stack.call_stripe("POST", f"/v1/subscriptions/{subscription}", default_payment_method=card)
    event = later(stack, stack.events("customer.subscription.updated")[-1])
    stack.hear(event)
    stack.await_heard(event)
    assert is_payable(stack, subscription)
    assert stack.subscription_row(subscription)["default_payment_method"] == card


@pytest.mark.parametrize("version", ["ours", "2020-08-27"])
def test_what_cannot_be_put_in_order_is_asked_for_until_it_is_sure(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    """Asked for at once, the answer is too near: it is asked again, not believed."""
    monkeypatch.setattr(absorption, "UNSURE_FOR", timedelta(0))
    start(stack, "ada")
    subscription, customer = of(stack, "ada"), customer_of(stack, "ada")
    event = make_default(stack, customer, add_card(stack, customer))  # within a second or two of the signup
    stack.hear(event if version == "ours" else {**event, "api_version": version})
    stack.await_heard(event)
    assert stack.outcomes() == {event["id"]: "refreshing"}
    wait_until(lambda: not stack.rows("SELECT 1 FROM subscription_refreshes"))
    assert is_payable(stack, subscription)
    assert causes(stack, subscription) == ["provisioned", "refresh"]
    assert 1 <= reads(stack) <= 3
    sure = stack.rows("SELECT default_seen_from IS NOT NULL AS sure FROM billing_customers")
    assert sure == [{"sure": True}]


def test_a_card_that_comes_before_its_signup_is_done_is_not_lost(new_stack: NewStack) -> None:
    stack = new_stack()
    stack.prepare()
    begin(stack)
    stack.control.fault("latency", match={"path": "/v1/subscriptions", "method": "POST"}, ms=1500, times=1)
    stack.publish(profile("ada"))
    wait_until(lambda: stack.events("customer.created"))
    customer = customer_of(stack, "ada")
    event = later(stack, make_default(stack, customer, add_card(stack, customer)))
    stack.hear(event)
    stack.await_heard(event)
    stack.await_completed("ada")
    assert is_payable(stack, of(stack, "ada"))
    assert causes(stack, of(stack, "ada")) == ["provisioned"]


def test_doubt_before_its_signup_is_done_is_settled_after_it(new_stack: NewStack) -> None:
    stack = new_stack()
    stack.prepare()
    begin(stack)
    stack.control.fault("latency", match={"path": "/v1/subscriptions", "method": "POST"}, ms=1500, times=1)
    stack.publish(profile("ada"))
    wait_until(lambda: stack.rows("SELECT 1 FROM billing_customers"))
    customer = customer_of(stack, "ada")
    event = make_default(stack, customer, add_card(stack, customer))
    stack.hear(event)
    stack.await_heard(event)
    assert stack.outcomes() == {event["id"]: "refreshing"}
    stack.await_completed("ada")
    wait_until(lambda: is_payable(stack, of(stack, "ada")))


def test_a_customer_that_was_made_elsewhere_is_known_by_the_fetch_that_adopts_it(stack: Stack) -> None:
    start(stack, "ada")
    ours = {f"metadata[{name}]": value for name, value in stack.customers("ada")[0]["metadata"].items()}
    stack.call_stripe("DELETE", f"/v1/subscriptions/{of(stack, 'ada')}")
    stack.rows("TRUNCATE billing_customers, provisionings CASCADE")
    customer = stack.call_stripe("POST", "/v1/customers", **ours)["id"]
    make_default(stack, customer, add_card(stack, customer))
    made = subscribe(stack, customer, **ours)
    stack.hear(*[
        each for each in stack.events("customer.subscription.created") if each["data"]["object"]["id"] == made["id"]
    ])  # fmt: skip
    wait_until(lambda: stack.subscription_row(made["id"]))
    assert is_payable(stack, made["id"])


def test_one_that_was_paid_for_elsewhere_is_told_of_from_its_first_version(stack: Stack) -> None:
    start(stack, "ada")
    customer = customer_of(stack, "ada")
    make_default(stack, customer, add_card(stack, customer))
    product = stack.price()["product"]
    form = {"product": product, "currency": "usd", "unit_amount": "900", "recurring[interval]": "month"}
    price = stack.call_stripe("POST", "/v1/prices", **form)
    made = stack.call_stripe("POST", "/v1/subscriptions", customer=customer, **{"items[0][price]": price["id"]})
    assert made["status"] == "active"
    stack.hear(stack.events("customer.subscription.created")[-1])
    wait_until(lambda: stack.subscription_row(made["id"]))
    told = stack.rows("""
        SELECT c.cause, c.version, c.after->'charge_invoice_paid' AS paid, s.version AS version_of_row
        FROM subscription_changes c JOIN billing_subscriptions s USING (stripe_subscription_id)
        WHERE stripe_subscription_id = %s
    """, made["id"])  # fmt: skip
    assert told == [{"cause": "adopted", "version": 1, "paid": True, "version_of_row": 1}]


def test_a_customer_that_a_look_found_is_known_by_it_and_costs_no_read_more(stack: Stack) -> None:
    """As after the loss of a ledger, when all messages come again."""
    start(stack, "ada")
    customer = customer_of(stack, "ada")
    make_default(stack, customer, add_card(stack, customer))
    stack.rows("TRUNCATE billing_customers, provisionings, subscription_changes CASCADE")
    stack.publish(profile("ada", created_at=None))
    stack.await_completed("ada")
    assert causes(stack, of(stack, "ada")) == ["adopted"]
    assert is_payable(stack, of(stack, "ada"))
    assert stack.rows("SELECT 1 FROM subscription_refreshes") == []


def test_one_customers_subscriptions_all_hear_of_its_card(stack: Stack) -> None:
    start(stack, "ada")
    first, customer = of(stack, "ada"), customer_of(stack, "ada")
    second = subscribe(stack, customer)["id"]
    stack.hear(*stack.events("customer.subscription.created"))
    wait_until(lambda: stack.subscription_row(second))
    wait_until(lambda: not stack.rows("SELECT 1 FROM subscription_refreshes"))
    event = later(stack, make_default(stack, customer, add_card(stack, customer)))
    stack.hear(event)
    stack.await_heard(event)
    assert (is_payable(stack, first), is_payable(stack, second)) == (True, True)


def test_verify_tells_and_mends_what_was_missed(stack: Stack) -> None:
    start(stack, "ada")
    subscription, customer = of(stack, "ada"), customer_of(stack, "ada")
    card = add_card(stack, customer)
    make_default(stack, customer, card)
    (found,) = verify(stack)
    assert found.kind is Kind.DIFFERING
    assert [tuple(each) for each in found.differences] == [("customer_default_payment_method", None, card)]
    stack.rows("UPDATE billing_customers SET default_seen_from = NULL, default_seen_to = NULL")  # of before it was kept
    mended = verify(stack, repair=True)
    assert [(each.kind, each.repair) for each in mended] == [(Kind.DIFFERING, Repair.DONE), (Kind.CARDS, Repair.DONE)]
    assert is_payable(stack, subscription)
    assert verify(stack) == []
