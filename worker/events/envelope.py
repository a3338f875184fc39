"""What travels on NSQ: an event of Stripe's in the fields that we keep, signed.

No personal data reaches the broker's disk, since only what is listed here is kept. The signature (HMAC-SHA256 under a
key derived from `SUBKEEPER_SECRET_KEY`) keeps whoever can publish to NSQ from inventing what Stripe said. On the wire:
the signature, a dot, and the JSON that it signs. It says under which key, so that one which this process doesn't have
yet is told from a forgery.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from pydantic_core import from_json, to_json

from worker.domain.event import TYPES, Event
from worker.domain.text import is_storable
from worker.errors import Rejected
from worker.sealing import SIGNATURE_BYTES, CannotOpen, Sealer

MAX_TEXT = 500
"""Characters of a kept text: Stripe's limit of a metadata value, and its longest."""

_BEGIN = re.compile(rb'\{"id":"([^"\\]+)","type":"[a-z._]+","created":(-?[0-9]+),')

_LEAF: Final = None
"""A plain value; of an object that was expanded, its id."""

_OURS = {"subkeeper": _LEAF, "user_id": _LEAF}
_PERIOD = {"current_period_start": _LEAF, "current_period_end": _LEAF}
_ITEM = {"id": _LEAF, "quantity": _LEAF, **_PERIOD, "price": {"id": _LEAF, "lookup_key": _LEAF, "product": _LEAF}}
_COMMON: Mapping[str, Any] = {
    "id": _LEAF,
    "object": _LEAF,
    "created": _LEAF,
    "livemode": _LEAF,
    "deleted": _LEAF,
    "customer": _LEAF,
    "test_clock": _LEAF,
    "status": _LEAF,
    "metadata": _OURS,
}

SUBSCRIPTION: Mapping[str, Any] = {
    **_COMMON,
    **_PERIOD,  # until 2025-03-31; on the items since
    "cancel_at": _LEAF,
    "cancel_at_period_end": _LEAF,
    "canceled_at": _LEAF,
    "collection_method": _LEAF,
    "default_payment_method": _LEAF,
    "ended_at": _LEAF,
    "items": {"has_more": _LEAF, "data": [_ITEM]},
    "latest_invoice": _LEAF,
    "pause_collection": {"behavior": _LEAF, "resumes_at": _LEAF},
    "pending_setup_intent": _LEAF,
    "schedule": _LEAF,
    "start_date": _LEAF,
    "trial_end": _LEAF,
    "trial_start": _LEAF,
}
INVOICE: Mapping[str, Any] = {
    **_COMMON,
    "amount_due": _LEAF,
    "attempt_count": _LEAF,
    "attempted": _LEAF,
    "billing_reason": _LEAF,
    "next_payment_attempt": _LEAF,
    "paid": _LEAF,
    "parent": {"type": _LEAF, "subscription_details": {"subscription": _LEAF}},
    "status_transitions": {
        "finalized_at": _LEAF,
        "marked_uncollectible_at": _LEAF,
        "paid_at": _LEAF,
        "voided_at": _LEAF,
    },
    "subscription": _LEAF,  # until 2025-03-31; under its parent since
    "total": _LEAF,
}

_KEPT: Mapping[str, Mapping[str, Any]] = {
    "customer.subscription": SUBSCRIPTION,
    "customer": {**_COMMON, "invoice_settings": {"default_payment_method": _LEAF}},
    "invoice": INVOICE,
    "checkout.session": {
        **_COMMON,
        "mode": _LEAF,
        "payment_status": _LEAF,
        "setup_intent": _LEAF,
        "subscription": _LEAF,
    },
    "payment_method": {**_COMMON, "type": _LEAF},
}
"""What is kept of the objects of each family of event types."""


def pruned(event: Mapping[str, Any], source: str) -> Event:
    """Stripe's event (decoded JSON) in the fields that we keep. Raises `Rejected`: `event_malformed`, or
    `event_type_unknown` for one that is not in `TYPES`."""
    event_type = _field(event, "type", str)
    if event_type not in TYPES:
        raise Rejected("event_type_unknown", "its type is none that is asked for")
    shape = _KEPT[event_type.rpartition(".")[0]]
    data = _field(event, "data", dict)
    snapshot = _keep(_field(data, "object", dict), shape)
    _field(snapshot, "id", str)
    return Event(
        id=_field(event, "id", str),
        type=event_type,
        created=_time(_field(event, "created", int)),
        api_version=_text(event.get("api_version")),
        livemode=_field(event, "livemode", bool),
        source=source,
        object=snapshot,
        previous=_keep(data.get("previous_attributes") or {}, shape),
    )


