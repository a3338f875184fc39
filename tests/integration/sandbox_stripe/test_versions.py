"""API versions: one for all that is ours, and the shape of before 2025-03-31 for whoever asks for it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from sandbox.stripe import objects
from sandbox.stripe.control import Control
from tests.integration.sandbox_stripe.raw import Raw
from tests.integration.sandbox_stripe.receiver import Receiver
from tests.stripe_spec import endpoint_versions, version
from worker.stripe_api.credentials import API_VERSION

OLD = "2024-06-20"
ROOT = Path(__file__).parents[3]


@pytest.fixture
def subscription(raw: Raw, price: str) -> dict[str, Any]:
    customer = raw.post("/v1/customers").body["id"]
    terms = {"customer": customer, "items[0][price]": price, "trial_period_days": 31, "metadata[user_id]": "u1"}
    body: dict[str, Any] = raw("POST", "/v1/subscriptions", terms).body
    return body


def test_one_version_is_sent_described_modelled_and_made_into_events(raw: Raw) -> None:
    raw.post("/v1/customers")
    event = raw.get("/v1/events").body["data"][0]
    assert API_VERSION == version() == objects.API_VERSION == event["api_version"]
    assert raw.get("/v1/account").headers["Stripe-Version"] == API_VERSION
    assert API_VERSION in endpoint_versions()


def test_the_worker_names_its_version_once() -> None:
    version = re.compile(r"[\"']20\d\d-\d\d-\d\d\.[a-z]+[\"']")
    named = {path.name: version.findall(path.read_text()) for path in (ROOT / "worker").rglob("*.py")}
    assert {name: found for name, found in named.items() if found} == {"credentials.py": [f'"{API_VERSION}"']}


def test_an_older_version_has_the_period_on_the_subscription(raw: Raw, subscription: dict[str, Any]) -> None:
    path = f"/v1/subscriptions/{subscription['id']}"
    item = subscription["items"]["data"][0]
    assert "current_period_end" not in subscription
    old = raw("GET", path, Stripe_Version=OLD)
    assert old.headers["Stripe-Version"] == OLD
    period = {name: item[name] for name in ("current_period_start", "current_period_end")}
    assert old.body == {**subscription, **period}
    listed = raw("GET", "/v1/subscriptions", Stripe_Version="2025-02-24.acacia").body["data"][0]
    assert listed == old.body
    assert raw("GET", path, Stripe_Version="2025-03-31.basil").body == subscription


def test_an_older_version_names_an_invoices_subscription_itself(raw: Raw, subscription: dict[str, Any]) -> None:
    path = f"/v1/invoices/{subscription['latest_invoice']}"
    new, old = raw.get(path).body, raw("GET", path, Stripe_Version=OLD).body
    assert "subscription" not in new
    assert (old["subscription"], old["paid"]) == (subscription["id"], True)
    assert old["subscription_details"] == {"metadata": {"user_id": "u1"}}
    line = old["lines"]["data"][0]
    assert (line["type"], line["price"]["lookup_key"], line["proration"]) == ("subscription", "pending", False)
    assert {"parent", "pricing"} & (old.keys() | line.keys()) == set()


def test_what_is_expanded_is_as_old_as_the_rest(raw: Raw, subscription: dict[str, Any]) -> None:
    paths = {"expand[0]": "latest_invoice.subscription"}
    old = raw("GET", f"/v1/subscriptions/{subscription['id']}", paths, Stripe_Version=OLD).body
    assert old["latest_invoice"]["subscription"]["current_period_end"] == old["current_period_end"]
    wanted = {"expand[0]": "subscriptions"}
    customer = raw("GET", f"/v1/customers/{subscription['customer']}", wanted, Stripe_Version=OLD).body
    assert customer["subscriptions"]["data"][0]["current_period_end"] == old["current_period_end"]


def test_an_event_keeps_the_version_that_its_account_had(
    raw: Raw, control: Control, subscription: dict[str, Any]
) -> None:
    control.account_version(OLD)
    later = subscription["trial_end"] + 86_400
    raw.post(f"/v1/subscriptions/{subscription['id']}", trial_end=later)
    control.account_version(API_VERSION)
    listed = raw("GET", "/v1/events", {"type": "customer.subscription.*"}).body["data"]
    assert [event["api_version"] for event in listed] == [OLD, API_VERSION]
    changed, created = (event["data"] for event in listed)
    assert changed["object"]["current_period_end"] == later
    assert changed["previous_attributes"]["current_period_end"] == subscription["trial_end"]
    assert "current_period_start" not in changed["previous_attributes"]
    assert "current_period_end" not in created["object"]
    again = raw("GET", f"/v1/events/{listed[0]['id']}", Stripe_Version=API_VERSION).body
    assert again == listed[0]


def test_an_endpoint_gets_its_own_version_beside_one_that_gets_the_accounts(
    raw: Raw, subscription: dict[str, Any]
) -> None:
    with Receiver() as receiver:
        for api_version in ({"api_version": OLD}, {}):
            terms = {"url": receiver.url, "enabled_events[0]": "customer.subscription.deleted", **api_version}
            raw("POST", "/v1/webhook_endpoints", terms)
        raw("DELETE", f"/v1/subscriptions/{subscription['id']}")
        bodies = [json.loads(each.body) for each in receiver.wait(2)]
    shapes = {body["api_version"]: "current_period_end" in body["data"]["object"] for body in bodies}
    assert shapes == {OLD: True, API_VERSION: False}
    assert len({body["id"] for body in bodies}) == 1


def test_all_that_is_listed_is_had_in_the_older_shape(raw: Raw, subscription: dict[str, Any]) -> None:
    raw("DELETE", f"/v1/customers/{subscription['customer']}")
    for path in ("customers", "prices", "products", "subscriptions", "invoices", "events", "webhook_endpoints"):
        assert raw("GET", f"/v1/{path}", Stripe_Version=OLD).status == 200, path
    ended = raw("GET", "/v1/subscriptions/search", {"query": "status:'canceled'"}, Stripe_Version=OLD).body["data"]
    assert [row["current_period_end"] for row in ended] == [subscription["trial_end"]]
    assert raw("GET", f"/v1/customers/{subscription['customer']}", Stripe_Version=OLD).body["deleted"]
