"""What the customer portal may let users do: what the API lets them do, and by the same rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from worker.domain.account_changes import ChangeRefused

MOST_PRODUCTS = 10
"""That one configuration can name (https://docs.stripe.com/api/customer_portal/configurations/create)."""


class Choice(NamedTuple):
    """A plan that users may choose, as Stripe has it."""

    product_id: str
    price_id: str


def features(choices: Sequence[Choice], proration: str) -> Mapping[str, Any]:
    """A trial goes on when its plan changes (the portal's own default ends it), and what is canceled ends with its
    period. Changes of plans need changes of cards (Stripe's rule)."""
    update: dict[str, Any] = {"enabled": bool(choices)}
    if choices:
        update |= {
            "default_allowed_updates": ["price"],
            "products": [{"product": each.product_id, "prices": [each.price_id]} for each in sorted(choices)],
            "proration_behavior": proration,
            "trial_update_behavior": "continue_trial",
        }
    return {
        "customer_update": {"enabled": False},
        "invoice_history": {"enabled": True},
        "payment_method_update": {"enabled": True},
        "subscription_cancel": {"enabled": True, "mode": "at_period_end", "proration_behavior": "none"},
        "subscription_update": update,
    }


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """The names of what isn't as wanted; what isn't spoken of may be anything."""
    differing = []
    for feature, settings in wanted.items():
        theirs = found.get(feature) or {}
        differing += [
            f"{feature}.{name}" for name, value in settings.items() if _plain(theirs.get(name)) != _plain(value)
        ]
    return differing


def _plain(value: Any) -> Any:
    """Lists have no order, and of a product counts which prices it may be had for."""
    if isinstance(value, list):
        return sorted(str(_plain(each)) for each in value)
    return (value["product"], sorted(value["prices"])) if isinstance(value, Mapping) else value


# Its pages


class Intent(StrEnum):
    CANCEL = "cancel"
    UPDATE = "update"
    PAYMENT_METHOD = "payment_method"


FLOWS: Mapping[Intent, str] = {
    Intent.CANCEL: "subscription_cancel",
    Intent.UPDATE: "subscription_update",
    Intent.PAYMENT_METHOD: "payment_method_update",
}
"""Stripe's names (https://docs.stripe.com/customer-management/portal-deep-links)."""

PORTAL_UPDATES = frozenset({"trialing", "active", "past_due"})


def portal_refusal(intent: Intent) -> ChangeRefused:
    """Why the portal can't do it, in either Stripe's words or our rules."""
    if intent is Intent.UPDATE:
        detail = "the portal can't change this subscription's plan: POST /billing/subscriptions can"
        return ChangeRefused("portal_cannot_update", detail)
    if intent is Intent.CANCEL:
        return ChangeRefused("portal_cannot_cancel", "it has ended, is to end already, or can't be canceled there")
    return ChangeRefused("refused", "Stripe refuses it")


def portal_request(
    intent: Intent, customer_id: str, configuration_id: str, subscription_id: str | None, return_url: str
) -> Mapping[str, object]:
    flow = FLOWS[intent]
    about = {flow: {"subscription": subscription_id}} if intent is not Intent.PAYMENT_METHOD else {}
    after = {"type": "redirect", "redirect": {"return_url": return_url}}
    return {
        "customer": customer_id,
        "configuration": configuration_id,
        "return_url": return_url,
        "flow_data": {"type": flow, "after_completion": after, **about},
    }
