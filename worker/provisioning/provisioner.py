"""Settles one leased ledger row, and commits what came of it.

What makes this safe is the order: a request, and that it may be sent, are committed before it is sent; what Stripe
answers is committed under the lease's fence; whatever is not known to have happened is asked again with the same key,
or looked for (docs/design.md, *Provisioning*).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import StrEnum

import structlog

from worker.domain.deadline import OutOfTime
from worker.domain.lanes import Lane
from worker.domain.provisioning import State, retry_delay, retry_lane
from worker.errors import Misconfigured, Rejected, SubkeeperError, TryLater
from worker.provisioning.customer_step import CustomerStep
from worker.provisioning.customer_walk import WalkUnderWay
from worker.provisioning.leases import Lease, Leases
from worker.provisioning.subscription_step import SubscriptionStep
from worker.store.engine.errors import (
    CustomerAlreadyExists,
    LeaseLost,
    StripeCustomerAlreadyExists,
    SubscriptionAlreadyExists,
)
from worker.stripe_api.catalogue import UnusablePlan
from worker.stripe_api.errors import AnswerIncomplete, CustomerGone, Refused, SharedRefusal
from worker.telemetry import Metrics
from worker.work.owner import Ended


class Settled(StrEnum):
    """What came of one lease."""

    COMPLETED = "completed"
    ADOPTED = "adopted"
    """Completed with a subscription that was there already: found, or in Stripe's memory."""
    POSTPONED = "postponed"
    REFUSED = "refused"
    QUARANTINED = "quarantined"
    LEASE_LOST = "lease_lost"


class Provisioner:
    """`rng` jitters retries. `may_blame`: whether what every new row needs is in order, so far as is known: else no
    row is quarantined for a refusal that others may meet."""

    def __init__(
        self,
        customer: CustomerStep,
        subscription: SubscriptionStep,
        leases: Leases,
        metrics: Metrics,
        rng: random.Random,
        *,
        may_blame: Callable[[], bool],
    ) -> None:
        self._customer = customer
        self._subscription = subscription
        self._leases = leases
        self._metrics = metrics
        self._rng = rng
        self._may_blame = may_blame
        self._log = structlog.get_logger(__name__)

    def lease_due(self, wanted: Mapping[Lane, int]) -> list[Lease]:
        """Up to so many due rows of each lane, the longest due first."""
        return self._leases.lease_due(wanted)

    def run(self, lease: Lease) -> Ended:
        """`settle`, for who does the work. Who is served with what was there already has not passed: nothing was asked
        that others are refused."""
        settled = self.settle(lease)
        passed = settled is Settled.COMPLETED
        return Ended(
            str(settled), passed=passed, whole=passed and lease.made_customer, refused=settled is Settled.REFUSED
        )

    def give_back(self, lease: Lease) -> None:
        """The row is due at once; what was not sent counts as not asked."""
        self._leases.postpone(lease, delay=0, lane=lease.lane, error=None)

    def settle(self, lease: Lease) -> Settled:
        """Brings the row as far as it goes now.

        Raises `Misconfigured` when Stripe refuses the key, for every row (this one is given back), and `Unavailable`
        when Postgres is away (the lease then runs out by itself).
        """
        try:
            return self._settle(lease)
        except LeaseLost:
            self._metrics.lease_lost()
            self._log.warning("lease.lost", user_id=lease.row.user_id)
            return Settled.LEASE_LOST

    def crashed(self, lease: Lease, error: Exception) -> None:
        """Gives back a row whose settling raised what nobody foresaw: it is tried again, ever more rarely."""
        self._log.critical("settling.crashed", user_id=lease.row.user_id, exc_info=error)
        with suppress(SubkeeperError):  # the lease runs out by itself
            self._postpone(lease, TryLater(f"crashed: {type(error).__name__}"))

    def _settle(self, lease: Lease) -> Settled:
        try:
            if lease.row.state is State.PENDING:
                self._customer.ensure(lease)
            made = self._subscription.ensure(lease)
        except (Refused, SharedRefusal, AnswerIncomplete, UnusablePlan) as refusal:
            return self._refuse(lease, refusal)
        except Misconfigured:  # the key
            self.give_back(lease)
            raise
        except (Rejected, StripeCustomerAlreadyExists, SubscriptionAlreadyExists) as refusal:
            self._leases.quarantine(lease, str(refusal), customer_gone=isinstance(refusal, CustomerGone))
            return self._quarantined(lease, refusal)
        except (OutOfTime, WalkUnderWay) as late:  # nothing is wrong with the row: it keeps its lane and its place
            self._leases.postpone(lease, delay=late.after, lane=lease.row.lane, error=str(late))
            return Settled.POSTPONED
        except (TryLater, CustomerAlreadyExists) as later:
            return self._postpone(lease, later)
        self._log.debug("subscription.created", user_id=lease.row.user_id, attempts=lease.row.attempts)
        return Settled.COMPLETED if made else Settled.ADOPTED

    def _refuse(self, lease: Lease, refusal: SubkeeperError) -> Settled:
        """What others may be refused too: the row waits as it is, until it is known whose fault it is."""
        row = lease.row
        is_its_own = self._leases.refuse(
            lease,
            refusal.failure.what if isinstance(refusal, (Refused, SharedRefusal)) else str(refusal),
            str(refusal),
            delay=retry_delay(max(row.attempts, 1), self._rng),
            lane=retry_lane(row.lane),
            may_blame=self._may_blame(),
        )
        if is_its_own:
            return self._quarantined(lease, refusal)
        self._log.warning("provisioning.refused", user_id=row.user_id, reason=str(refusal))
        return Settled.REFUSED

    def _quarantined(self, lease: Lease, refusal: SubkeeperError) -> Settled:
        self._metrics.quarantined(_reason(refusal))
        self._log.error("provisioning.quarantined", user_id=lease.row.user_id, reason=str(refusal))
        return Settled.QUARANTINED

    def _postpone(self, lease: Lease, later: SubkeeperError) -> Settled:
        row = lease.row
        delay = (later.after if isinstance(later, TryLater) else 0) or retry_delay(max(row.attempts, 1), self._rng)
        self._leases.postpone(lease, delay=delay, lane=retry_lane(row.lane), error=str(later))
        self._log.warning("provisioning.postponed", user_id=row.user_id, seconds=round(delay, 3), reason=str(later))
        return Settled.POSTPONED


def _reason(refusal: SubkeeperError) -> str:
    """The constant by which quarantined rows are counted."""
    if isinstance(refusal, Rejected):
        return refusal.reason
    if isinstance(refusal, SharedRefusal):
        return "stripe_refused"
    return "plan_unusable" if isinstance(refusal, UnusablePlan) else "object_of_another_user"
