"""What Stripe remembers of a request under its idempotency key."""

from __future__ import annotations

import time

from tests.contract.account import Account
from tests.contract.life import Makes, subscribe


def test_the_same_request_under_its_key_has_the_first_answer_and_says_so(account: Account, makes: Makes) -> None:
    key, email = makes.word(), f"{makes.word()}@example.com"
    first, again = (account.ask("post", "/v1/customers", {"email": email, "name": "Ada"}, key=key) for _ in range(2))
    makes.gone("/v1/customers", first.body)
    assert (first.replayed, again.replayed) == (False, True)
    assert first.body == again.body
    assert [each["id"] for each in account.all("/v1/customers", {"email": email})] == [first.body["id"]]


def test_a_key_with_other_parameters_is_an_idempotency_error(account: Account, makes: Makes) -> None:
    key = makes.word()
    makes.gone("/v1/customers", account.post("/v1/customers", {"name": "Ada"}, key=key))
    refused = account.ask("post", "/v1/customers", {"name": "Eve"}, key=key)
    assert (refused.status, refused.error["type"], refused.replayed) == (400, "idempotency_error", False)


def test_a_refusal_by_what_is_at_stripe_is_kept_after_its_cause_is_gone(
    account: Account, makes: Makes, product: str
) -> None:
    """Hence a refusal from memory burns its key, whatever it says."""
    price = makes.price(product, 0, active=False)
    customer, key = makes.customer(), makes.word()
    asked = {"customer": customer["id"], "items": [{"price": price["id"]}]}
    refused = account.ask("post", "/v1/subscriptions", asked, key=key)
    account.post(f"/v1/prices/{price['id']}", {"active": True})
    again = account.ask("post", "/v1/subscriptions", asked, key=key)
    assert (refused.status, refused.replayed) == (400, False)
    assert (again.status, again.replayed, again.error["message"]) == (400, True, refused.error["message"])
    assert subscribe(account, customer, price["id"])["status"] == "active"


def test_a_declined_card_is_kept_under_its_key(account: Account, makes: Makes) -> None:
    """Hence a 402 from memory is that decline and no burnt key."""
    customer, key = makes.customer(), makes.word()
    path = "/v1/payment_methods/pm_card_chargeDeclined/attach"
    first, again = (account.ask("post", path, {"customer": customer["id"]}, key=key) for _ in range(2))
    assert [(each.status, each.error["code"]) for each in (first, again)] == [(402, "card_declined")] * 2
    assert (first.replayed, again.replayed) == (False, True)


def test_a_request_that_fails_validation_leaves_its_key_free(account: Account, makes: Makes) -> None:
    key = makes.word()
    refused = account.ask("post", "/v1/customers", {"colour": "red"}, key=key)
    assert (refused.status, refused.error["code"]) == (400, "parameter_unknown")
    taken = account.ask("post", "/v1/customers", {"name": "Ada"}, key=key)
    makes.gone("/v1/customers", taken.body)
    assert (taken.status, taken.replayed) == (200, False)


def test_what_is_created_is_dated_between_sending_and_the_answers_date(account: Account, makes: Makes) -> None:
    """What `seen_from` and `seen_to` of an answer rest on: `Date` - elapsed - 1 s, and `Date` + 1 s."""
    began = time.monotonic()
    answer = account.ask("post", "/v1/customers", {"name": "Ada"})
    elapsed = time.monotonic() - began
    makes.gone("/v1/customers", answer.body)
    assert answer.date - elapsed - 1 <= answer.body["created"] <= answer.date + 1
