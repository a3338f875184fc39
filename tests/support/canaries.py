"""Words that must get no further than Stripe's answers and deliveries: one in every text of Stripe's objects that says
something of a person, or might.

Which fields there are is told by Stripe's OpenAPI description. Left out is what isn't free text: identifiers that are
set, choices, references to other objects. The words look like no email, so that the masking of emails in logs hides
none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from tests import stripe_spec

WORD = "qzcanary"
OBJECTS = (
    "customer", "subscription", "subscription_item", "invoice", "line_item", "payment_method", "checkout.session",
)  # fmt: skip
PERSONAL = ("email", "name", "phone", "description", "line1", "line2", "postal_code", "city", "state", "last4", "brand",
            "fingerprint", "customer_email", "customer_name", "customer_phone", "account_name", "number")  # fmt: skip
"""Planted over what is there, too."""

DEPTH = 5
_ENCODE = json.JSONEncoder(separators=(",", ":")).encode


def found(text: str | bytes) -> list[str]:
    """The canaries in it, in plain or in hexadecimal."""
    whole = text.encode(errors="replace") if isinstance(text, str) else text
    hexadecimal = WORD.encode().hex().encode()
    return sorted({each.decode() for each in re.findall(rb"qzcanary[\w.]*|" + hexadecimal, whole.lower())})


class Canaries:
    """Plants them in what Stripe says; `planted` are the fields, as paths."""

    def __init__(self) -> None:
        self.planted: set[str] = set()

    def encode(self, said: object) -> str:
        """Stripe's JSON encoder."""
        return _ENCODE(self.in_all(said))

    def of(self, kind: str, **fields: Any) -> dict[str, Any]:
        """An object of that kind, with every text that there can be, and `fields` as given."""
        made: dict[str, Any] = self.in_all({"object": kind, **fields})
        return {**made, **fields}

    def in_all(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.in_all(each) for each in value]
        if not isinstance(value, dict):
            return value
        if isinstance(value.get("error"), dict):  # what Stripe refuses, it quotes
            return {"error": {**value["error"], "message": self._word("error.message")}}
        inner = {name: self.in_all(each) for name, each in value.items()}
        kind = value.get("object")
        if kind == "event":
            return self._in_event(inner)
        return self._filled(inner, stripe_spec.schema(kind), kind, DEPTH) if kind in OBJECTS else inner

    def _in_event(self, event: dict[str, Any]) -> dict[str, Any]:
        data: dict[str, Any] = event["data"]
        kind = str(data["object"]["object"])
        if kind in OBJECTS and "previous_attributes" in data:
            before = self._filled({}, stripe_spec.schema(kind), f"{kind}.previous", 1)
            data["previous_attributes"] = {**before, **data["previous_attributes"]}
        return event

    def _filled(self, obj: dict[str, Any], schema: Mapping[str, Any], path: str, depth: int) -> dict[str, Any]:
        made = dict(obj)
        for name, prop in schema.get("properties", {}).items():
            is_set, at = made.get(name) is not None, f"{path}.{name}"
            if name == "metadata":
                made[name] = {**(made.get(name) or {}), "note": self._word(at)}
            elif isinstance(made.get(name), dict) and "object" not in made[name]:
                made[name] = self._filled(made[name], _resolved(prop), at, depth - 1)
            elif not is_set or (name in PERSONAL and isinstance(made[name], str)):
                value = self._built(prop, at, depth - 1)
                made |= {} if value is None else {name: value}
        return made

    def _built(self, prop: Mapping[str, Any], path: str, depth: int) -> Any:
        """A text, or what has texts in it; None for anything else."""
        if "x-expansionResources" in prop or depth < 0 or path.endswith(("currency", ".id")):
            return None
        schema = _resolved(prop)
        if schema.get("type") == "string" and "enum" not in schema:
            return self._word(path)
        if schema.get("type") == "array":
            item = self._built(schema["items"], path, depth - 1)
            return None if item is None else [item]
        return self._filled({}, schema, path, depth) or None if schema.get("properties") else None

    def _word(self, path: str) -> str:
        self.planted.add(path)
        return f"{WORD}.{path}"


def _resolved(prop: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema itself, of a reference or of the first of several."""
    several = prop.get("anyOf")
    ref = several[0].get("$ref") if several else prop.get("$ref")
    return stripe_spec.schema(ref.rpartition("/")[2]) if ref else prop
