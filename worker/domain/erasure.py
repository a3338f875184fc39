"""Erasing a user: what is ended and deleted at Stripe, what is told of it, and what Stripe keeps all the same."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from worker.domain.stripe_facts import SubscriptionFact

STRIPE_KEEPS = (
    "invoices, payments, refunds and disputes of the deleted customers, with the names and addresses on them",
    "subscriptions that were canceled, with the user's id in their metadata",
    "events about all of these for 30 days, and requests in the Dashboard's logs",
    "what Radar learnt, and what the law has Stripe keep; Stripe's redaction jobs erase more",
)
"""https://support.stripe.com/questions/deleting-customers, https://docs.stripe.com/privacy/redaction"""

PORTAL_LASTS = timedelta(hours=1)
"""How long somebody may go on in a page of the portal's (https://docs.stripe.com/api/customer_portal/sessions). On a
customer that is deleted nothing can be done there; on one that others keep, it is waited for."""

STRIPPED = {"metadata": {"subkeeper": "", "user_id": ""}}
"""What takes a user's digest and id out of an object's metadata."""


class ErasureState(StrEnum):
    ERASING = "erasing"
    ERASED = "erased"


class Erasure(NamedTuple):
    """How it stands with a user (times are UTC). `waits_for`: a constant that says why it takes long; None: it is
    under way, or over."""

    user_id: str
    state: ErasureState
    asked_at: datetime | None
    erased_at: datetime | None
    waits_for: str | None


def to_end(found: Iterable[SubscriptionFact], digest: str, rows: Mapping[str, bool] | None) -> list[str]:
    """Which of a customer's subscriptions are to be canceled. On one that others own, too, those that are the user's by
    our `rows` (whether each is), or, without a row, that name them by their `digest`; None: nobody else owns it, and
    all are."""
    living = [each for each in found if not each.is_terminal]
    return [each.id for each in living if rows is None or rows.get(each.id, each.user_digest == digest)]


def to_strip(found: Iterable[SubscriptionFact], digest: str) -> list[str]:
    """Which subscriptions of a customer that others keep still name the user."""
    return [each.id for each in found if each.user_digest == digest]


def names_user(body: bytes, user_id: str) -> bool:
    """Whether a message that could not be taken in is about this user: by its `id` or `user_id`, wherever it is, also
    where it is no JSON."""
    try:
        return _names(json.loads(body), user_id)
    except (ValueError, RecursionError):
        pass
    texts = {json.dumps(user_id), json.dumps(user_id, ensure_ascii=False)}
    pattern = b"|".join(re.escape(each.encode("utf-8", "surrogatepass")) for each in sorted(texts))
    return re.search(rb'"(?:user_)?id"\s*:\s*(?:' + pattern + rb")", body) is not None


def _names(value: object, user_id: str) -> bool:
    waiting: list[object] = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            if any(found.get(name) == user_id for name in ("id", "user_id")):
                return True
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found
    return False
