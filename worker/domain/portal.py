"""What the customer portal may let users do: what the API lets them do, and by the same rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

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
