"""Charging in order on a customer that several own: its cards, in the order that its payers gave them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

import pytest

from tests.integration.accounts.conftest import ADMIN, DEPLOYMENT, Accounts, signed_up, token_of
from tests.integration.accounts.test_detaching import given, take_away
from tests.integration.accounts.test_owners import give, is_unmatched, metadata, subscribe
from tests.integration.events.test_charging import (
    FAILS,
    PAYS,
    asked,
    hear_failures,
    invoice,
    is_done,
    tries,
)
from tests.integration.provisioning.conftest import NewStack
from tests.integration.web.callers import ask
from tests.support.stack import Stack
from tests.support.waiting import wait_until
from worker.events import charging
from worker.stripe_api.charge_calls import ChargeCalls

CARDS = "/billing/payment-methods"


@pytest.fixture
def accounts(new_stack: NewStack, quick_probes: None) -> Accounts:
    """Ann and bob have signed up; charging in order is on."""
    stack = new_stack(**cast("dict[str, Any]", {**DEPLOYMENT, "SUBKEEPER_CHARGING__IN_ORDER": "true"}))
    stack.prepare()
    signed_up(stack, "ann", "bob")
    worker = stack.start_worker("web")
    wait_until(worker.is_ready)
    return Accounts(stack, worker)


def owes(stack: Stack, subscription: str, card: str) -> str:
    """Its trial is over, and that card is declined; the invoice."""
    path = f"/v1/subscriptions/{subscription}"
    item = stack.call_stripe("GET", path)["items"]["data"][0]["id"]
    price = stack.call_stripe("GET", "/v1/prices?lookup_keys[]=pro")["data"][0]["id"]
    form = {"items[0][id]": item, "items[0][price]": price, "default_payment_method": card, "trial_end": "now"}
    return str(stack.call_stripe("POST", path, **form)["latest_invoice"])


def is_over(stack: Stack) -> bool:
    return is_done(stack) and bool(tries(stack))


def is_paid_once(stack: Stack, identifier: str) -> None:
    assert invoice(stack, identifier)["status"] == "paid"
    assert [each["data"]["object"]["amount"] for each in stack.events("payment_intent.succeeded")] == [900]


@pytest.mark.parametrize("whose", ["bob", "p"])
def test_a_members_subscription_is_charged_by_the_customers_cards_as_its_payer_has_ordered_them(
    accounts: Accounts, whose: str
) -> None:
    """And never by what the member has elsewhere: the customer is who owes it."""
    stack = accounts.stack
    give(accounts, "member", **({"user_id": "bob"} if whose == "bob" else {"project_id": "p"}))
    made = subscribe(accounts, **metadata(accounts, whose))
    first, second, third = given(accounts, FAILS, PAYS, PAYS)
    given(accounts, PAYS, user="bob")
    order = {"payment_methods": [third, first, second]}
    assert ask(accounts, f"{CARDS}/order?user_id=ann", token_of("ann"), "PUT", order).status == 200
    owed = owes(stack, made, first)
    hear_failures(stack)
    wait_until(lambda: is_over(stack), 20)
    assert tries(stack) == [(first, 1, False, "declined"), (third, 1, True, "paid")]
    assert asked(stack, owed) == [third]
    assert invoice(stack, owed)["customer"] == accounts.customer("ann")["id"]
    is_paid_once(stack, owed)
    assert stack.rows("SELECT stripe_subscription_id AS id FROM charge_tries") == [{"id": made}] * 2


def test_a_subscription_on_it_that_is_nobodys_is_not_charged(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is fetched, as it might be somebody's, and waited for."""
    monkeypatch.setattr(charging, "COMING", timedelta(seconds=0.2))
    stack = accounts.stack
    give(accounts, "member", project_id="p")
    made = subscribe(accounts)
    first, _good = given(accounts, FAILS, PAYS)
    owed = owes(stack, made, first)
    hear_failures(stack)
    wait_until(lambda: is_done(stack), 20)
    assert (is_unmatched(accounts, made), asked(stack, owed), tries(stack)) == (True, [], [])


def test_a_payer_who_becomes_a_member_while_a_card_is_tried_changes_nothing_of_what_is_owed(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cards and their order are the customer's; who is no payer any more only doesn't change them."""
    stack, pay = accounts.stack, ChargeCalls.pay
    give(accounts, "payer", user_id="bob")
    first, second, third, last = given(accounts, FAILS, FAILS, PAYS, PAYS)

    def late(self: ChargeCalls, invoice_id: str, payment_method: str, **sent: Any) -> str:
        if payment_method == second:
            assert give(accounts, "member", user_id="ann").status == 200
        return pay(self, invoice_id, payment_method, **sent)

    monkeypatch.setattr(ChargeCalls, "pay", late)
    owed = owes(stack, accounts.id_of("ann"), first)
    wait_until(stack.start_worker("events").is_ready)
    hear_failures(stack)
    wait_until(lambda: is_over(stack), 20)
    assert asked(stack, owed) == [second, third]
    is_paid_once(stack, owed)
    order = {"payment_methods": [last, first, second, third]}
    assert ask(accounts, f"{CARDS}/order?user_id=ann", token_of("ann"), "PUT", order).status == 403


def test_who_is_being_erased_leaves_what_others_owe_there_to_be_charged(accounts: Accounts) -> None:
    """Theirs alone isn't."""
    stack = accounts.stack
    give(accounts, "payer", user_id="bob")
    bobs, anns = subscribe(accounts, **metadata(accounts, "bob")), accounts.id_of("ann")
    first, good = given(accounts, FAILS, PAYS)
    owed = {whose: owes(stack, each, first) for whose, each in (("bob", bobs), ("ann", anns))}
    stack.rows("UPDATE provisionings SET state = 'erasing' WHERE user_id = 'ann'")
    hear_failures(stack)
    wait_until(lambda: is_over(stack), 20)
    assert (asked(stack, owed["bob"]), asked(stack, owed["ann"])) == ([good], [])
    assert [invoice(stack, owed[each])["status"] for each in ("bob", "ann")] == ["paid", "open"]


def test_a_member_takes_no_card_away_and_loses_their_subscription_by_an_admin_alone(accounts: Accounts) -> None:
    stack = accounts.stack
    give(accounts, "payer", user_id="bob")
    bobs, anns = subscribe(accounts, **metadata(accounts, "bob")), accounts.id_of("ann")
    (card,) = given(accounts, PAYS)
    give(accounts, "member", user_id="ann")
    for token in (token_of("ann"), ADMIN.token):
        refused = take_away(accounts, card, token)
        assert (refused.status, refused.body["code"]) == (403, "not_payer")
    assert stack.call_stripe("GET", f"/v1/payment_methods/{card}")["customer"] == accounts.customer("ann")["id"]
    assert accounts.delete("ann", token_of("ann")).status == 403
    assert accounts.at_stripe("ann")["status"] == "trialing"
    assert accounts.delete("ann").status == 204
    assert [stack.call_stripe("GET", f"/v1/subscriptions/{each}")["status"] for each in (anns, bobs)] == [
        "canceled", "trialing",
    ]  # fmt: skip
    assert stack.subscription_row(bobs)["owner_user_id"] == "bob"
    assert stack.subscription_row(anns) == {}
