"""`GET /v1/subscriptions`, page by page, each with its latest invoice and its customer (https://docs.stripe.com/api/subscriptions/list)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from worker.domain.deadline import Deadline
from worker.domain.lanes import Lane
from worker.domain.stripe_facts import FetchedSubscription
from worker.stripe_api.errors import AnswerIncomplete
from worker.stripe_api.parsing import Fields, fetched_subscription
from worker.stripe_api.requestor import Call, Requestor

PAGE = 100
"""Subscriptions a page: the most that Stripe gives."""


class Unreadable(NamedTuple):
    """A subscription that lacks what we need, and what that is."""

    id: str
    detail: str


@dataclass(frozen=True, slots=True)
class SubscriptionPage:
    """Subscriptions in any state, newest first, as they were somewhere in [`seen_from`, `seen_to`] of Stripe's time.
    `after`: what the next page follows; None: there is none."""

    found: list[FetchedSubscription]
    unreadable: list[Unreadable]
    after: str | None
    seen_from: datetime
    seen_to: datetime


def subscriptions_page(
    requestor: Requestor, after: str | None, whose: Mapping[str, str | None], *, lane: Lane, deadline: Deadline
) -> SubscriptionPage:
    params: dict[str, object] = {"status": "all", "limit": PAGE, "expand": ["data.latest_invoice", "data.customer"]}
    if after is not None:
        params["starting_after"] = after
    params |= {name: value for name, value in whose.items() if value is not None}
    reply = requestor.send(Call("subscriptions.list", "get", "/v1/subscriptions", params, lane, deadline))
    fields = Fields("list", reply.data)
    objects: list[object] = fields.get("data", list)
    found, unreadable = [], []
    for each in objects:
        try:
            found.append(fetched_subscription(each))
        except AnswerIncomplete as incomplete:
            unreadable.append(Unreadable(Fields("subscription", each).get("id", str), incomplete.detail))
    more = fields.get("has_more", bool) and bool(objects)
    last = Fields("subscription", objects[-1]).get("id", str) if more else None
    return SubscriptionPage(found, unreadable, last, reply.seen_from, reply.seen_to)
