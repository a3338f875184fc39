"""What Stripe's refusals mean to the worker, by the worker's own translation of them."""

from __future__ import annotations

import pytest

from tests.contract.account import Account, Answer
from tests.contract.life import DAY, Makes
from worker.stripe_api.errors import (
    CursorGone,
    CustomerGone,
    FieldRefused,
    KeyBurnt,
    Refused,
    SharedRefusal,
    TrialPassed,
    Unauthorized,
)
from worker.stripe_api.translate import translate

NONE = "subkeepercontract"


def _meaning(answer: Answer, operation: str) -> type[Exception]:
    assert answer.raised is not None, f"taken with {answer.status}"
    return type(translate(answer.raised, operation))


@pytest.mark.parametrize(("field", "value"), [("email", "no address"), ("name", "n" * 300)], ids=["email", "name"])
def test_a_profiles_field_that_is_refused_is_named(account: Account, field: str, value: str) -> None:
    assert _meaning(account.ask("post", "/v1/customers", {field: value}), "customers.create") is FieldRefused


def test_a_subscription_says_whether_its_trial_its_customer_or_its_price_is_at_fault(
    account: Account, makes: Makes, free: str
) -> None:
    customer, gone, now = makes.customer()["id"], makes.customer()["id"], account.now()
    account.delete(f"/v1/customers/{gone}")
    sent = {"customer": customer, "items": [{"price": free}]}
    refused = {
        TrialPassed: {**sent, "trial_end": now - DAY},
        CustomerGone: {**sent, "customer": gone},
        SharedRefusal: {**sent, "items": [{"price": f"price_{NONE}"}]},
    }
    answers = [account.ask("post", "/v1/subscriptions", each) for each in refused.values()]
    assert [_meaning(each, "subscriptions.create") for each in answers] == list(refused)


def test_what_never_was_is_missing(account: Account) -> None:
    customer = account.ask("get", f"/v1/customers/cus_{NONE}")
    assert (customer.status, _meaning(customer, "customers.retrieve")) == (404, CustomerGone)
    subscription = account.ask("get", f"/v1/subscriptions/sub_{NONE}")
    assert (subscription.status, _meaning(subscription, "subscriptions.retrieve")) == (404, Refused)
    listed = account.ask("get", "/v1/subscriptions", {"customer": f"cus_{NONE}", "status": "all"})
    assert _meaning(listed, "subscriptions.list") is CustomerGone


def test_a_list_does_not_go_on_after_what_was_deleted(account: Account, makes: Makes) -> None:
    customer = makes.customer()["id"]
    account.delete(f"/v1/customers/{customer}")
    refused = account.ask("get", "/v1/customers", {"starting_after": customer})
    assert _meaning(refused, "customers.list") is CursorGone
    refused = account.ask("get", "/v1/events", {"starting_after": f"evt_{NONE}"})
    assert _meaning(refused, "events.list") is CursorGone


def test_a_key_with_other_parameters_and_a_refusal_from_memory_are_a_burnt_key(
    account: Account, makes: Makes, free: str
) -> None:
    customer = makes.customer()["id"]
    key, sent = makes.word(), {"customer": customer, "items": [{"price": free}], "trial_end": account.now() - DAY}
    first, again = (account.ask("post", "/v1/subscriptions", sent, key=key) for _ in range(2))
    other = account.ask("post", "/v1/subscriptions", {"customer": customer, "items": [{"price": free}]}, key=key)
    met = [_meaning(each, "subscriptions.create") for each in (first, again, other)]
    assert met == [TrialPassed, KeyBurnt, KeyBurnt]


def test_a_key_that_stripe_does_not_know_is_refused_as_a_key(account: Account) -> None:
    refused = account.ask("get", "/v1/customers", {"limit": 1}, secret=f"sk_test_{NONE}")
    assert (refused.status, _meaning(refused, "customers.list")) == (401, Unauthorized)
