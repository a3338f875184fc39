"""`data.previous_attributes`: what an `*.updated` event says of the fields that changed.

Old values, nested: of a hash only the keys that changed (one that is new is null), of an array that changed all of it.
Source: https://docs.stripe.com/api/events/object#event_object-data-previous_attributes.
"""

from __future__ import annotations

from typing import Any

from sandbox.stripe.objects import Obj


def previous_attributes(before: Obj, after: Obj) -> Obj:
    """The old values of what differs between two states of one object."""
    names = [*before, *(name for name in after if name not in before)]
    return {name: _old(before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)}


def _old(before: Any, after: Any) -> Any:
    both = isinstance(before, dict) and isinstance(after, dict)
    return previous_attributes(before, after) if both else before
