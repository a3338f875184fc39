"""Opens pages of Stripe's: Checkout's, one at a time for each user, and the portal's."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

from worker.accounts.keyed import Keyed
from worker.accounts.leases import ChangeLease, ChangeLeases
from worker.accounts.refusals import meant
from worker.domain.account_changes import AccountChange, ChangeRefused, Step
from worker.domain.checkouts import (
    CheckoutSession,
    CheckoutState,
    Terms,
    Urls,
    served,
    setup_request,
    subscription_request,
    theirs,
)
from worker.domain.deadline import Deadline
from worker.domain.lanes import Lane
from worker.domain.portal import Intent, portal_refusal, portal_request
from worker.domain.provisioning import user_digest
from worker.domain.stripe_facts import Answer, SubscriptionFact
from worker.errors import SubkeeperError, TryLater
from worker.sealing import Sealer
from worker.store.checkouts import Standing, Told
from worker.stripe_api.catalogue import UnusablePlan
from worker.stripe_api.checkout_calls import CheckoutCalls
from worker.stripe_api.errors import refusal_of


class SubscriptionsOf(Protocol):
    def __call__(self, customer_id: str, *, lane: Lane, deadline: Deadline) -> Answer[list[SubscriptionFact]]: ...


class Opening:
    """`price_id` as `Catalogue.price_id`; `configuration` tells the portal's, and raises `Misconfigured` where there
    is none. An address is sealed: whoever has it is taken for the user."""

    def __init__(
        self,
        leases: ChangeLeases,
        calls: CheckoutCalls,
        sealer: Sealer,
        terms: Terms,
        *,
        subscriptions_of: SubscriptionsOf,
        price_id: Callable[[str], str],
        configuration: Callable[[Deadline], str],
    ) -> None:
        self._leases = leases
        self._calls = calls
        self._sealer = sealer
        self._terms = terms
        self._subscriptions_of = subscriptions_of
        self._price_id = price_id
        self._configuration = configuration
        self._keyed = Keyed(leases, terms.namespace)

    def take(self, lease: ChangeLease) -> None:
        """The present step, whichever it is."""
        if lease.change.is_forgotten:  # nobody waits any more, and nobody was told of what may have been opened
            raise ChangeRefused("took_too_long", "Stripe was away for too long: begin anew")
        if lease.change.step is Step.EXPIRE:
            self._expire_others(lease)
        elif lease.change.step is Step.OPEN:
            self._open(lease)
        else:
            self._open_portal(lease)

    # One page of Checkout's for each user

    def _expire_others(self, lease: ChangeLease) -> None:
        for page in self._leases.pages.standing(lease.change):
            if page.state is not CheckoutState.OPEN or self.close(lease, page) is CheckoutState.COMPLETE:
                raise _stands()
        self._leases.advance(lease, lease.change)

    def close(self, lease: ChangeLease, page: Standing) -> CheckoutState:
        """Nobody can complete it any more. Returns how it has ended, which is noted."""
        try:
            self._keyed.ask(
                lease,
                lambda _: {},
                lambda _, key: self._calls.expire_checkout(page.session_id, key=key, deadline=lease.deadline),
            )
        except ChangeRefused as refused:
            if refused.code != "refused":
                raise
            return self._ended(lease, page, refused)
        self._leases.pages.heard(Told(page.id, page.session_id, None, CheckoutState.EXPIRED))
        return CheckoutState.EXPIRED

    def _ended(self, lease: ChangeLease, page: Standing, refused: ChangeRefused) -> CheckoutState:
        """How a page has ended that Stripe doesn't expire: the event may be late, so it is noted."""
        try:
            found = self._calls.checkout(page.session_id, deadline=lease.deadline)
        except SubkeeperError as error:
            if refusal_of(error) is None:
                raise
            found = None
        if found is not None and found.status == "open":
            raise TryLater("checkout_open_and_refused") from refused
        is_complete = found is not None and found.status == "complete"
        state = CheckoutState.COMPLETE if is_complete else CheckoutState.EXPIRED
        self._leases.pages.heard(Told(page.id, page.session_id, found.mode if found is not None else None, state))
        return state

    def _open(self, lease: ChangeLease) -> None:
        def send(request: Mapping[str, object], key: str) -> CheckoutSession:
            return self._calls.open_checkout(request, key=key, deadline=lease.deadline)

        session = self._keyed.ask(lease, lambda change: self._page(change, lease.deadline), send)
        if session.url is None:
            raise ChangeRefused("expired", "the page has expired meanwhile: begin anew")
        told = {"session": session.id, "mode": session.mode, "url": self._sealed(lease.change, session.url)}
        self._leases.advance(lease, replace(lease.change, wanted={**lease.change.wanted, **told}))

    def _page(self, change: AccountChange, deadline: Deadline) -> Mapping[str, object]:
        customer_id, digest = self._customer(change), user_digest(self._terms.namespace, change.user_id)
        whose = (self._terms, change.id, change.user_id, digest, customer_id)
        urls = Urls(str(change.wanted["success_url"]), str(change.wanted["cancel_url"]))
        if "plan" not in change.wanted:
            return setup_request(*whose, None, urls)
        try:
            price_id = self._price_id(str(change.wanted["plan"]))
            found = self._subscriptions_of(customer_id, lane=Lane.LIVE, deadline=deadline).value
        except UnusablePlan as unusable:
            raise ChangeRefused("plan_unusable", "Stripe has no price for this plan now") from unusable
        except SubkeeperError as error:
            raise meant(change, error) from error
        own = theirs(found, digest, self._leases.pages.of_user_there(change))
        serves = served(own, change.stripe_subscription_id)
        if serves is None:
            return subscription_request(*whose, price_id, urls)
        return setup_request(*whose, serves.id, urls)

    # The portal

    def _open_portal(self, lease: ChangeLease) -> None:
        intent = Intent(str(lease.change.wanted["intent"]))

        def build(change: AccountChange) -> Mapping[str, object]:
            try:
                configuration = self._configuration(lease.deadline)
            except SubkeeperError as error:
                raise meant(change, error) from error
            url = str(change.wanted["return_url"])
            return portal_request(intent, self._customer(change), configuration, change.stripe_subscription_id, url)

        def send(request: Mapping[str, object], key: str) -> str:
            return self._calls.open_portal(request, key=key, deadline=lease.deadline)

        try:
            url = self._keyed.ask(lease, build, send)
        except ChangeRefused as refused:
            raise (portal_refusal(intent) if refused.code == "refused" else refused) from refused
        sealed = {"url": self._sealed(lease.change, url)}
        self._leases.advance(lease, replace(lease.change, wanted={**lease.change.wanted, **sealed}))

    @staticmethod
    def _customer(change: AccountChange) -> str:
        assert change.stripe_customer_id is not None, "checked when it was asked for"
        return change.stripe_customer_id

    def _sealed(self, change: AccountChange, url: str) -> str:
        return b64encode(self._sealer.seal(url.encode(), change.id.bytes)).decode()


def _stands() -> ChangeRefused:
    return ChangeRefused("checkout_complete", "the user's last checkout is complete, and being applied: it stands")
