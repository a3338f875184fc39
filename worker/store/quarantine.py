"""SQL of `quarantined_messages`: NSQ messages that can never work as they are, sealed, until they expire."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, func
from sqlalchemy.dialects.postgresql import insert

from schema.tables import quarantined_messages as messages


@dataclass(frozen=True, slots=True)
class QuarantinedMessage:
    """A refused message. `body_digest` is keyed, so that it tells nothing of the body; times are UTC."""

    topic: str
    nsq_message_id: str
    reason: str
    detail: str
    sealed_body: bytes
    body_digest: bytes
    published_at: datetime
    expires_at: datetime


def add(tx: Connection, refused: Sequence[QuarantinedMessage]) -> None:
    """Keeps refused messages, in key order; one delivered again stays the row it is."""
    if refused:
        ordered = sorted(refused, key=lambda message: (message.topic, message.body_digest))
        tx.execute(insert(messages).on_conflict_do_nothing(), [asdict(message) for message in ordered])


def forget_expired(tx: Connection) -> int:
    """Deletes what has expired. Returns how many."""
    return tx.execute(delete(messages).where(messages.c.expires_at < func.now())).rowcount
