"""Where a person goes on from the demo: Stripe's pages of some who signed up, and what shows the row that follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.demo.people import AtStripe

_UPDATE, _CANCEL = "features[subscription_update]", "features[subscription_cancel]"


@dataclass(frozen=True, slots=True)
class Door:
    """A page of `user_id`'s, and what one does there."""

    user_id: str
    does: str
    url: str


def doors(stripe: AtStripe, clock_id: str, price: str) -> list[Door]:
    """One for each state that somebody is in: of those who are active the portal, of the others Checkout."""
    found: dict[str, dict[str, Any]] = {}
    for status in ("active", "paused", "canceled"):
        listed = stripe.pages("/v1/subscriptions", ("test_clock", clock_id), ("status", status))
        staying = (each for each in listed if status == "canceled" or each["cancel_at"] is None)
        first = min(staying, key=lambda each: str(each["metadata"]["user_id"]), default=None)
        if first is not None:
            found[status] = first
    configuration = _configuration(stripe)
    made = []
    for status, subscription in found.items():
        customer = str(subscription["customer"])
        portal = _portal(stripe, customer, configuration)
        if status == "active":
            made.append(_door(subscription, "cancels, changes plan, changes cards", portal))
        elif status == "paused":
            setup = {"mode": "setup", "currency": "usd"}
            made.append(_door(subscription, "leaves a card", _checkout(stripe, customer, portal, setup)))
        else:
            again = {
                "mode": "subscription",
                "line_items[0][price]": price,
                "line_items[0][quantity]": "1",
                "subscription_data[metadata][user_id]": str(subscription["metadata"]["user_id"]),
            }
            made.append(_door(subscription, "subscribes again", _checkout(stripe, customer, portal, again)))
    return made


def _door(subscription: Mapping[str, Any], does: str, url: str) -> Door:
    return Door(str(subscription["metadata"]["user_id"]), does, url)


def _configuration(stripe: AtStripe) -> str:
    form = {
        f"{_UPDATE}[enabled]": "true",
        f"{_UPDATE}[default_allowed_updates][0]": "price",
        f"{_UPDATE}[proration_behavior]": "always_invoice",
        f"{_UPDATE}[trial_update_behavior]": "continue_trial",
        f"{_CANCEL}[enabled]": "true",
        "features[payment_method_update][enabled]": "true",
        "features[invoice_history][enabled]": "true",
    }
    for place, each in enumerate(stripe.pages("/v1/prices", ("active", "true"))):
        form[f"{_UPDATE}[products][{place}][product]"] = str(each["product"])
        form[f"{_UPDATE}[products][{place}][prices][0]"] = str(each["id"])
    return str(stripe.ask("POST", "/v1/billing_portal/configurations", **form)["id"])


def _portal(stripe: AtStripe, customer: str, configuration: str) -> str:
    made = stripe.ask("POST", "/v1/billing_portal/sessions", customer=customer, configuration=configuration)
    return str(made["url"])


def _checkout(stripe: AtStripe, customer: str, then: str, form: Mapping[str, str]) -> str:
    """Whoever is done, or goes back, comes to the portal, which shows what came of it."""
    made = stripe.ask("POST", "/v1/checkout/sessions", customer=customer, success_url=then, cancel_url=then, **form)
    return str(made["url"])
