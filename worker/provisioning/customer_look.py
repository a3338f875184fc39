"""Looking for the customer that a ledger row's earlier requests, or another database, may have made.

From the most exact list to the widest: what walks remember, the customers of that email, and then the walk, which alone
proves that there is none. Where it would have far to go, Search is asked first, as it can take the walk's older part.

On a test clock `created` is that clock's time and tells nothing of when somebody asked: all of its customers are read,
each time. Stripe allows three.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from worker.domain.looks import quiet_for
from worker.domain.provisioning import Requested, look_window, our_customer, user_digest
from worker.domain.stripe_facts import CustomerFact
from worker.provisioning.customer_walk import CustomerWalk, Wanted
from worker.provisioning.leases import Lease, Leases
from worker.stripe_api.errors import CustomerGone, Refused, SharedRefusal
from worker.stripe_api.gateway import StripeGateway

MOST_READS = 3
"""Reads of Stripe before a row leaves it to the walk: pages by email, and Search."""

FAR = timedelta(days=3)
"""Search is asked where the walk would have to go further back than this: a weekend's outage is still walked."""

SEARCH_BEHIND = timedelta(hours=1)
"""How much older than the youngest customer that Search shows those may be that it doesn't show yet: in an outage it is
behind by as much (https://docs.stripe.com/search#data-freshness)."""

LONGEST_RELIANCE = 60.0
"""Seconds for which a walk answers rows whose requests were all long before it; the next one reads only what is new. No
longer, since a database that is set back under us knows nothing of its last requests."""

MOST_LOOKS = 50_000
"""Rows whose looks are remembered while they are given back, to go on where they were."""


@dataclass(slots=True)
class Look:
    """How far the look of one row is. `left`: the row's requests as this process leaves them; if they are others when
    it comes back, somebody has asked Stripe meanwhile, and the look begins anew."""

    generation: int
    left: Requested | None
    burnt: bool
    wanted: Wanted
    start: datetime
    reads: int = 0
    by_email: bool = False
    searched: bool = False


