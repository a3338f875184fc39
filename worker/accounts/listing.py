"""Subscriptions, listed by pages: all of them, and a project's to who may see them."""

from __future__ import annotations

from collections.abc import Sequence

from worker.store import owners, subscription_list
from worker.store.engine.database import Database
from worker.store.subscription_list import Chosen, Listed


class Listing:
    """Both give `limit` at most, the newest first, older than the number `before`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(self, chosen: Chosen, before: int, limit: int) -> Sequence[Listed]:
        with self._database.question() as tx:
            return subscription_list.page(tx, chosen, before, limit)

    def of_project(
        self, project_id: str, payer: str | None, chosen: Chosen, before: int, limit: int
    ) -> Sequence[Listed] | None:
        """The project's, to a user who is a `payer` of customers of its (None: to who may see all): what it has on
        those. None: the user is a payer of none of them."""
        with self._database.question() as tx:
            customers = None if payer is None else owners.of_project_paid_by(tx, project_id, payer)
            if customers == []:
                return None
            return subscription_list.of_project(tx, project_id, customers, chosen, before, limit)
