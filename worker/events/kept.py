"""What is kept of Stripe's objects: identifiers, states and times.

No personal data reaches the broker's disk, since only what is listed here does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from worker.domain.checkouts import CHECKOUT

LEAF: Final = None
"""A plain value; of an object that was expanded, its id."""

_OURS = {"subkeeper": LEAF, "user_id": LEAF, "project_id": LEAF}
_PERIOD = {"current_period_start": LEAF, "current_period_end": LEAF}
_ITEM = {"id": LEAF, "quantity": LEAF, **_PERIOD, "price": {"id": LEAF, "lookup_key": LEAF, "product": LEAF}}
_COMMON: Mapping[str, Any] = {
    "id": LEAF,
    "object": LEAF,
    "created": LEAF,
    "livemode": LEAF,
    "deleted": LEAF,
    "customer": LEAF,
    "test_clock": LEAF,
    "status": LEAF,
    "metadata": _OURS,
}

SUBSCRIPTION: Mapping[str, Any] = {
    **_COMMON,
    **_PERIOD,  # until 2025-03-31; on the items since
    "cancel_at": LEAF,
    "cancel_at_period_end": LEAF,
    "canceled_at": LEAF,
    "collection_method": LEAF,
    "default_payment_method": LEAF,
    "ended_at": LEAF,
    "items": {"has_more": LEAF, "data": [_ITEM]},
    "latest_invoice": LEAF,
    "pause_collection": {"behavior": LEAF, "resumes_at": LEAF},
    "pending_setup_intent": LEAF,
    "schedule": LEAF,
    "start_date": LEAF,
    "trial_end": LEAF,
    "trial_start": LEAF,
}
INVOICE: Mapping[str, Any] = {
    **_COMMON,
    "amount_due": LEAF,
    "attempt_count": LEAF,
    "attempted": LEAF,
    "billing_reason": LEAF,
    "next_payment_attempt": LEAF,
    "paid": LEAF,
    "parent": {"type": LEAF, "subscription_details": {"subscription": LEAF}},
    "status_transitions": {
        "finalized_at": LEAF,
        "marked_uncollectible_at": LEAF,
        "paid_at": LEAF,
        "voided_at": LEAF,
    },
    "subscription": LEAF,  # until 2025-03-31; under its parent since
    "total": LEAF,
}

KEPT: Mapping[str, Mapping[str, Any]] = {
    "customer.subscription": SUBSCRIPTION,
    "customer": {**_COMMON, "invoice_settings": {"default_payment_method": LEAF}},
    "invoice": INVOICE,
    "checkout.session": {
        **_COMMON,
        "metadata": {**_OURS, CHECKOUT: LEAF},
        "mode": LEAF,
        "payment_status": LEAF,
        "setup_intent": LEAF,
        "subscription": LEAF,
    },
    "payment_method": {**_COMMON, "type": LEAF},
}
"""What is kept of the objects of each family of event types."""
