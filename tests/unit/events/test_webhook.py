"""What comes of a delivery, without HTTP and nsqd."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bench.deliveries import signature
from tests.unit.events.test_envelope import event
from worker.domain.webhook import WebhookRefused
from worker.events.envelope import Envelopes
from worker.events.webhook import Webhook
from worker.sealing import Sealer

NOW, SECRET = 1_800_000_000, "whsec_1234567890abcdef"
ENVELOPES = Envelopes(Sealer(["k" * 32]))


class Endpoint:
    """A webhook, and what it did."""

    def __init__(self, *, livemode: bool = False) -> None:
        self.published: list[bytes] = []
        self.signed: list[str] = []
        self._webhook = Webhook(
            ENVELOPES, secrets=lambda: {"main": SECRET.encode()}, matched=self.signed.append,
            livemode=livemode, tolerance=300, now=lambda: NOW,
        )  # fmt: skip

    def accept(self, body: bytes | dict[str, Any], signed: bytes | None = None) -> str:
        """The outcome, or the reason of the refusal."""
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            found = self._webhook.envelope(body, signed or signature(SECRET, body, NOW).encode())
        except WebhookRefused as refused:
            return refused.reason
        if isinstance(found, str):
            return found
        self.published.append(found)
        return "published"


def test_an_event_is_published_as_a_signed_envelope() -> None:
    endpoint = Endpoint()
    assert endpoint.accept(event()) == "published"
    [opened] = [ENVELOPES.open(body) for body in endpoint.published]
    assert (opened.id, opened.source, opened.object["status"]) == ("evt_1", "webhook", "active")
    assert endpoint.signed == ["main"]


NESTED = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize(
    ("livemode", "sent", "outcome"),
    [
        (False, event(livemode=True), "wrong_mode"),
        (True, event(livemode=False), "wrong_mode"),
        (True, event(livemode=True), "published"),
        (False, event(livemode=None), "wrong_mode"),
        (True, event(account="acct_1", livemode=False), "connect"),
        (False, event(type="charge.succeeded"), "type_unknown"),
        (False, event(data={}), "malformed"),
        (False, event(created="soon"), "malformed"),
        (False, event(created=253_402_300_799), "published"),
        (False, event(created=253_402_300_800), "malformed"),
        (False, event(created=-62_135_596_800), "published"),
        (False, event(created=-62_135_596_801), "malformed"),
        (False, b"", "malformed"),
        (False, b"[]", "malformed"),
        (False, b'{"id": NaN}', "malformed"),
        (False, b'{"id": ' + b"1" * 5000 + b"}", "malformed"),
        (False, b"[" * 100_000, "malformed"),
        (False, json.dumps(event()).encode("utf-16"), "malformed"),
        (False, b'{"id": "\xff"}', "malformed"),
        (False, json.dumps(event()).encode()[:-1] + b', "unread": "\xff"}', "malformed"),
        (False, json.dumps(event()).encode()[:-1] + b', "unread": ' + NESTED + b"}", "malformed"),
        (False, json.dumps(event()).encode()[:-1] + b', "account": ' + NESTED + b"}", "malformed"),
    ],
)
def test_what_is_signed_is_looked_at_before_it_is_published(
    livemode: bool, sent: bytes | dict[str, Any], outcome: str
) -> None:
    endpoint = Endpoint(livemode=livemode)
    assert endpoint.accept(sent) == outcome
    assert len(endpoint.published) == (outcome == "published")


def test_what_is_not_signed_is_not_looked_at() -> None:
    endpoint = Endpoint()
    assert endpoint.accept(b"[" * 100_000, f"t={NOW},v1=00".encode()) == "signature_wrong"
    assert (endpoint.published, endpoint.signed) == ([], [])
