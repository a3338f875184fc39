"""What an event says, read from the object that it carries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from worker.domain.event import Event
from worker.domain.invoice import Charge, charge
from worker.domain.stripe_facts import SubscriptionFact
from worker.domain.subscription import State
from worker.stripe_api.credentials import API_VERSION
from worker.stripe_api.errors import AnswerIncomplete
from worker.stripe_api.parsing import invoice_fact, subscription_fact

PlanOf = Callable[[str | None], str | None]
"""Our name of the plan whose price has a lookup key."""


class Said(NamedTuple):
    """An event, and what it says of a subscription (`subscription_id`; None: of none).

    `state` is None where the snapshot can't be compared with a row: rendered at another API version, incomplete, or of
    a test clock. `comparable`: the same of an invoice, and of a customer, whose default payment method is
    `customer_default`. `user_id`, `project_id` and `digest`: whose object it says it is.
    """

    event: Event
    subscription_id: str | None
    customer_id: str | None
    user_id: str | None
    digest: str | None
    state: State | None = None
    fact: SubscriptionFact | None = None
    charge: Charge | None = None
    comparable: bool = True
    customer_default: str | None = None
    project_id: str | None = None


def read(event: Event, plan_of: PlanOf) -> Said:
    """Never raises: what can't be read is fetched."""
    content = event.object
    metadata = content.get("metadata") or {}
    whose = (_text(content.get("customer")), _text(metadata.get("user_id")), _text(metadata.get("subkeeper")))
    if event.type.startswith("customer.subscription."):
        fact = _subscription(event)
        state = None if fact is None else fact.columns(plan_name(fact, plan_of))
        project_id = _text(metadata.get("project_id"))
        return Said(event, event.object_id, *whose, state=state, fact=fact, project_id=project_id)
    if event.type.startswith("invoice."):
        return _invoice(event, whose)
    if event.type.startswith("customer."):
        return _customer(event, whose)
    if event.type == "payment_method.detached":  # it has none any more
        return Said(event, None, _text(event.previous.get("customer")), *whose[1:])
    return Said(event, None, *whose)


def plan_name(fact: SubscriptionFact, plan_of: PlanOf) -> str:
    """What our tables call the plan: our own name for it, else the price's lookup key, else its id."""
    return plan_of(fact.price_lookup_key) or fact.price_lookup_key or fact.price_id


def _subscription(event: Event) -> SubscriptionFact | None:
    if event.api_version != API_VERSION or event.object.get("test_clock"):
        return None
    try:
        return subscription_fact(event.object)
    except AnswerIncomplete:
        return None


def _customer(event: Event, whose: tuple[str | None, str | None, str | None]) -> Said:
    settings = event.object.get("invoice_settings")
    if event.api_version != API_VERSION or event.object.get("test_clock") or not isinstance(settings, Mapping):
        return Said(event, None, event.object_id, *whose[1:], comparable=False)
    default = _text(settings.get("default_payment_method"))
    return Said(event, None, event.object_id, *whose[1:], customer_default=default)


def _invoice(event: Event, whose: tuple[str | None, str | None, str | None]) -> Said:
    """Its subscription is told in every API version, its state only in ours."""
    try:
        fact = invoice_fact(event.object)
    except AnswerIncomplete:
        fact = None
    if fact is None or event.api_version != API_VERSION:
        return Said(event, _subscription_of(event.object), *whose, comparable=False)
    failed = event.type in {"invoice.payment_failed", "invoice.payment_action_required"}
    return Said(event, fact.subscription_id, *whose, charge=charge(fact, event.created if failed else None))


def _subscription_of(invoice: Mapping[str, object]) -> str | None:
    """Until API version 2025-03-31 it was a field of the invoice's own."""
    parent = invoice.get("parent")
    details = parent.get("subscription_details") if isinstance(parent, Mapping) else None
    found = details.get("subscription") if isinstance(details, Mapping) else None
    return _text(found or invoice.get("subscription"))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
