"""A subscription at Stripe beside our row: whether they differ, seen twice before it is told.

What has just happened is on its way: a difference counts once the row has held still since, while there was time to
hear of it, and only as far as Stripe says the same again where it can't be told which of the two is older.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from worker.domain.deadline import Deadline
from worker.domain.drift import Difference, Finding, Kind, differences, is_unmoved
from worker.domain.invoice import charge
from worker.domain.lanes import Lane
from worker.domain.owners import OwnerKind
from worker.domain.stripe_facts import FetchedSubscription
from worker.domain.subscription import SLACK, Subscription
from worker.events.claims import claimed, named_user
from worker.events.patience import Patience
from worker.events.refresher import NOBODYS, UNDER_WAY
from worker.events.snapshots import PlanOf, plan_name
from worker.events.vanished import is_missing
from worker.store import customers, refreshes, subscriptions, tombstones
from worker.store.engine.database import Database
from worker.store.provisioning import following
from worker.stripe_api.errors import AnswerIncomplete, CustomerGone, Refused
from worker.stripe_api.gateway import StripeGateway
from worker.stripe_api.subscription_list import SubscriptionPage

LOOKS = 3
"""So often a subscription is asked for whose row moves meanwhile; then somebody is at it."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """What differed at first sight, from a row as it was then (None: there was none)."""

    found: FetchedSubscription
    seen_from: datetime
    row: Subscription | None


class Comparison:
    """`namespace` and `plan_of` as the refresher has them."""

    def __init__(
        self,
        database: Database,
        gateway: StripeGateway,
        *,
        namespace: str,
        plan_of: PlanOf,
        patiently: Patience,
    ) -> None:
        self._database = database
        self._gateway = gateway
        self._namespace = namespace
        self._plan_of = plan_of
        self._patiently = patiently

    def suspects(self, page: SubscriptionPage) -> list[Suspect]:
        """Those of a page that differ from what is here, and are of ours."""
        with self._database.transaction() as tx:
            rows = subscriptions.read(tx, [each.fact.id for each in page.found])
            removed = tombstones.among(tx, [each.fact.id for each in page.found if each.fact.id not in rows])
            strangers = sorted({each.fact.customer_id for each in page.found if each.fact.id not in rows})
            owners = customers.owners(tx, strangers) if strangers else {}
        found = []
        for each in page.found:
            row = rows.get(each.fact.id)
            is_named = named_user(self._namespace, each) is not None
            is_ours = row is not None or each.fact.customer_id in owners or is_named
            if is_ours and each.fact.id not in removed and (row is None or self._differences(row, each)):
                found.append(Suspect(each, page.seen_from, row))
        return found

    def look_again(self, suspect: Suspect) -> Finding | None:
        """What is still so; None: it was on its way."""
        found = suspect.found
        row = self._row(found.fact.id)
        if row is None:
            return self._missing_here(found)
        if not (told := self._differences(row, found)):
            return None
        before = suspect.row
        if before is not None and is_unmoved(before, row) and row.seen_to + SLACK < suspect.seen_from:
            return self._differing(row, found, told)
        return self.ask(found.fact.id)

    def ask(self, stripe_subscription_id: str) -> Finding | None:
        """Stripe is asked for this one, and its row must hold still meanwhile."""
        for _ in range(LOOKS):
            before = self._row(stripe_subscription_id)
            try:
                found = self.fetch(stripe_subscription_id)
            except AnswerIncomplete as incomplete:
                return Finding(Kind.UNREADABLE, stripe_subscription_id=stripe_subscription_id, detail=incomplete.detail)
            if found is None:
                return self._missing_there(before) if before is not None else None
            after = self._row(stripe_subscription_id)
            if after is None:
                return self._missing_here(found)
            if not (told := self._differences(after, found)):
                return None
            if before is not None and is_unmoved(before, after):
                return self._differing(after, found, told)
        return None

    def fetch(self, stripe_subscription_id: str) -> FetchedSubscription | None:
        """The subscription at Stripe; None: there is none. Raises `AnswerIncomplete`."""

        def retrieve(deadline: Deadline) -> FetchedSubscription:
            return self._gateway.subscription(stripe_subscription_id, lane=Lane.BACKFILL, deadline=deadline).value

        try:
            return self._patiently(retrieve)
        except (Refused, CustomerGone) as refused:
            if not is_missing(refused):
                raise
            return None

    def _missing_there(self, row: Subscription) -> Finding:
        with self._database.transaction() as tx:
            since = refreshes.missing_since(tx, row.id)
        detail = f"set aside: Stripe has had none such since {since:%Y-%m-%dT%H:%M:%SZ}" if since else None
        return Finding(Kind.MISSING_THERE, row.user_id, row.id, detail=detail)

    def _row(self, stripe_subscription_id: str) -> Subscription | None:
        with self._database.transaction() as tx:
            return subscriptions.read(tx, [stripe_subscription_id]).get(stripe_subscription_id)

    def _differences(self, row: Subscription, found: FetchedSubscription) -> Sequence[Difference]:
        told = charge(found.latest_invoice) if found.latest_invoice is not None else None
        state = found.fact.columns(plan_name(found.fact, self._plan_of))
        return differences(row, state, told, found.customer_default)

    def _differing(self, row: Subscription, found: FetchedSubscription, told: Sequence[Difference]) -> Finding:
        """Against a tombstone only an end is written: a deleted customer's subscription that lives is for a person."""
        fact = found.fact
        with self._database.transaction() as tx:
            owner = customers.owners(tx, [fact.customer_id]).get(fact.customer_id)
        is_buried = owner is not None and owner.deleted
        return Finding(
            Kind.DIFFERING,
            row.user_id,
            fact.id,
            fact.customer_id,
            tuple(told),
            detail="its customer is known here as deleted" if is_buried else None,
            mendable=fact.is_terminal or not is_buried,
        )

    def _missing_here(self, found: FetchedSubscription) -> Finding | None:
        """None where nobody is to have it: one that was removed here, a deleted customer's, or a user's who is being
        provisioned or forgotten."""
        fact = found.fact
        with self._database.transaction() as tx:
            if tombstones.among(tx, [fact.id]):
                return None
            owner = customers.owners(tx, [fact.customer_id]).get(fact.customer_id)
            whose = claimed(tx, self._namespace, found, owner)
            if whose is None or (owner is not None and owner.deleted):
                return None
            user_id = whose.id if whose.kind is OwnerKind.USER else None
            state = following.state_of(tx, user_id) if user_id is not None else None
            other = customers.living(tx, [user_id]).get(user_id) if user_id is not None else None
        if state in UNDER_WAY | NOBODYS:
            return None
        if owner is None and other is not None:
            detail = f"the user has the customer {other}"
            return Finding(Kind.ORPHANED_CUSTOMER, user_id, fact.id, fact.customer_id, detail=detail)
        return Finding(Kind.MISSING_HERE, user_id, fact.id, fact.customer_id, mendable=True)
