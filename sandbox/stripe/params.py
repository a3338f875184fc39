"""What an endpoint's parameters may be: small checks, combined into a specification.

A check takes (value, name) and returns what the endpoint works with, or raises a 400 that names the parameter as
Stripe does (`items[0][price]`). What is not in the specification is refused (`parameter_unknown`), never ignored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from sandbox.stripe.errors import ApiError, invalid
from sandbox.stripe.forms import Form, Tree

Check: TypeAlias = Callable[[Tree, str], Any]
Params: TypeAlias = dict[str, Any]

_EMAIL = re.compile(r"[^@\s\x00-\x1f<>()\[\],;:\\\"]+@[^@\s\x00-\x1f.]+(\.[^@\s\x00-\x1f.]+)+")
_WEB_ADDRESS = re.compile(r"https?://[^\s/?#]+\S*")
_INTEGER = re.compile(r"-?[0-9]{1,18}")


class Spec:
    """An endpoint's (or a hash's) parameters by name; `required` ones must be there."""

    def __init__(self, fields: Mapping[str, Check], required: Sequence[str] = ()) -> None:
        self.fields = fields
        self.required = tuple(required)

    def __call__(self, value: Tree, name: str) -> Params:
        if isinstance(value, str):
            raise invalid(f"Invalid object: {name} must be a hash.", param=name)
        return self.check(value, name)

    def check(self, form: Form, parent: str = "") -> Params:
        for field in self.required:
            if field not in form:
                name = _join(parent, field)
                raise invalid(f"Missing required param: {name}.", param=name, code="parameter_missing")
        return {field: self._one(_join(parent, field), field, value) for field, value in form.items()}

    def _one(self, name: str, field: str, value: Tree) -> Any:
        check = self.fields.get(field)
        if check is None:
            raise invalid(f"Received unknown parameter: {name}", param=name, code="parameter_unknown")
        return check(value, name)


def _join(parent: str, field: str) -> str:
    return f"{parent}[{field}]" if parent else field


def _string(value: Tree, name: str) -> str:
    if not isinstance(value, str):
        raise invalid(f"Invalid string: {name} must be a string.", param=name)
    return value


def empty_value(name: str) -> ApiError:
    message = (
        f"You passed an empty string for '{name}'. We assume empty values are an attempt to unset a parameter; however"
        f" '{name}' cannot be unset. You should remove '{name}' from your request or supply a non-empty value."
    )
    return invalid(message, param=name, code="parameter_invalid_empty")


def text(limit: int = 5000) -> Check:
    """A string of 1 to `limit` characters."""

    def check(value: Tree, name: str) -> str:
        string = _string(value, name)
        if not string:
            raise empty_value(name)
        if len(string) > limit:
            shown = f"{string[:3]}...{string[-3:]}"
            raise invalid(f"Invalid string: {shown}; must be at most {limit} characters", param=name)
        return string

    return check


def clearable(inner: Check) -> Check:
    """As `inner`; an empty string unsets the field (None)."""
    return lambda value, name: None if value == "" else inner(value, name)


def email(value: Tree, name: str) -> str:
    """An address Stripe would take: up to 512 characters, one `@`, a domain with a dot."""
    address: str = text(512)(value, name)
    if not _EMAIL.fullmatch(address):
        raise invalid(f"Invalid email address: {address}", param=name, code="email_invalid")
    return address


def web_address(value: Tree, name: str) -> str:
    """A URL that a browser is sent to."""
    address: str = text()(value, name)
    if not _WEB_ADDRESS.fullmatch(address):
        raise invalid("Not a valid URL", param=name, code="url_invalid")
    return address


def integer(low: int = -(2**53), high: int = 2**53) -> Check:
    def check(value: Tree, name: str) -> int:
        string = _string(value, name)
        if not _INTEGER.fullmatch(string):
            raise invalid(f"Invalid integer: {string[:50]}", param=name, code="parameter_invalid_integer")
        if not low <= int(string) <= high:
            bound = f"greater than or equal to {low}" if int(string) < low else f"less than or equal to {high}"
            raise invalid(f"This value must be {bound}.", param=name, code="parameter_invalid_integer")
        return int(string)

    return check


def boolean(value: Tree, name: str) -> bool:
    if value not in ("true", "false"):
        raise invalid(f"Invalid boolean: {value}", param=name)
    return value == "true"


def choice(*options: str) -> Check:
    def check(value: Tree, name: str) -> str:
        string = _string(value, name)
        if string not in options:
            raise invalid(f"Invalid {name}: must be one of {', '.join(options)}", param=name)
        return string

    return check


def timestamp(value: Tree, name: str) -> int:
    """Whole seconds since the epoch."""
    string = _string(value, name)
    if not _INTEGER.fullmatch(string):
        raise invalid(f"Invalid timestamp: {string[:50]}; must be an integer Unix timestamp", param=name)
    return int(string)


def now_or(inner: Check) -> Check:
    """As `inner`, or the word `now`."""
    return lambda value, name: value if value == "now" else inner(value, name)


def window(value: Tree, name: str) -> dict[str, int]:
    """A range of timestamps: exactly one, or any of `gt`, `gte`, `lt`, `lte`."""
    if isinstance(value, str):
        exact = timestamp(value, name)
        return {"gte": exact, "lte": exact}
    return Spec(dict.fromkeys(("gt", "gte", "lt", "lte"), timestamp)).check(value, name)


def list_of(inner: Check, limit: int = 100) -> Check:
    """A list of at most `limit`, given as `name[]=…` or `name[0]=…`."""

    def check(value: Tree, name: str) -> list[Any]:
        if isinstance(value, str) or not all(key.isdecimal() for key in value):
            raise invalid("Invalid array", param=name)
        if len(value) > limit:
            raise invalid(f"Array must not have more than {limit} elements", param=name)
        ordered = sorted(value, key=int)
        return [inner(value[key], f"{name}[{place}]") for place, key in enumerate(ordered)]

    return check


def metadata(value: Tree, name: str) -> dict[str, str] | None:
    """Metadata as sent (keys up to 40 characters, values up to 500): None clears it, an empty value removes its key."""
    if isinstance(value, str):
        if value:
            raise invalid("Invalid object", param=name)
        return None
    checked = {key: _string(item, f"{name}[{key}]") for key, item in value.items()}
    for key, item in checked.items():
        if len(key) > 40:
            raise invalid(f"Metadata keys can have up to 40 characters; this one has {len(key)}.", param=name)
        if len(item) > 500:
            message = f"Metadata values can have up to 500 characters, but you passed in a value that is {len(item)}."
            raise invalid(message, param=f"{name}[{key}]")
    return checked


def merged(known: Mapping[str, str], sent: Mapping[str, str] | None) -> dict[str, str]:
    """Metadata after an update (400 above 50 keys)."""
    if sent is None:
        return {}
    result = {key: value for key, value in {**known, **sent}.items() if value != ""}
    if len(result) > 50:
        raise invalid("Metadata can have up to 50 keys.", param="metadata")
    return result
