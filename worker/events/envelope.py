"""What travels on NSQ: an event of Stripe's in the fields that we keep (`worker.events.kept`), signed.

The signature (HMAC-SHA256 under a
key derived from `SUBKEEPER_SECRET_KEY`) keeps whoever can publish to NSQ from inventing what Stripe said. On the wire:
the signature, a dot, and the JSON that it signs. It says under which key, so that one which this process doesn't have
yet is told from a forgery.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple, get_type_hints

import msgspec

from worker.domain.event import Event
from worker.errors import Rejected
from worker.events.reading import time_of
from worker.sealing import SIGNATURE_BYTES, CannotOpen, Sealer

_BEGIN = re.compile(rb'\{"id":"([^"\\]+)","type":"[a-z._]+","created":(-?[0-9]+),')


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


_Content: Any = msgspec.defstruct("Content", (get_type_hints(Event) | {"created": int}).items())
"""An `Event` as JSON has it: `created` is Unix time."""

_parse = msgspec.json.Decoder(_Content).decode


class Envelopes:
    """Signs events for NSQ, and takes nothing in that is not signed."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def seal(self, event: Event) -> bytes:
        """The message's body."""
        id_, kind, created, version, livemode, source, about, previous = event
        found = _Content(id_, kind, int(created.timestamp()), version, livemode, source, about, previous)
        content = msgspec.json.encode(found)
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
            found = _parse(signed.content)
            return Event(
                found.id, found.type, time_of(found.created), found.api_version, found.livemode, found.source,
                found.object, found.previous,
            )  # fmt: skip
        except (msgspec.DecodeError, RecursionError):
            raise _unreadable() from None


def _unreadable() -> Rejected:
    """Signed by a release that says it otherwise."""
    return Rejected("envelope_malformed", "the message is signed, and says what this release can't read")
