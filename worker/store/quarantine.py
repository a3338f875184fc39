"""SQL of `quarantined_messages`: NSQ messages that can never work as they are, sealed, until they expire."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection, Row, delete, func, select
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
    ordered = sorted(refused, key=lambda message: (message.topic, message.body_digest))
    tx.execute(insert(messages).on_conflict_do_nothing(), [asdict(message) for message in ordered])


@dataclass(frozen=True, slots=True)
class KeptMessage(QuarantinedMessage):
    """A message as it lies in quarantine, under its number."""

    id: int
    quarantined_at: datetime


def find(tx: Connection, message_id: int) -> KeptMessage | None:
    """The message of that number, as far as it has not expired."""
    row = tx.execute(select(messages).where(messages.c.id == message_id)).one_or_none()
    return _kept(row) if row else None


def read(tx: Connection, message_ids: Sequence[int]) -> list[KeptMessage]:
    """Those of these messages that are there, in order."""
    query = select(messages).where(messages.c.id.in_(message_ids)).order_by(messages.c.id)
    return [_kept(row) for row in tx.execute(query)]


def newest(tx: Connection) -> int:
    """The highest number that a message has; 0 if there is none."""
    return int(tx.execute(select(func.coalesce(func.max(messages.c.id), 0))).scalar_one())


def ids_between(tx: Connection, after: int, last: int, reason: str | None, limit: int) -> list[int]:
    """Up to `limit` numbers in `after` < number <= `last`, in order, of one reason unless None."""
    query = select(messages.c.id).where(messages.c.id > after, messages.c.id <= last)
    if reason is not None:
        query = query.where(messages.c.reason == reason)
    return list(tx.execute(query.order_by(messages.c.id).limit(limit)).scalars())


def take(tx: Connection, message_ids: Sequence[int]) -> list[KeptMessage]:
    """Deletes these messages and returns them, in order; those that are gone or being taken by somebody else are left
    out. Until the transaction ends, an equal message that is refused anew waits to be kept."""
    free = select(messages.c.id).where(messages.c.id.in_(message_ids)).with_for_update(skip_locked=True)
    rows = tx.execute(delete(messages).where(messages.c.id.in_(free)).returning(*messages.c))
    return sorted(map(_kept, rows), key=lambda message: message.id)


def forget_expired(tx: Connection) -> int:
    """Deletes what has expired. Returns how many."""
    return tx.execute(delete(messages).where(messages.c.expires_at < func.now())).rowcount


def _kept(row: Row[tuple[object, ...]]) -> KeptMessage:
    return KeptMessage(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
