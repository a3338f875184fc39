"""What charging an invoice by the next card in order rests on: how a decline is told, and that it is paid once."""

from __future__ import annotations

from typing import Any

from tests.contract.account import Account
from tests.contract.life import Clock, Makes, subscribe

WHOLE = {"expand": ["payments.data.payment.payment_intent", "parent.subscription_details.subscription"]}
FAILS, ASKS, PAYS = "pm_card_chargeCustomerFail", "pm_card_authenticationRequired", "pm_card_visa"


def owed(account: Account, clock: Clock, paid: str) -> tuple[str, dict[str, Any], str]:
    """A trial's end whose card is declined: the card, its customer and the invoice."""
    customer = clock.customer()
    card = clock.card(customer, FAILS)
    trial = clock.trial(customer, paid, 5, default_payment_method=card)
    clock.advance(days=6)
    return card, customer, account.get(f"/v1/subscriptions/{trial['id']}")["latest_invoice"]


def payments(account: Account, invoice: str) -> list[dict[str, Any]]:
    found = account.get(f"/v1/invoices/{invoice}", WHOLE)
    return [each["payment"]["payment_intent"] for each in found["payments"]["data"] if each["status"] == "open"]


def test_a_decline_is_told_with_its_card_and_the_banks_word_by_the_invoices_payment(
    account: Account, clock: Clock, paid: str
) -> None:
    card, customer, invoice = owed(account, clock, paid)
    found = account.get(f"/v1/invoices/{invoice}", WHOLE)
    assert (found["status"], found["collection_method"]) == ("open", "charge_automatically")
    assert (found["billing_reason"], found["attempt_count"]) == ("subscription_cycle", 1)
    assert (found["customer"], found["test_clock"]) == (customer["id"], clock.id)
    assert found["next_payment_attempt"] > clock.start
    assert found["parent"]["subscription_details"]["subscription"]["status"] == "past_due"
    (intent,) = payments(account, invoice)
    error = intent["last_payment_error"]
    assert intent["status"] == "requires_payment_method"
    assert (error["payment_method"]["id"], error["code"], error["decline_code"]) == (
        card, "card_declined", "generic_decline",
    )  # fmt: skip


def test_an_attempt_of_ones_own_moves_the_last_decline_and_neither_count_nor_schedule(
    account: Account, clock: Clock, paid: str
) -> None:
    """So `attempt_count` names Stripe's own rounds."""
    _, customer, invoice = owed(account, clock, paid)
    before = account.get(f"/v1/invoices/{invoice}")
    second = clock.card(customer, FAILS)
    refused = account.ask("post", f"/v1/invoices/{invoice}/pay", {"payment_method": second})
    assert (refused.status, refused.error["code"]) == (402, "card_declined")
    after = account.get(f"/v1/invoices/{invoice}")
    assert [after[name] for name in ("attempt_count", "next_payment_attempt", "status")] == [
        before[name] for name in ("attempt_count", "next_payment_attempt", "status")
    ]
    (intent,) = payments(account, invoice)
    assert intent["last_payment_error"]["payment_method"]["id"] == second


def test_a_decline_is_kept_under_its_key_and_charges_nobody_twice(
    account: Account, makes: Makes, clock: Clock, paid: str
) -> None:
    _, customer, invoice = owed(account, clock, paid)
    key, sent = makes.word(), {"payment_method": clock.card(customer, FAILS)}
    first, again = (account.ask("post", f"/v1/invoices/{invoice}/pay", sent, key=key) for _ in range(2))
    assert [(each.status, each.error["code"], each.replayed) for each in (first, again)] == [
        (402, "card_declined", False), (402, "card_declined", True),
    ]  # fmt: skip


def test_a_card_that_asks_for_its_owner_leaves_a_payment_that_waits_for_that(
    account: Account, clock: Clock, paid: str
) -> None:
    _, customer, invoice = owed(account, clock, paid)
    sent = {"payment_method": clock.card(customer, ASKS)}
    assert account.ask("post", f"/v1/invoices/{invoice}/pay", sent).status == 402
    (intent,) = payments(account, invoice)
    assert intent["status"] == "requires_action"


def test_what_is_paid_is_not_paid_again(account: Account, clock: Clock, paid: str) -> None:
    """It is refused, and the invoice says why."""
    _, customer, invoice = owed(account, clock, paid)
    sent = {"payment_method": clock.card(customer, PAYS)}
    assert account.post(f"/v1/invoices/{invoice}/pay", sent)["status"] == "paid"
    assert account.ask("post", f"/v1/invoices/{invoice}/pay", sent).status == 400
    found = account.get(f"/v1/invoices/{invoice}", WHOLE)
    assert (found["status"], found["amount_paid"]) == ("paid", found["amount_due"])
    assert payments(account, invoice) == []


def test_a_card_that_is_not_the_customers_is_refused_by_its_parameter(
    account: Account, clock: Clock, paid: str
) -> None:
    _, customer, invoice = owed(account, clock, paid)
    card = clock.card(customer)
    account.post(f"/v1/payment_methods/{card}/detach")
    refused = account.ask("post", f"/v1/invoices/{invoice}/pay", {"payment_method": card})
    assert (refused.status, refused.error["param"]) == (400, "payment_method")


def test_the_first_invoice_of_a_subscription_that_is_incomplete_says_so(
    account: Account, makes: Makes, paid: str
) -> None:
    made = subscribe(account, makes.payer(FAILS), paid)
    found = account.get(f"/v1/invoices/{made['latest_invoice']}", WHOLE)
    status = found["parent"]["subscription_details"]["subscription"]["status"]
    assert (status, found["billing_reason"]) == ("incomplete", "subscription_create")
