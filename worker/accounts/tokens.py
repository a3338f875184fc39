"""Admin tokens: random, shown once, and known to us by their digests alone."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Sequence
from typing import NamedTuple

PREFIX = "subkeeper_admin_"
"""So that a leaked one is recognized for what it is. No JWT begins like that."""

BYTES = 32


class NewToken(NamedTuple):
    token: str
    digest: str


def new_token(random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> NewToken:
    """A token, and what the configuration keeps of it."""
    token = PREFIX + random_bytes(BYTES).hex()
    return NewToken(token, digest(token))


def digest(token: str) -> str:
    """Plain SHA-256: of 256 random bits nothing can be guessed, so that nothing needs to be slow."""
    return f"sha256:{hashlib.sha256(token.encode()).hexdigest()}"


def matching(token: str, digests: Sequence[str]) -> str | None:
    """The one of `digests` that is the token's. All are compared, in constant time."""
    ours = digest(token)
    found = [each for each in digests if hmac.compare_digest(each, ours)]
    return found[0] if found else None
