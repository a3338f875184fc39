"""What the commands for people work with, built from `Settings`."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

from worker.broker.publisher import Publisher
from worker.domain.profile import MessageShape
from worker.settings.model import Settings
from worker.store.engine.database import Database
from worker.store.engine.revision import require_compatible


def message_shape(settings: Settings) -> MessageShape:
    """Where the auth service's messages keep each field. Raises `Misconfigured` where two places overlap."""
    message = settings.message
    shape = MessageShape(user_id=message.id, email=message.email, name=message.name, created_at=message.created_at)
    shape.encode(user_id="a", email="a", name="a", created_at="a")
    return shape


@contextmanager
def open_database(settings: Settings, command: str) -> Iterator[Database]:
    """The database, for as long as `command` (its application name) runs.

    Raises `Misconfigured` where this code can't work on its schema, and `Unavailable`.
    """
    database = Database(settings.database, application_name=f"subkeeper {command}")
    try:
        with database.connection() as connection:
            require_compatible(connection)
        yield database
    finally:
        database.close()


@contextmanager
def open_publisher(settings: Settings, rng: random.Random) -> Iterator[Publisher]:
    """A publisher; connects when something is published."""
    publisher = Publisher(settings.nsq, rng=rng)
    try:
        yield publisher
    finally:
        publisher.close()
