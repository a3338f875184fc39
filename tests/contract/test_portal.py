"""The customer portal: what its configurations say where nobody said so, and which of its flows Stripe refuses."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.account import Account
from tests.contract.life import DAY, Makes, subscribe

SESSIONS = "/v1/billing_portal/sessions"


def _features(product: str, price: str, **update: Any) -> dict[str, Any]:
    products = [{"product": product, "prices": [price]}]
    chosen = {"enabled": True, "default_allowed_updates": ["price"], "products": products, **update}
    return {
        "payment_method_update": {"enabled": True},
        "subscription_cancel": {"enabled": True},
        "subscription_update": chosen,
    }


def _flow(customer: str, configuration: str, kind: str, subscription: str = "") -> dict[str, Any]:
    about = {kind: {"subscription": subscription}} if subscription else {}
    flow = {"type": kind, "after_completion": {"type": "portal_homepage"}, **about}
    return {"customer": customer, "configuration": configuration, "flow_data": flow}


def test_a_configuration_that_doesn_t_say_otherwise_ends_trials_and_is_not_the_default(
    account: Account, makes: Makes, product: str, paid: str
) -> None:
    """Hence ours says `continue_trial`, and is named with each session."""
    made = makes.portal(_features(product, paid))
    update, cancel = made["features"]["subscription_update"], made["features"]["subscription_cancel"]
    assert (made["active"], made["is_default"], cancel["mode"]) == (True, False, "at_period_end")
    assert (update["trial_update_behavior"], update["proration_behavior"]) == ("end_trial", "none")
    path = f"/v1/billing_portal/configurations/{made['id']}"
    kept = account.post(path, {"features": {"subscription_update": {"trial_update_behavior": "continue_trial"}}})
    update = kept["features"]["subscription_update"]
    assert (update["trial_update_behavior"], update["enabled"]) == ("continue_trial", True)
    assert [each["prices"] for each in update["products"]] == [[paid]]
    listed = account.all("/v1/billing_portal/configurations", {"active": True})
    assert made["id"] in [each["id"] for each in listed]


def test_changes_of_plans_need_changes_of_cards(account: Account, product: str, paid: str) -> None:
    features = {**_features(product, paid), "payment_method_update": {"enabled": False}}
    assert account.ask("post", "/v1/billing_portal/configurations", {"features": features}).status == 400


@pytest.mark.parametrize("kind", ["payment_method_update", "subscription_cancel", "subscription_update"])
def test_each_flow_has_a_url_and_is_refused_where_it_is_disabled(
    account: Account, makes: Makes, product: str, free: str, paid: str, kind: str
) -> None:
    customer = makes.customer()
    made = subscribe(account, customer, free, trial_end=account.now() + 31 * DAY)
    features = _features(product, paid)
    subscription = "" if kind == "payment_method_update" else made["id"]
    session = account.post(SESSIONS, _flow(customer["id"], makes.portal(features)["id"], kind, subscription))
    assert session["url"].startswith("http")
    assert session["flow"]["type"] == kind
    off = makes.portal({"invoice_history": {"enabled": True}})["id"]
    assert account.ask("post", SESSIONS, _flow(customer["id"], off, kind, subscription)).status == 400


def test_a_flow_is_refused_for_what_is_canceling_has_ended_or_is_another_s(
    account: Account, makes: Makes, product: str, free: str, paid: str
) -> None:
    configuration = makes.portal(_features(product, paid))["id"]
    customer, other = makes.customer(), makes.customer()
    made = subscribe(account, customer, free, trial_end=account.now() + 31 * DAY)

    def refused(kind: str, owner: dict[str, Any]) -> bool:
        answer = account.ask("post", SESSIONS, _flow(owner["id"], configuration, kind, made["id"]))
        return answer.status in (400, 404)

    assert not refused("subscription_cancel", customer)
    assert refused("subscription_cancel", other)
    account.post(f"/v1/subscriptions/{made['id']}", {"cancel_at_period_end": True})
    assert refused("subscription_cancel", customer)
    account.delete(f"/v1/subscriptions/{made['id']}")
    assert refused("subscription_update", customer)
