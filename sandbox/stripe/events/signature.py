"""`Stripe-Signature` (https://docs.stripe.com/webhooks#verify-manually)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable


def signature(secrets: Iterable[str], timestamp: int, body: bytes) -> str:
    """The header for `body`: a `v1` for each secret in force, and test mode's `v0`, which proves nothing."""
    signed = f"{timestamp}.".encode() + body
    proofs = [hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in secrets]
    fake = hashlib.sha256(signed).hexdigest()
    return ",".join([f"t={timestamp}", *(f"v1={proof}" for proof in proofs), f"v0={fake}"])
