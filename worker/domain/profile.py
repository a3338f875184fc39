"""The auth service's message, decoded once and strictly, at the edge.

What does not decode raises `Rejected` with a reason that can be grouped by; the bytes go to quarantine as they came.
A NUL and lone surrogates are refused, on which Postgres's `text` would trip.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from jsonpointer import JsonPointer

from worker.domain.clocks import CLOCKS_AGREE
from worker.domain.strict_json import parse_object
from worker.domain.text import is_storable
from worker.errors import Misconfigured, Rejected

MAX_USER_ID, MAX_EMAIL, MAX_NAME = 255, 512, 256
"""Characters. Email and name are Stripe's limits of a customer; 255 keeps the id in a metadata value and an index."""


def is_user_id(user_id: str) -> bool:
    """Whether a profile can have it."""
    return 0 < len(user_id) <= MAX_USER_ID and is_storable(user_id)


_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d):(\d\d)(\.\d+)?([Zz]|[+-]\d\d:[0-5]\d)", re.ASCII
)  # RFC 3339, section 5.6


@dataclass(frozen=True, slots=True)
class ProfileCreated:
    """A profile that the auth service created. `created_at` is UTC; `repr` shows nothing personal."""

    user_id: str
    email: str | None
    name: str | None
    created_at: datetime | None

    def known_since(self, first_sight: datetime) -> datetime | None:
        """Since when anybody could have asked Stripe for this user's customer, given when we first saw the profile
        (UTC); None where it doesn't say when it was created, or says a time to come: then it may be hours old."""
        if self.created_at is None or self.created_at - first_sight > CLOCKS_AGREE:
            return None
        return min(self.created_at, first_sight)

    def __repr__(self) -> str:
        return f"ProfileCreated(user_id={self.user_id!r}, created_at={self.created_at!r})"


class MessageShape:
    """Where a message keeps each field: JSON pointers (RFC 6901) into its unwrapped body."""

    def __init__(self, *, user_id: str, email: str, name: str, created_at: str) -> None:
        self._user_id = JsonPointer(user_id)
        self._email = JsonPointer(email)
        self._name = JsonPointer(name)
        self._created_at = JsonPointer(created_at)

    def encode(self, *, user_id: str, email: str | None, name: str | None, created_at: str | None) -> bytes:
        """The bare message that `decode` reads these fields from; those that are None or empty are left out.

        Checks nothing but that the pointers leave room for each other: raises `Misconfigured` where they don't.
        """
        document: dict[str, object] = {}
        places = ((self._user_id, user_id), (self._email, email), (self._name, name), (self._created_at, created_at))
        for pointer, value in places:
            if value:
                _place(document, pointer, value)
        return json.dumps(document, separators=(",", ":")).encode()

    def decode(self, body: bytes) -> ProfileCreated:
        """The profile in `body`: JSON, bare or in a CloudEvents 1.0 envelope. Raises `Rejected`."""
        document = _unwrap(parse_object(body))
        return ProfileCreated(
            user_id=_user_id(_at(self._user_id, document)),
            email=_text("email", _at(self._email, document), MAX_EMAIL),
            name=_text("name", _at(self._name, document), MAX_NAME),
            created_at=_time(_at(self._created_at, document)),
        )


def _place(document: dict[str, object], pointer: JsonPointer, value: str) -> None:
    """Writes `value` where `pointer` says, in objects that are made on the way."""
    *parents, last = pointer.parts
    inner = document
    for part in parents:
        child = inner.setdefault(part, {})
        if not isinstance(child, dict):
            raise _overlapping(pointer)
        inner = child
    if last in inner:
        raise _overlapping(pointer)
    inner[last] = value


def _overlapping(pointer: JsonPointer) -> Misconfigured:
    problem = f"one field's pointer leads through or onto another's ({pointer.path})"
    return Misconfigured("message", problem, "Give each field a place of its own.")


def _at(pointer: JsonPointer, document: object) -> object:
    """What `pointer` points to; None where that is not there. (`resolve` takes three times as long, four times a
    message.)"""
    for part in pointer.parts:
        if isinstance(document, dict):
            document = document.get(part)
        elif isinstance(document, list) and part.isdecimal() and int(part) < len(document):
            document = document[int(part)]
        else:
            return None
    return document


def _unwrap(document: dict[str, object]) -> dict[str, object]:
    """The data of a CloudEvents 1.0 envelope in structured mode; a bare document as it is.

    https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
    """
    if "specversion" not in document:
        return document
    if document["specversion"] != "1.0":
        raise Rejected("cloudevent_version", "the CloudEvents envelope's specversion is not 1.0")
    data = document.get("data")
    if not isinstance(data, dict):
        raise Rejected("cloudevent_data", "the CloudEvents envelope has no JSON object as its data")
    return data


def _user_id(value: object) -> str:
    user_id = _text("id", value, MAX_USER_ID)
    if user_id is None:
        raise Rejected("id_missing", "id is missing, null or empty")
    return user_id


def _text(field: str, value: object, longest: int) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise Rejected(f"{field}_not_text", f"{field} is a JSON {type(value).__name__}, not a string")
    if len(value) > longest:
        raise Rejected(f"{field}_too_long", f"{field} has {len(value)} characters, {longest} is the most")
    if not is_storable(value):
        raise Rejected(f"{field}_unstorable", f"{field} holds a NUL or a lone surrogate")
    return value


def _time(value: object) -> datetime | None:
    text = _text("created_at", value, 64)
    if text is None:
        return None
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise Rejected("created_at_invalid", "created_at is not an RFC 3339 time with its offset")
    date, minute, second, fraction, offset = match.groups()
    leap = second == "60"  # RFC 3339 allows a leap second; datetime does not
    try:
        local = datetime.fromisoformat(
            f"{date}T{minute}:{'59' if leap else second}{(fraction or '')[:7]}{offset.upper()}"
        )
        return local.astimezone(UTC) + timedelta(seconds=1 if leap else 0)
    except (ValueError, OverflowError):
        raise Rejected("created_at_invalid", "created_at is not a date and time that exists") from None
