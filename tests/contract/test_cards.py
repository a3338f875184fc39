"""What our rows of payment methods, and whether somebody could be charged, rest on."""

from __future__ import annotations

from tests.contract.account import Account
from tests.contract.life import Makes, subscribe


def test_a_detached_card_names_its_customer_in_what_was_before_and_can_never_be_attached_again(
    account: Account, makes: Makes
) -> None:
    customer = makes.customer()
    card = account.post("/v1/payment_methods/pm_card_visa/attach", {"customer": customer["id"]})["id"]
    account.post(f"/v1/payment_methods/{card}/detach")
    told = account.event(card, "payment_method.detached")["data"]
    assert (told["object"]["customer"], told["previous_attributes"]["customer"]) == (None, customer["id"])
    assert account.event(card, "payment_method.attached")["data"]["object"]["customer"] == customer["id"]
    assert list(account.all("/v1/payment_methods", {"customer": customer["id"]})) == []
    again = account.ask("post", f"/v1/payment_methods/{card}/attach", {"customer": customer["id"]})
    assert again.status == 400


def test_a_customers_cards_are_listed_newest_first(account: Account, makes: Makes) -> None:
    customer = makes.customer()
    path = "/v1/payment_methods/pm_card_visa/attach"
    first = account.post(path, {"customer": customer["id"]})
    account.eventually("it is a later second at Stripe", lambda: account.now() > first["created"] + 1)
    second = account.post(path, {"customer": customer["id"]})
    listed = account.all("/v1/payment_methods", {"customer": customer["id"]})
    assert [each["id"] for each in listed] == [second["id"], first["id"]]


def test_a_default_card_is_told_by_an_event_and_gone_with_the_card(account: Account, makes: Makes, free: str) -> None:
    customer = makes.customer()
    card = account.post("/v1/payment_methods/pm_card_visa/attach", {"customer": customer["id"]})["id"]
    path = f"/v1/customers/{customer['id']}"
    account.post(path, {"invoice_settings": {"default_payment_method": card}})
    told = account.event(customer["id"], "customer.updated")["data"]["object"]
    assert told["invoice_settings"]["default_payment_method"] == card
    made = subscribe(account, customer, free)
    found = account.get(f"/v1/subscriptions/{made['id']}", {"expand": ["customer"]})
    assert found["default_payment_method"] is None
    assert found["customer"]["invoice_settings"]["default_payment_method"] == card
    account.post(f"/v1/payment_methods/{card}/detach")
    assert account.get(path)["invoice_settings"]["default_payment_method"] is None