class UnknownKey(Rejected):
    """Signed, as it says, under a key that this process doesn't have: while keys are rotated, it may yet come."""

    def __init__(self) -> None:
        super().__init__("envelope_key_unknown", "it names a key that SUBKEEPER_SECRET_KEY doesn't list here")


class Signed(NamedTuple):
    """An event that one of us has signed: its `id`, when it was `created` (Unix time), and all of it, which isn't
    parsed yet: of two deliveries the second never is."""

    id: str
    created: int
    content: bytes


class Envelopes:
    """Signs events for NSQ, and takes nothing in that is not signed."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def seal(self, event: Event) -> bytes:
        """The message's body."""
        content = to_json({**event._asdict(), "created": int(event.created.timestamp())})
        return self._sealer.sign(content) + b"." + content

    def open(self, body: bytes) -> Event:
        """`verify`, then `parse`."""
        return self.parse(self.verify(body))

    def verify(self, body: bytes) -> Signed:
        """Raises `UnknownKey` for what names a key that is none of ours, and `Rejected`: `envelope_forged` for what is
        not signed by one of them, `envelope_malformed` for what doesn't begin as an event."""
        signature, content = body[:SIGNATURE_BYTES], body[SIGNATURE_BYTES + 1 :]
        try:
            is_ours = body[SIGNATURE_BYTES : SIGNATURE_BYTES + 1] == b"." and self._sealer.is_signed(content, signature)
        except CannotOpen:
            raise UnknownKey from None
        if not is_ours:
            raise Rejected("envelope_forged", "the message is not signed under a key of SUBKEEPER_SECRET_KEY")
        begin = _BEGIN.match(content)
        if begin is None:
            raise _unreadable()
        return Signed(begin[1].decode(), int(begin[2]), content)

    def parse(self, signed: Signed) -> Event:
        """Raises `Rejected`: `envelope_malformed`."""
        try:
            found = from_json(signed.content)
            return Event(**{**found, "created": _time(found["created"])})
        except (ValueError, KeyError, TypeError):
            raise _unreadable() from None


def _unreadable() -> Rejected:
    """Signed by a release that says it otherwise."""
    return Rejected("envelope_malformed", "the message is signed, and says what this release can't read")


def _keep(value: Any, shape: Any) -> Any:
    if shape is _LEAF:
        return _plain(value)
    if isinstance(shape, list):
        return [_keep(each, shape[0]) for each in value] if isinstance(value, list) else None
    if not isinstance(value, dict):
        return None
    return {
        name: (found if type(found) in _AS_THEY_ARE else _plain(found)) if inner is _LEAF else _keep(found, inner)
        for name, inner in shape.items()
        if (found := value.get(name, _ABSENT)) is not _ABSENT
    }


_ABSENT: Final = object()
_AS_THEY_ARE = frozenset({type(None), bool})
_BIGINT = 2**63


def _plain(value: Any) -> str | int | bool | None:
    """Amounts and times are whole numbers; what is neither that nor a short text is not kept."""
    if isinstance(value, dict):
        value = value.get("id")
    if isinstance(value, str):
        return value if len(value) <= MAX_TEXT and is_storable(value) else None
    return value if isinstance(value, int) and -_BIGINT <= value < _BIGINT else None


def _text(value: Any) -> str | None:
    found = _plain(value)
    return found if isinstance(found, str) else None


def _field(data: Any, name: str, kind: type[Any]) -> Any:
    value = data.get(name) if isinstance(data, dict) else None
    is_one = isinstance(value, kind) and not (kind is int and isinstance(value, bool))
    if not is_one or (kind is str and _plain(value) is None):
        raise Rejected("event_malformed", f"it has no {name} that is {kind.__name__}")
    return value


def _time(seconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        raise Rejected("event_malformed", "its created is no time") from None
