"""Bad parameters: each refused with Stripe's status, code and parameter."""

from __future__ import annotations

import time

import pytest

from tests.integration.sandbox_stripe.raw import Raw

CUSTOMERS = "/v1/customers"


@pytest.mark.parametrize(
    ("params", "code", "param"),
    [
        ({"colour": "red"}, "parameter_unknown", "colour"),
        ({"email": "ada"}, "email_invalid", "email"),
        ({"email": "a da@example.com"}, "email_invalid", "email"),
        ({"email": "a" * 505 + "@b.co.uk"}, None, "email"),
        ({"name": "n" * 257}, None, "name"),
        ({"metadata[" + "k" * 41 + "]": "v"}, None, "metadata"),
        ({"metadata[k]": "v" * 501}, None, "metadata[k]"),
        ({f"metadata[k{n}]": "v" for n in range(51)}, None, "metadata"),
        ({"address[planet]": "Mars"}, "parameter_unknown", "address[planet]"),
        ({"balance": "much"}, "parameter_invalid_integer", "balance"),
        ({"name[first]": "Ada"}, None, "name"),
        ({"expand[]": "nothing"}, None, "expand"),
    ],
)
def test_a_customer_is_refused(raw: Raw, params: dict[str, str], code: str | None, param: str) -> None:
    refused = raw("POST", CUSTOMERS, params)
    assert (refused.status, refused.body["error"].get("code"), refused.body["error"]["param"]) == (400, code, param)


def test_a_customer_at_every_limit_is_taken(raw: Raw) -> None:
    params = {f"metadata[{n:040}]": "v" * 500 for n in range(50)}
    taken = raw("POST", CUSTOMERS, {"name": "n" * 256, "email": "a" * 500 + "@example.com", **params})
    assert taken.status == 200, taken.body


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"customer": ""}, "parameter_invalid_empty", "customer"),
        ({"customer": "cus_none"}, "resource_missing", "customer"),
        ({"items[0][price]": "price_none"}, "resource_missing", "items[0][price]"),
        ({"items[1][price]": "price_none"}, "resource_missing", "items[1][price]"),
        ({"items[0][colour]": "red"}, "parameter_unknown", "items[0][colour]"),
        ({"trial_end": "soon"}, None, "trial_end"),
        ({"trial_end": str(int(time.time()) - 10)}, None, "trial_end"),
        ({"trial_end": str(int(time.time()) + 731 * 86_400)}, None, "trial_end"),
        ({"trial_end": str(int(time.time()) + 86_400), "trial_period_days": "3"}, None, "trial_end"),
        ({"currency": "eur"}, None, "currency"),
        ({"billing_mode[type]": "odd"}, None, "billing_mode[type]"),
        ({"trial_settings[end_behavior][x]": "y"}, "parameter_missing", None),
    ],
)
def test_a_subscription_is_refused(raw: Raw, price: str, change: dict[str, str], code: str | None, param: str) -> None:
    customer = raw.post(CUSTOMERS).body["id"]
    refused = raw("POST", "/v1/subscriptions", {"customer": customer, "items[0][price]": price, **change})
    error = refused.body["error"]
    assert (refused.status, error.get("code")) == (400, code)
    assert param in (None, error["param"])


def test_a_subscription_needs_its_customer_and_items(raw: Raw) -> None:
    missing = raw.post("/v1/subscriptions").body["error"]
    assert (missing["code"], missing["param"]) == ("parameter_missing", "customer")


def test_an_inactive_price_takes_no_subscriptions(raw: Raw, price: str) -> None:
    customer = raw.post(CUSTOMERS).body["id"]
    raw.post(f"/v1/prices/{price}", active="false")
    refused = raw("POST", "/v1/subscriptions", {"customer": customer, "items[0][price]": price})
    assert (refused.status, refused.body["error"]["param"]) == (400, "items[0][price]")


@pytest.mark.parametrize("limit", ["0", "101", "ten"])
def test_a_page_has_1_to_100_objects(raw: Raw, limit: str) -> None:
    assert raw.get(CUSTOMERS, limit=limit).body["error"]["param"] == "limit"


def test_a_cursor_must_exist(raw: Raw) -> None:
    refused = raw.get(CUSTOMERS, starting_after="cus_none")
    assert (refused.status, refused.body["error"]["param"]) == (400, "starting_after")
