"""Profiles as the auth service publishes them."""

from __future__ import annotations

import json
from datetime import UTC, datetime


def profiles(prefix: str, count: int, first: int = 0) -> list[bytes]:
    """`count` messages of users created just now, `<prefix>00000000` and on."""
    return [body(f"{prefix}{number:08}") for number in range(first, first + count)]


def body(user_id: str, created_at: datetime | None = None) -> bytes:
    """One user's message (about 130 bytes), created just now by default."""
    profile = {
        "id": user_id,
        "email": f"{user_id}@example.com",
        "name": f"Name of {user_id}",
        "created_at": (created_at or datetime.now(UTC)).isoformat(),
    }
    return json.dumps(profile).encode()
