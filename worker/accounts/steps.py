"""The steps of a change at Stripe: each request is committed before it is sent, and its answer before the next one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from worker.accounts.completing import Completing
from worker.accounts.detaching import detach
from worker.accounts.detailing import Detailing, opened
from worker.accounts.erasing import Erasing
from worker.accounts.keyed import MOST_GENERATIONS, Keyed
from worker.accounts.leases import ChangeLease, ChangeLeases
from worker.accounts.opening import Opening
from worker.accounts.refusals import is_missing, meant
from worker.domain.account_changes import (
    OF_COMPLETIONS,
    OF_THE_SUBSCRIPTION,
    PAGES,
    PAYS,
    AccountChange,
    ChangeRefused,
    Kind,
    Step,
)
from worker.domain.changing import Changeable, canceling_request, forbidden, own_default_request, plan_request
from worker.domain.checkouts import CameToNothing, completing_request, require_living
from worker.domain.stripe_facts import Answer, ExpandedCustomer, FetchedSubscription
from worker.errors import SubkeeperError, TryLater
from worker.sealing import Sealer
from worker.stripe_api.account_calls import AccountCalls, Changing
from worker.stripe_api.catalogue import UnusablePlan
from worker.stripe_api.errors import KeyBurnt, TrialPassed, refusal_of

LEDGER_LOOK, LEDGER_PATIENCE = 0.05, 3.0
"""Seconds between two looks at a new user's ledger row, and for how long a thread looks at first: most are settled by
then."""


class Steps:
    """`price_id` finds a plan's price, and raises as `Catalogue.price_id`; `proration`: for plans that are being paid
    for."""

    def __init__(
        self,
        leases: ChangeLeases,
        calls: AccountCalls,
        sealer: Sealer,
        *,
        namespace: str,
        price_id: Callable[[str], str],
        proration: str,
        opening: Opening,
        completing: Completing,
        erasing: Erasing,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._leases = leases
        self._calls = calls
        self._detailing = Detailing(calls, sealer)
        self._sealer = sealer
        self._keyed = Keyed(leases, namespace)
        self._price_id = price_id
        self._proration = proration
        self._opening = opening
        self._completing = completing
        self._erasing = erasing
        self._sleep = sleep

    def take(self, lease: ChangeLease) -> None:
        """All that are left, until the change has ended. Raises `ChangeRefused` where one can't be taken, and what the
        gateway raises for anything that must wait or stop."""
        now: Changeable | None = None  # as Stripe's last answer in this lease had it
        while (step := lease.change.step) is not None:
            if step is Step.PROVISION:
                self._await_ledger(lease)
            elif step is Step.REMOVE:
                self._remove(lease)
            elif step in OF_THE_SUBSCRIPTION:
                now = self._of_the_subscription(lease, now)
            elif lease.change.kind in PAGES:
                self._opening.take(lease)
            elif lease.change.kind is Kind.COMPLETION:
                self._completing.take(lease)
            elif lease.change.kind is Kind.ERASE:
                self._erasing.take(lease)
            else:
                self._of_the_customer(lease)

    def _await_ledger(self, lease: ChangeLease) -> None:
        """Patiently at first alone: where nobody settles, new users would keep the threads from everybody else's."""
        looks = round(LEDGER_PATIENCE / LEDGER_LOOK) if lease.change.attempts <= 1 else 1
        for _ in range(looks):
            if (settled := self._leases.settled(lease.change.user_id)) is not None:
                customer_id, subscription_id = settled
                self._leases.advance(
                    lease,
                    replace(lease.change, stripe_customer_id=customer_id, stripe_subscription_id=subscription_id),
                )
                return
            self._sleep(LEDGER_LOOK)
        raise TryLater("ledger_unsettled")

    def _remove(self, lease: ChangeLease) -> None:
        identifier = str(lease.change.stripe_subscription_id)

        def cancel(_: object, key: str) -> None:
            try:
                self._calls.cancel_subscription(identifier, key=key, deadline=lease.deadline)
            except SubkeeperError as error:
                if not is_missing(error):
                    raise
                self._require_ended(lease, identifier)

        self._keyed.ask(lease, lambda _: {}, cancel)
        self._leases.remove(lease)

    def _require_ended(self, lease: ChangeLease, identifier: str) -> None:
        """Stripe has nothing to cancel: it must have ended before."""
        try:
            found = self._calls.subscription(identifier, deadline=lease.deadline).value.found.fact
        except SubkeeperError as error:
            if not is_missing(error):
                raise meant(lease.change, error) from error
            return
        if not found.is_terminal:
            raise TryLater("subscription_missing_and_there")

    # Steps whose answer is the customer, or a card of it

    def _of_the_customer(self, lease: ChangeLease) -> None:
        change = lease.change.remembered()
        customer_id = change.stripe_customer_id
        if customer_id is None:
            raise ChangeRefused("customer_gone", "the user's customer was deleted at Stripe")
        watched = self._leases.begin(lease, change, watched=False)
        for _ in range(MOST_GENERATIONS):
            try:
                changed, default = self._asked_of_customer(lease, customer_id)
            except SubkeeperError as error:
                self._renew(lease, error, watched=False)
            else:
                self._leases.advance(lease, changed, watched, default=default)
                return
        raise TryLater("generations_exhausted")

    def _asked_of_customer(
        self, lease: ChangeLease, customer_id: str
    ) -> tuple[AccountChange, Answer[ExpandedCustomer] | None]:
        """The change as it goes on from there, and the customer's default payment method where that was asked for. An
        answer from memory is as old as the first request: then what is so now is fetched."""
        change, key, deadline = lease.change, self._keyed.key(lease), lease.deadline
        if change.kind is Kind.DETAILS:
            return self._detailing.ask(change, customer_id, key=key, deadline=deadline), None
        if change.step is Step.EMAIL:
            email = opened(self._sealer, change)
            self._calls.update_customer(customer_id, {"email": email}, key=key, deadline=deadline)
            return replace(change, sealed_email=None), None
        if change.step is Step.DETACH:
            detach(self._calls, str(change.wanted["payment_method"]), customer_id, key=key, deadline=deadline)
            return change, self._calls.customer(customer_id, deadline=deadline)
        card = str(change.wanted["stripe_source"])
        if change.step is Step.ATTACH:
            card = self._calls.attach(card, customer_id, key=key, deadline=deadline)
            return replace(change, wanted={**change.wanted, "stripe_source": card}), None
        settings = {"invoice_settings": {"default_payment_method": card}}
        answer = self._calls.update_customer(customer_id, settings, key=key, deadline=deadline)
        return change, self._calls.customer(customer_id, deadline=deadline) if answer.replayed else answer

    # Steps whose answer is the subscription

    def _of_the_subscription(self, lease: ChangeLease, now: Changeable | None) -> Changeable:
        for _ in range(MOST_GENERATIONS):
            change = lease.change.remembered()
            if change.request is None:
                now = now or self._looked(change, lease)
                request = self._request(change, now)
                if request is None:
                    return self._is_so(lease, change, now)
                change = replace(change, request=request)
            watched = self._leases.begin(lease, change, watched=True)
            try:
                answer = self._asked(lease)
            except SubkeeperError as error:
                self._renew(lease, error, watched=True)
                now = None
            else:
                self._leases.advance(lease, lease.change, watched, _row_of(answer))
                return answer.value.now
        raise TryLater("generations_exhausted")

    def _looked(self, change: AccountChange, lease: ChangeLease) -> Changeable:
        """What is so at Stripe now."""
        if not lease.is_new:
            self._leases.require(lease)
        lease.is_new = False
        return self._fetched(change, lease).value.now

    def _request(self, change: AccountChange, now: Changeable) -> Mapping[str, object] | None:
        if change.kind is Kind.COMPLETION:
            require_living(now)
        if change.step in OF_COMPLETIONS:
            return completing_request(change.step, now, str(change.wanted["stripe_source"]))
        if (refused := forbidden(now.status, [change.step] if change.step is not None else [])) is not None:
            raise refused
        if change.step is Step.PLAN:
            try:
                price_id = self._price_id(str(change.wanted["plan"]))
            except UnusablePlan as unusable:
                raise ChangeRefused("plan_unusable", "Stripe has no price for this plan now") from unusable
            return plan_request(now, price_id, self._proration)
        if change.step is Step.CANCELING:
            return canceling_request(now, canceling=bool(change.wanted["canceling"]))
        return own_default_request(now, str(change.wanted["stripe_source"]))

    def _is_so(self, lease: ChangeLease, change: AccountChange, now: Changeable) -> Changeable:
        """Nothing is to be asked. Whoever asked for it is told what Stripe says, so that is fetched as any mark's."""
        if change.step is not Step.PLAN and change.step is not Step.CANCELING:
            self._leases.advance(lease, change)
            return now
        watched = self._leases.begin(lease, change, watched=True)
        answer = self._fetched(change, lease)
        self._leases.advance(lease, lease.change, watched, _row_of(answer))
        return answer.value.now

    def _asked(self, lease: ChangeLease) -> Answer[Changing]:
        """Stripe's answer. One from memory is as old as the first request: then what is so now is fetched."""
        change = lease.change
        assert change.request is not None, "built before"
        if change.step in PAYS:
            refused = self._completing.pay(lease)
            return self._completing.paid(lease, self._fetched(change, lease), refused)
        if change.step is Step.RESUME:
            resumed = self._completing.resume(lease)
            return self._completing.resumed(self._fetched(change, lease) if resumed.replayed else resumed)
        answer = self._calls.update_subscription(
            str(change.stripe_subscription_id), change.request, key=self._keyed.key(lease), deadline=lease.deadline
        )
        return self._fetched(change, lease) if answer.replayed else answer

    def _fetched(self, change: AccountChange, lease: ChangeLease) -> Answer[Changing]:
        try:
            return self._calls.subscription(str(change.stripe_subscription_id), deadline=lease.deadline)
        except SubkeeperError as error:
            raise meant(change, error) from error

    # Keys

    def _renew(self, lease: ChangeLease, error: SubkeeperError, *, watched: bool) -> None:
        """The next generation of the step, where the key can't be used any more or a trial has ended meanwhile. Raises
        anything else."""
        is_passed = isinstance(error, TrialPassed) and lease.change.step is Step.PLAN
        if not (is_passed or isinstance(error, CameToNothing)) and (
            not isinstance(error, KeyBurnt) or refusal_of(error) is not None
        ):
            raise meant(lease.change, error) from error
        change = lease.change.renewed()
        self._leases.begin(lease, change, watched=watched)


def _row_of(answer: Answer[Changing]) -> Answer[FetchedSubscription]:
    """What our row keeps of it."""
    return Answer(answer.value.found, answer.seen_from, answer.seen_to, answer.replayed, answer.request_id)
