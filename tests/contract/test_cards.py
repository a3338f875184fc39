"""A customer's cards: which events tell of them, what lists say at once, and what a card's end takes along."""

from __future__ import annotations

from tests.contract.account import Account
from tests.contract.life import Makes, subscribe


def test_cards_are_listed_at_once_and_told_of_by_their_events(account: Account, makes: Makes) -> None:
    """By the list an order of one's own is kept true; of a detached card the event tells whose it was."""
    customer = makes.customer()["id"]
    first, second = (
        account.post(f"/v1/payment_methods/{name}/attach", {"customer": customer})["id"]
        for name in ("pm_card_visa", "pm_card_mastercard")
    )
    path = f"/v1/customers/{customer}/payment_methods"
    assert {each["id"] for each in account.all(path, {"type": "card"})} == {first, second}
    assert account.event(second, "payment_method.attached")["data"]["object"]["customer"] == customer
    account.post(f"/v1/payment_methods/{first}/detach")
    detached = account.event(first, "payment_method.detached")["data"]
    assert (detached["object"]["customer"], detached["previous_attributes"]["customer"]) == (None, customer)
    assert [each["id"] for each in account.all(path, {"type": "card"})] == [second]


def test_a_card_that_was_detached_is_no_default_and_is_not_attached_again(account: Account, makes: Makes) -> None:
    customer = makes.payer()
    (card,) = account.all("/v1/payment_methods", {"customer": customer["id"], "type": "card"})
    account.post(f"/v1/payment_methods/{card['id']}/detach")
    settings = account.get(f"/v1/customers/{customer['id']}")["invoice_settings"]
    assert settings["default_payment_method"] is None
    refused = account.ask("post", f"/v1/payment_methods/{card['id']}/attach", {"customer": customer["id"]})
    assert refused.status == 400


def test_a_card_that_is_nobodys_is_not_detached_again(account: Account, makes: Makes) -> None:
    """In words alone: whose it is by then tells that it is gone."""
    customer = makes.payer()["id"]
    (card,) = account.all("/v1/payment_methods", {"customer": customer, "type": "card"})
    path = f"/v1/payment_methods/{card['id']}"
    assert account.post(f"{path}/detach")["customer"] is None
    assert account.ask("post", f"{path}/detach").status == 400
    assert account.get(path)["customer"] is None


def test_another_customers_card_is_refused_as_attached_and_as_a_default(account: Account, makes: Makes) -> None:
    owner, other = makes.customer()["id"], makes.customer()["id"]
    card = account.post("/v1/payment_methods/pm_card_visa/attach", {"customer": owner})["id"]
    taken = account.ask("post", f"/v1/payment_methods/{card}/attach", {"customer": other})
    settings = {"invoice_settings": {"default_payment_method": card}}
    assert (taken.status, account.ask("post", f"/v1/customers/{other}", settings).status) == (400, 400)


def test_a_customers_cards_are_listed_newest_first(account: Account, makes: Makes) -> None:
    customer = makes.customer()
    path = "/v1/payment_methods/pm_card_visa/attach"
    first = account.post(path, {"customer": customer["id"]})
    account.eventually("it is a later second at Stripe", lambda: account.now() > first["created"] + 1)
    second = account.post(path, {"customer": customer["id"]})
    listed = account.all("/v1/payment_methods", {"customer": customer["id"]})
    assert [each["id"] for each in listed] == [second["id"], first["id"]]


def test_a_default_card_is_told_by_an_event_and_with_a_subscriptions_customer(
    account: Account, makes: Makes, free: str
) -> None:
    """Whether somebody could be charged rests on it."""
    customer = makes.customer()
    card = account.post("/v1/payment_methods/pm_card_visa/attach", {"customer": customer["id"]})["id"]
    account.post(f"/v1/customers/{customer['id']}", {"invoice_settings": {"default_payment_method": card}})
    told = account.event(customer["id"], "customer.updated")["data"]["object"]
    assert told["invoice_settings"]["default_payment_method"] == card
    made = subscribe(account, customer, free)
    found = account.get(f"/v1/subscriptions/{made['id']}", {"expand": ["customer"]})
    assert found["default_payment_method"] is None
    assert found["customer"]["invoice_settings"]["default_payment_method"] == card
