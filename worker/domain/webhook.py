"""Is this Stripe's, and sent now? The signature of a webhook, `t=…,v1=…` (https://docs.stripe.com/webhooks/signature).

Not by the `stripe` library: its check takes one secret, has no bound on times to come, and switches its other bound off
at a tolerance of 0. Tests hold this to that library's own signer and judge.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping

from worker.domain.macs import mac
from worker.errors import SubkeeperError

MAX_HEADER = 2048
"""Bytes. Stripe sends one signature for each of an endpoint's secrets, of which an old one lives for a day at most."""

MAX_SIGNATURES = 10
_TIME = re.compile(rb"[0-9]{1,12}")


class WebhookRefused(SubkeeperError):
    """A delivery that is not taken: `reason` is a constant to count by, `detail` says why, to Stripe's dashboard too.

    No `Rejected`, since nothing goes to quarantine: it is Stripe that keeps what was refused, and sends it again.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def signed_by(header: bytes | None, body: bytes, secrets: Mapping[str, bytes], *, now: float, tolerance: float) -> str:
    """The name of the secret under which `body` was signed, within `tolerance` seconds of `now` (Unix time), before or
    after. Raises `WebhookRefused`.

    The time is looked at first, which costs nothing; signatures are compared in constant time, all of them.
    """
    time, signatures = _parsed(header)
    age = now - int(time)
    if age > tolerance:
        raise WebhookRefused("signature_too_old", f"it was signed more than {tolerance:g} s ago by our clock")
    if age < -tolerance:
        raise WebhookRefused("signature_too_new", f"it was signed more than {tolerance:g} s from now by our clock")
    matching = [name for name, secret in secrets.items() if _is_among(mac(secret, time, b".", body), signatures)]
    if not matching:
        raise WebhookRefused("signature_wrong", "no signature is of a secret that is configured here")
    return matching[0]


def _is_among(made: bytes, signatures: list[bytes]) -> bool:
    found = False
    for each in signatures:
        found |= hmac.compare_digest(made, each)
    return found


def _parsed(header: bytes | None) -> tuple[bytes, list[bytes]]:
    """The time, as it was signed, and the signatures of the scheme `v1`."""
    if header is None:
        raise WebhookRefused("signature_missing", "there is no Stripe-Signature")
    times, signatures = [], []
    for entry in header.split(b",", 2 * MAX_SIGNATURES):
        name, _, value = entry.partition(b"=")
        if name.strip() == b"v1":
            signatures.append(value)
        elif name.strip() == b"t":
            times.append(value)
    too_much = len(header) > MAX_HEADER or len(signatures) > MAX_SIGNATURES
    if too_much or len(times) != 1 or not _TIME.fullmatch(times[0]) or not signatures:
        raise WebhookRefused("signature_malformed", "the Stripe-Signature is not t=…,v1=…")
    return times[0], signatures
