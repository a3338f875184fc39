"""The second half of settling: the customer's subscription on the frozen plan and trial."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

from worker.domain.adoption import has_expired, subscription_to_adopt
from worker.domain.provisioning import (
    Provisioning,
    idempotency_key,
    must_look,
    renewal_wait,
    trial_is_spent,
    user_digest,
)
from worker.domain.stripe_facts import Answer, SubscriptionFact
from worker.domain.terms import Terms
from worker.errors import SubkeeperError, TryLater
from worker.provisioning.customer_step import MOST_GENERATIONS
from worker.provisioning.leases import Lease, Leases
from worker.stripe_api.errors import CustomerGone, KeyBurnt, Refused, SharedRefusal, TrialPassed, TrialRefused
from worker.stripe_api.gateway import StripeGateway


class SubscriptionStep:
    """`customer_created → completed`: finds or creates the subscription."""

    def __init__(
        self, gateway: StripeGateway, leases: Leases, terms: Terms, *, recheck: Callable[[str], object]
    ) -> None:
        """`recheck` asks Stripe anew for a plan's price."""
        self._gateway = gateway
        self._leases = leases
        self._terms = terms
        self._recheck = recheck

    def ensure(self, lease: Lease) -> bool:
        """Returns with the row completed: whether Stripe made the subscription just now, or it was there already.

        Raises what the gateway raises for anything that must wait or stop.
        """
        try:
            return self._ensure(lease)
        except CustomerGone as gone:
            self._confirm(lease, gone)
            raise

    def _confirm(self, lease: Lease, gone: CustomerGone) -> None:
        """A tombstone is for ever, so it takes two words of Stripe's: raises `TryLater` if the customer is there."""
        row = lease.row
        assert row.stripe_customer_id is not None, "Stripe spoke of it"
        with suppress(CustomerGone):
            there = self._gateway.customer(row.stripe_customer_id, lane=row.lane, deadline=lease.deadline).value
            if there is not None:
                raise TryLater("customer_gone_and_there") from gone

    def _ensure(self, lease: Lease) -> bool:
        spent = trial_is_spent(lease.row, self._leases.now())
        look, renew = spent or must_look(lease.row, self._leases.now()), "trial_spent" if spent else None
        refused_trials = 0
        for _ in range(MOST_GENERATIONS):
            if look and self._adopted(lease, renew):
                return False
            try:
                answer = self._create(lease)
            except KeyBurnt:
                look, renew = True, "key_burnt"
            except TrialPassed as passed:
                look, renew, refused_trials = True, "trial_passed", refused_trials + 1
                if refused_trials == MOST_GENERATIONS:
                    raise TrialRefused(passed.failure) from passed
            except (SharedRefusal, Refused):  # nothing was created
                if not self._rebuilt(lease):
                    raise
                look, renew = True, None
            else:
                self._complete(lease, answer, cause="provisioned")
                return not answer.replayed
        raise TryLater("generations_exhausted")

    def _adopted(self, lease: Lease, renew: str | None) -> bool:
        """Completes the row with a subscription that is there, be it one that was canceled; else makes ready to create
        one, in a new generation if `renew` (why) says so or if ours was never paid for."""
        row = lease.row
        assert row.stripe_customer_id is not None, "a customer comes first"
        digest = user_digest(self._terms.namespace, row.user_id)
        answer = self._gateway.subscriptions_of(row.stripe_customer_id, lane=row.lane, deadline=lease.deadline)
        found = subscription_to_adopt(answer.value, digest)
        if found is not None:
            one = Answer(found, answer.seen_from, answer.seen_to, replayed=False, request_id=answer.request_id)
            self._complete(lease, one, cause="adopted")
            return True
        if renew or has_expired(answer.value, digest):
            self._renew(lease, renew or "subscription_expired")
        return False

    def _renew(self, lease: Lease, why: str) -> None:
        self._terms.price_id(lease.row.plan)  # else the next key would stand for nothing that can be sent
        row, now = _unfrozen(lease.row), self._leases.now()
        if why == "trial_spent" and (wait := renewal_wait(row, now)):
            raise TryLater("trial_nearly_spent", after=wait.total_seconds())
        if why == "trial_passed" or trial_is_spent(row, now):
            row = replace(row, trial_end=(now + self._terms.trials.of(row.plan)).replace(microsecond=0))
        self._leases.next_generation(lease, row, why)

    def _rebuilt(self, lease: Lease) -> bool:
        """After a refusal: the next generation, if its request would hold anything else than the refused one (another
        price, other settings). If not, the row keeps its generation and its key, however often it is refused."""
        row = lease.row
        assert row.stripe_customer_id is not None, "a customer comes first"
        try:
            self._recheck(row.plan)
            request = self._terms.request(row, row.stripe_customer_id, self._clock_ahead(lease))
        except SubkeeperError:  # there is nothing better to send
            return False
        if request == row.subscription_request:
            return False
        self._leases.next_generation(
            lease, replace(row, subscription_request=request, look_first=True), "terms_changed"
        )
        return True

    def _complete(self, lease: Lease, answer: Answer[SubscriptionFact], *, cause: str) -> None:
        self._leases.complete(lease, answer, plan=self._terms.plan_name(lease.row, answer.value), cause=cause)

    def _create(self, lease: Lease) -> Answer[SubscriptionFact]:
        row = lease.row
        if row.subscription_request is None:
            assert row.stripe_customer_id is not None, "a customer comes first"
            frozen = self._terms.freeze(row, row.stripe_customer_id, self._leases.now(), self._clock_ahead(lease))
            self._leases.freeze_subscription_request(lease, frozen)
        request = lease.row.subscription_request
        assert request is not None, "frozen just now"
        with lease.sending():
            return self._gateway.create_subscription(
                json.loads(request),
                key=idempotency_key(self._terms.namespace, lease.row),
                lane=row.lane,
                deadline=lease.deadline,
            )

    def _clock_ahead(self, lease: Lease) -> timedelta:
        return self._gateway.test_clock_ahead(lane=lease.row.lane, deadline=lease.deadline)


def _unfrozen(row: Provisioning) -> Provisioning:
    """The row ready for a generation whose request is yet to be built, and which looks before it creates."""
    return replace(row, subscription_request=None, look_first=True)
