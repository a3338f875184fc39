"""Which subscription is the user's, as it moves: in the ledger, and as a change that readers hear of."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection

from worker.domain.subscription import pointed
from worker.store import subscriptions
from worker.store.provisioning import following


def hold(tx: Connection, user_id: str | None) -> None:
    """Locks the user's row of the ledger, for who is to lock marks before he moves the user: it comes before them. A
    project (None) has none."""
    if user_id is not None:
        following.lock(tx, [user_id])


def move(tx: Connection, owners: Iterable[str | None]) -> None:
    """Sees to it that each of these users (None: a project) is at a subscription that lives, if there is one; a move is
    a change."""
    user_ids = {each for each in owners if each is not None}
    moved = following.move_pointers(tx, sorted(user_ids)) if user_ids else []
    if moved:
        rows = subscriptions.locked(tx, moved)
        changed = [pointed(row) for row in rows.values()]
        subscriptions.write(tx, [row for row, _ in changed], [change for _, change in changed])
