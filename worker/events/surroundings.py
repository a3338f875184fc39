"""What a batch's events are judged by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from worker.domain import owners as domain
from worker.domain.owners import Named, OwnerKind, Share, is_shared, named_owner, whose
from worker.domain.provisioning import user_digest
from worker.domain.subscription import WILL_END, Subscription
from worker.events.customer_news import CustomerNews
from worker.events.snapshots import Said
from worker.store import customers, owners, refreshes, subscriptions, tombstones
from worker.store.customers import Owner
from worker.store.engine.database import Transaction
from worker.store.provisioning import following


class Surroundings:
    """Whose objects they are about, who is being provisioned, and what they say of customers' default payment
    methods."""

    def __init__(
        self,
        tx: Transaction,
        namespace: str,
        said: Sequence[Said],
        rows: Mapping[str, Subscription],
        news: CustomerNews,
    ) -> None:
        self._namespace = namespace
        self.news = news
        foreign = [each for each in said if each.subscription_id not in rows]
        customer_ids = {each.customer_id for each in foreign if each.customer_id is not None} - news.asked
        self._owners = news.owners | (customers.owners(tx, sorted(customer_ids)) if customer_ids else {})
        shared = customer_ids | {each.customer_id for each in foreign if each.customer_id in news.owners}
        asked = {(each.customer_id, self._named(each)) for each in foreign if each.customer_id in shared}
        self._shares = owners.of(tx, asked) if asked else {}
        users = {user for each in foreign if (user := self.user_of(each)) is not None}
        self._unfinished = following.unfinished(tx, sorted(users)) if users else set()
        claimed = {user for each in foreign if each.subscription_id is None and (user := self._claimed(each))}
        self._living = customers.living(tx, sorted(claimed)) if claimed else {}
        somebodys = [each for each in foreign if self.may_be_ours(each)]
        noticed = {each.subscription_id for each in somebodys if each.subscription_id and is_notice(each)}
        self._coming = refreshes.coming(tx, sorted(noticed)) if noticed else set()
        # Last: what was no longer under way or coming by now has its row.
        named = {each.subscription_id for each in somebodys if each.subscription_id}
        self._appeared = set(subscriptions.read(tx, sorted(named))) if named else set()
        unknown = {each.subscription_id for each in foreign if each.subscription_id is not None}
        self._removed = tombstones.among(tx, sorted(unknown)) if unknown else set()

    def owner(self, said: Said) -> Owner | None:
        """Of the customer that the event names."""
        return self._owners.get(said.customer_id or "")

    def user_of(self, said: Said) -> str | None:
        """Which user's it is: of a subscription as `whose` has it; its customer's own, else who its metadata names, if
        the digest with it is ours."""
        owner = self.owner(said)
        if owner is not None and said.subscription_id is not None:
            found = self._whose(said, owner)
            return found.id if found is not None and found.kind is OwnerKind.USER else None
        return owner.user_id if owner is not None else self._claimed(said)

    def may_be_ours(self, said: Said) -> bool:
        """Whether a subscription may be somebody's we know: of which one an invoice on a shared customer is, only that
        subscription tells."""
        owner = self.owner(said)
        if owner is None or said.subscription_id is None:
            return self.user_of(said) is not None
        is_told = said.event.type.startswith("customer.subscription.")
        return self._whose(said, owner) is not None or (not is_told and is_shared(self._shares_of(said), owner.user_id))

    def _whose(self, said: Said, owner: Owner) -> domain.Owner | None:
        return whose(self._shares_of(said), owner.user_id, self._named(said))

    def _named(self, said: Said) -> domain.Owner | None:
        return named_owner(Named(said.user_id, said.project_id, said.digest), self._namespace)

    def _shares_of(self, said: Said) -> list[Share]:
        return self._shares.get(said.customer_id or "", [])

    def is_unfinished(self, user_id: str) -> bool:
        return user_id in self._unfinished

    def is_removed(self, subscription_id: str) -> bool:
        """Whether its row was removed, for good."""
        return subscription_id in self._removed

    def is_coming(self, subscription_id: str) -> bool:
        """Whether a fetch may yet make the row that a notice is for."""
        return subscription_id in self._coming

    def has_appeared(self, subscription_id: str) -> bool:
        """Whether it has a row that was committed since the rows were read."""
        return subscription_id in self._appeared

    def other_customer(self, said: Said) -> str | None:
        """Another customer that the user has whom this customer's metadata names."""
        user_id = self._claimed(said)
        other = self._living.get(user_id) if user_id is not None else None
        return other if other != said.customer_id else None

    def _claimed(self, said: Said) -> str | None:
        if said.user_id is None or said.digest != user_digest(self._namespace, said.user_id):
            return None
        return said.user_id


def is_notice(said: Said) -> bool:
    return said.event.type.endswith(WILL_END)
