"""What events say of Checkout's pages: leased work does what follows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias
from uuid import UUID

from worker.domain.checkouts import CHECKOUT, CheckoutState
from worker.domain.event import Event
from worker.store.checkouts import Told

_STATES: Mapping[str, CheckoutState] = {
    "checkout.session.completed": CheckoutState.COMPLETE,
    "checkout.session.expired": CheckoutState.EXPIRED,
}


Noted: TypeAlias = dict[UUID, Told]
"""What a batch says of pages, by our row's id."""


def note(event: Event, noted: Noted) -> None:
    """What an event says of a page of ours, which ends once. It names its row, which may not know its session yet."""
    state = _STATES.get(event.type)
    named = (event.object.get("metadata") or {}).get(CHECKOUT)
    if state is None or not isinstance(named, str):
        return
    try:
        identifier = UUID(named)
    except ValueError:
        return
    mode = event.object.get("mode")
    mode = mode if mode in {"setup", "subscription"} else None
    noted.setdefault(identifier, Told(identifier, event.object_id, mode, state))
