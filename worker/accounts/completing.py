"""What comes of a page of Checkout's that is complete, beside the steps that any change has: the card that was entered,
payments, resumptions, and a subscription that the page has begun.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import structlog

from worker.accounts.keyed import Keyed
from worker.accounts.leases import ChangeLease, ChangeLeases
from worker.accounts.opening import SubscriptionsOf
from worker.accounts.refusals import is_missing, meant
from worker.domain.account_changes import AccountChange, ChangeRefused, Step
from worker.domain.checkouts import (
    CameToNothing,
    CheckoutSession,
    Mode,
    is_payable,
    is_second,
    must_resume_anew,
    theirs,
)
from worker.domain.deadline import Deadline
from worker.domain.lanes import Lane
from worker.domain.provisioning import user_digest
from worker.domain.stripe_facts import Answer, ExpandedCustomer
from worker.errors import SubkeeperError, TryLater
from worker.stripe_api.account_calls import AccountCalls, Changing
from worker.stripe_api.checkout_calls import CheckoutCalls
from worker.stripe_api.errors import refusal_of

BAD_REQUEST = 400

TAKEN_IN_PAUSE = 1.0
"""Seconds between two looks at whether a new subscription has its row: events bring it, or the fetch that is asked
for."""


class Completing:
    def __init__(
        self,
        leases: ChangeLeases,
        calls: CheckoutCalls,
        accounts: AccountCalls,
        *,
        namespace: str,
        subscriptions_of: SubscriptionsOf,
    ) -> None:
        self._leases = leases
        self._calls = calls
        self._accounts = accounts
        self._namespace = namespace
        self._subscriptions_of = subscriptions_of
        self._keyed = Keyed(leases, namespace)
        self._log = structlog.get_logger(__name__)

    def take(self, lease: ChangeLease) -> None:
        """The present step, if its answer isn't the subscription."""
        if lease.change.step is Step.COLLECT:
            self._collect(lease)
        elif lease.change.step is Step.ONLY:
            self._require_only(lease)
        elif lease.change.step is Step.TAKEN_IN:
            change = lease.change
            if not self._leases.pages.is_taken_in(change.user_id, str(change.stripe_subscription_id)):
                raise TryLater("subscription_not_taken_in", after=TAKEN_IN_PAUSE)
            self._leases.advance(lease, lease.change)
        else:
            self._default_card(lease)

    # What the page has come to

    def _collect(self, lease: ChangeLease) -> None:
        change = lease.change
        checkout_id = change.checkout_id
        assert checkout_id is not None, "it completes one"
        if self._leases.pages.is_superseded(checkout_id):
            raise ChangeRefused("superseded", "a later checkout is complete")
        session = self._session(lease)
        if change.stripe_customer_id is None or session.customer_id != change.stripe_customer_id:
            raise ChangeRefused("customer_gone", "the user's customer is another one by now, or was deleted")
        if session.mode == Mode.SUBSCRIPTION:
            self._leases.advance(lease, replace(change, stripe_subscription_id=session.subscription_id))
            return
        if session.payment_method is None:
            raise TryLater("checkout_without_card")
        wanted = {**change.wanted, "stripe_source": session.payment_method}
        self._leases.advance(lease, replace(change, wanted=wanted, stripe_subscription_id=session.serves))

    def _session(self, lease: ChangeLease) -> CheckoutSession:
        try:
            session = self._calls.checkout(str(lease.change.wanted["session"]), deadline=lease.deadline)
        except SubkeeperError as error:
            raise meant(lease.change, error) from error
        if session.status != "complete":  # an event is not all that Stripe says
            raise TryLater("checkout_not_complete")
        return session

    def _default_card(self, lease: ChangeLease) -> None:
        """The customer's, if it has none: what else is charged to it is paid, too, and the trial's end finds it."""
        change = lease.change
        customer_id, card = str(change.stripe_customer_id), str(change.wanted["stripe_source"])
        if change.request is None:
            try:
                known = self._accounts.customer(customer_id, deadline=lease.deadline)
            except SubkeeperError as error:
                raise meant(change, error) from error
            if known.value.default_payment_method is not None:
                self._leases.advance(lease, change, default=known)
                return
        answer = self._keyed.ask(
            lease,
            lambda _: {"invoice_settings": {"default_payment_method": card}},
            lambda request, key: self._set_default(customer_id, request, key, lease.deadline),
        )
        self._leases.advance(lease, lease.change, default=answer)

    def _set_default(
        self, customer_id: str, request: Mapping[str, object], key: str, deadline: Deadline
    ) -> Answer[ExpandedCustomer]:
        """An answer from memory is as old as the first request: then what is so now is fetched."""
        answer = self._accounts.update_customer(customer_id, request, key=key, deadline=deadline)
        return self._accounts.customer(customer_id, deadline=deadline) if answer.replayed else answer

    # Payments and resumptions, whose answer is the subscription after them

    def pay(self, lease: ChangeLease) -> SubkeeperError | None:
        """One attempt; why Stripe takes none, which may be that it is paid: `paid` looks."""
        request = dict(lease.change.request or {})
        invoice_id = str(request.pop("invoice"))
        try:
            self._calls.pay_invoice(invoice_id, request, key=self._keyed.key(lease), deadline=lease.deadline)
        except SubkeeperError as error:
            failure = refusal_of(error)
            if failure is None or failure.status != BAD_REQUEST:
                raise
            return error
        return None

    @staticmethod
    def paid(lease: ChangeLease, answer: Answer[Changing], refused: SubkeeperError | None) -> Answer[Changing]:
        """The subscription after that. Raises what was `refused`, and `TryLater` while its payment is pending."""
        now, request = answer.value.now, lease.change.request or {}
        if is_payable(now) and now.invoice_id == request["invoice"]:
            raise refused or TryLater("payment_pending")
        return answer

    def resume(self, lease: ChangeLease) -> Answer[Changing]:
        change = lease.change
        return self._calls.resume_subscription(
            str(change.stripe_subscription_id),
            change.request or {},
            key=self._keyed.key(lease),
            deadline=lease.deadline,
        )

    @staticmethod
    def resumed(answer: Answer[Changing]) -> Answer[Changing]:
        """Raises `CameToNothing` where it must be asked for once more."""
        if must_resume_anew(answer.value.now):
            raise CameToNothing("the resumption's invoice is void")
        return answer

    # A subscription that the page has begun

    def _require_only(self, lease: ChangeLease) -> None:
        """The first stays where there are two all the same; the second ends, and its payment is a person's to give
        back."""
        change = lease.change
        made, digest = str(change.stripe_subscription_id), user_digest(self._namespace, change.user_id)
        customer_id = str(change.stripe_customer_id)
        try:
            found = self._subscriptions_of(customer_id, lane=Lane.LIVE, deadline=lease.deadline).value
        except SubkeeperError as error:
            raise meant(change, error) from error
        if not is_second(made, theirs(found, digest, self._leases.pages.of_user_there(change))):
            self._leases.advance(lease, change)
            return
        if any(each.id == made and not each.is_terminal for each in found):
            self._cancel(lease, made)
        self._log.error(
            "checkout.subscribed_twice",
            user_id=change.user_id,
            stripe_subscription_id=made,
            checkout=str(change.checkout_id),
        )
        raise ChangeRefused("second_subscription", "the user had another one by then: this one was canceled")

    def _cancel(self, lease: ChangeLease, made: str) -> None:
        def send(_: object, key: str) -> None:
            try:
                self._accounts.cancel_subscription(made, key=key, deadline=lease.deadline)
            except SubkeeperError as error:
                if not is_missing(error):
                    raise

        self._keyed.ask(lease, _nothing, send)


def _nothing(_: AccountChange) -> dict[str, object]:
    return {}
