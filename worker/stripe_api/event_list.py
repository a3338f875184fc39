"""`GET /v1/events`, page by page (https://docs.stripe.com/api/events/list)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from worker.domain.deadline import Deadline
from worker.domain.event import TYPES
from worker.domain.lanes import Lane
from worker.domain.stripe_facts import EventPage
from worker.stripe_api.parsing import Fields
from worker.stripe_api.requestor import Call, Requestor

PAGE = 100
"""Events a page: the most that Stripe gives."""


@dataclass(frozen=True, slots=True)
class EventWindow:
    """Events of the types that we take in, created from `since` to before `until` (whole seconds, UTC; None: to the
    newest). `undelivered`: only those that a webhook endpoint has not answered with success."""

    since: datetime
    until: datetime | None = None
    undelivered: bool = False


def events_page(
    requestor: Requestor, window: EventWindow, after: str | None, *, lane: Lane, deadline: Deadline
) -> EventPage:
    created = {"gte": int(window.since.timestamp())}
    if window.until is not None:
        created["lt"] = int(window.until.timestamp())
    params: dict[str, object] = {"limit": PAGE, "types": list(TYPES), "created": created}
    if window.undelivered:
        params["delivery_success"] = "false"
    if after is not None:
        params["starting_after"] = after
    reply = requestor.send(Call("events.list", "get", "/v1/events", params, lane, deadline, once=True))
    fields = Fields("list", reply.data)
    events: list[object] = fields.get("data", list)
    more = fields.get("has_more", bool) and bool(events)
    return EventPage(events, Fields("event", events[-1]).get("id", str) if more else None)
