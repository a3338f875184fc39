"""Which subscription is the user's, as it moves: in the ledger, and as a change that readers hear of."""

from __future__ import annotations

from sqlalchemy import Connection

from worker.domain.subscription import pointed
from worker.store import subscriptions
from worker.store.provisioning import following


def hold(tx: Connection, user_id: str) -> None:
    """Locks the user's row of the ledger, for who is to lock marks before he moves the user: it comes before them."""
    following.lock(tx, [user_id])


def move(tx: Connection, user_ids: set[str]) -> None:
    """Sees to it that each of these users is at a subscription that lives, if there is one; a move is a change."""
    moved = following.move_pointers(tx, sorted(user_ids)) if user_ids else []
    if moved:
        rows = subscriptions.locked(tx, moved)
        changed = [pointed(row) for row in rows.values()]
        subscriptions.write(tx, [row for row, _ in changed], [change for _, change in changed])