class CustomerLook:
    """Finds the customers that carry our digests. Raises what the gateway raises, and `WalkUnderWay`."""

    def __init__(self, gateway: StripeGateway, leases: Leases, namespace: str, walk: CustomerWalk) -> None:
        self._gateway = gateway
        self._leases = leases
        self._namespace = namespace
        self._walk = walk
        self._looks: dict[str, Look] = {}  # each is touched by the row's holder alone
        self._lock = threading.Lock()
        self._log = structlog.get_logger(__name__)

    def is_burnt(self, lease: Lease) -> bool:
        """Whether this row was given back in the middle of a look for what a burnt key made."""
        look = self._known(lease)
        return look is not None and look.burnt

    def find(self, lease: Lease, email: str | None, *, burnt: bool) -> CustomerFact | None:
        """The customer, or None where there certainly is none. Renews the lease where that takes long."""
        look = self._known(lease)
        if look is None or look.burnt != burnt:
            look = self._begun(lease, burnt=burnt)
        look.left = lease.row.requested if lease.sent else lease.row.requested_before
        found = self._found(lease, look, email)
        with self._lock:
            self._looks.pop(lease.row.user_id, None)
        return found

    def _found(self, lease: Lease, look: Look, email: str | None) -> CustomerFact | None:
        if self._gateway.test_clock is not None:
            return self._on_test_clock(lease, look.wanted.digest)
        return self._confirmed(lease, look) or self._by_email(lease, look, email) or self._walked(lease, look)

    def _on_test_clock(self, lease: Lease, digest: str) -> CustomerFact | None:
        after: str | None = None
        while True:
            page = self._gateway.customers_page(after=after, lane=lease.row.lane, deadline=lease.deadline)
            self._leases.keep(lease)
            if (found := our_customer(page.customers, digest)) is not None or not page.more:
                return found
            after = page.customers[-1].id

    def _known(self, lease: Lease) -> Look | None:
        row, look = lease.row, self._looks.get(lease.row.user_id)
        now = row.requested if lease.sent else row.requested_before
        return look if look is not None and (look.generation, look.left) == (row.generation, now) else None

    def _begun(self, lease: Lease, *, burnt: bool) -> Look:
        row, now = lease.row, self._leases.now()
        start, _ = look_window(row, now)
        asked = self._leases.clock()
        if not lease.sent:
            asked -= min(LONGEST_RELIANCE, quiet_for(row, now).total_seconds())
        wanted = Wanted(user_digest(self._namespace, row.user_id), asked, start)
        look = Look(row.generation, None, burnt, wanted, start)
        with self._lock:
            self._looks.pop(row.user_id, None)
            self._looks[row.user_id] = look
            if len(self._looks) > MOST_LOOKS:
                del self._looks[next(iter(self._looks))]
        return look

    def _confirmed(self, lease: Lease, look: Look) -> CustomerFact | None:
        """What a walk has seen: since the row looks, or before that and still there."""
        if look.wanted.found is not None:
            return look.wanted.found
        known = self._walk.remembered(look.wanted.digest)
        if known is None:
            return None
        try:
            there = self._gateway.customer(known.id, lane=lease.row.lane, deadline=lease.deadline).value
        except CustomerGone:
            there = None
        if there is None or there.user_digest != look.wanted.digest:
            self._walk.forget(look.wanted.digest)
            return None
        return there

    def _by_email(self, lease: Lease, look: Look, email: str | None) -> CustomerFact | None:
        """One among those with that address; many may share it, so only the newest are read. Where Stripe refuses to
        look for such an address, the walk does."""
        if email is None or look.by_email:
            return None
        try:
            return self._among_those_of(lease, look, email)
        except (Refused, SharedRefusal):
            look.by_email = True
            return None

    def _among_those_of(self, lease: Lease, look: Look, email: str) -> CustomerFact | None:
        after, pages = None, 0
        while pages < MOST_READS:
            page = self._gateway.customers_page(email=email, after=after, lane=lease.row.lane, deadline=lease.deadline)
            pages += 1
            self._leases.keep(lease)
            if (found := our_customer(page.customers, look.wanted.digest)) is not None:
                return found
            if not page.more:
                break
            after = page.customers[-1].id
        look.by_email, look.reads = True, look.reads + pages
        return None

    def _walked(self, lease: Lease, look: Look) -> CustomerFact | None:
        now = self._leases.now()
        if now - look.start > FAR and not look.searched and look.reads < MOST_READS:
            # The last hours have to be walked in any case, and show customers that Search can be held to.
            found = self._walk_to(lease, look, now - SEARCH_BEHIND)
            if found is None and look.wanted.seen_to >= look.start:
                found = self._searched(lease, look, now)
            if found is not None:
                return found
        return self._walk_to(lease, look, look.start)

    def _walk_to(self, lease: Lease, look: Look, start: datetime) -> CustomerFact | None:
        look.wanted.start = start
        return self._walk.find(
            look.wanted, lane=lease.row.lane, deadline=lease.deadline, keep=lambda: self._leases.keep(lease)
        )

    def _searched(self, lease: Lease, look: Look, now: datetime) -> CustomerFact | None:
        """What Search finds. It may be far behind, so by itself it proves nothing that it finds none; but what was
        created a while before the youngest customer that the same answer shows would be shown, and needs no walk."""
        digest, witnesses = look.wanted.digest, self._walk.witnesses(now)
        look.searched = True
        if not witnesses:
            return None
        look.reads += 1
        try:
            found = self._gateway.customers_by_digest_search(
                [digest, *witnesses], lane=lease.row.lane, deadline=lease.deadline
            )
        except (Refused, SharedRefusal) as refusal:  # Stripe doesn't offer it everywhere
            self._log.warning("search.refused", reason=str(refusal))
            return None
        self._leases.keep(lease)
        shown = [each.created for each in found if each.user_digest in witnesses]
        if shown:
            look.start = max(look.start, max(shown) - SEARCH_BEHIND)
        return our_customer(found, digest)
