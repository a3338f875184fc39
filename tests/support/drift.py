"""What Stripe and our rows say of the same subscriptions, without asking the worker's own comparison."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.support.stack import Stack
from worker.domain.invoice import charge
from worker.domain.stripe_facts import FetchedSubscription
from worker.domain.subscription import charge_columns
from worker.stripe_api.parsing import fetched_subscription


class Drift(NamedTuple):
    """Columns of a subscription's row that aren't as Stripe has them."""

    subscription: str
    ours: dict[str, Any]
    theirs: dict[str, Any]


def at_stripe(stack: Stack) -> Iterator[FetchedSubscription]:
    """All subscriptions, page by page."""
    path, after = "/v1/subscriptions?status=all&limit=100&expand[]=data.latest_invoice&expand[]=data.customer", ""
    while True:
        page = stack.call_stripe("GET", path + after)
        yield from (fetched_subscription(each) for each in page["data"])
        if not page["has_more"]:
            return
        after = f"&starting_after={page['data'][-1]['id']}"


def drift(stack: Stack) -> list[Drift]:
    """What differs, of subscriptions that all are of the Pending plan."""
    rows = {row["stripe_subscription_id"]: row for row in stack.rows("SELECT * FROM billing_subscriptions")}
    differing = []
    for found in at_stripe(stack):
        told = charge(found.latest_invoice) if found.latest_invoice is not None else None
        wanted: dict[str, Any] = found.fact.columns("pending")
        wanted["customer_default_payment_method"] = found.customer_default
        if told is not None:
            paid = charge_columns(told)["charge_invoice_paid"]
            wanted |= {"charge_invoice": told.invoice_id, "charge_invoice_paid": paid}
        ours = {name: rows.get(found.fact.id, {}).get(name) for name in wanted}
        if ours != wanted:
            differing.append(Drift(found.fact.id, ours, wanted))
    return differing
