"""An event of Stripe's, as far as we keep it: identifiers, states and times, nothing personal."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

TYPES = (
    "customer.created",
    "customer.updated",
    "customer.deleted",
    "customer.subscription.created",
    "customer.subscription.updated",
    "customer.subscription.deleted",
    "customer.subscription.paused",
    "customer.subscription.resumed",
    "customer.subscription.trial_will_end",
    "invoice.paid",
    "invoice.payment_failed",
    "invoice.payment_action_required",
    "invoice.voided",
    "invoice.marked_uncollectible",
    "checkout.session.completed",
    "checkout.session.expired",
    "payment_method.attached",
    "payment_method.detached",
)
"""What is polled for and what the webhook endpoint is subscribed to; `GET /v1/events` takes at most 20 types
(https://docs.stripe.com/api/events/list)."""


class Event(NamedTuple):
    """`created`: when Stripe made it (UTC, whole seconds; ids have no order). `api_version`: at which `object` was
    rendered then, whatever is asked for later. `source`: `webhook`, `poll` or `replay`.

    `object` is a snapshot of what it is about, and `previous` holds what was changed of it, both in the fields that we
    keep (`worker.events.envelope`).
    """

    id: str
    type: str
    created: datetime
    api_version: str | None
    livemode: bool
    source: str
    object: Mapping[str, Any]
    previous: Mapping[str, Any]

    @property
    def object_id(self) -> str:
        """Stripe's id of what the event is about."""
        found: str = self.object["id"]
        return found
