"""Erases a user: ends and deletes at Stripe what is theirs, then here.

No step gives up. What Stripe refuses waits, and says why: half an erasure is none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

import structlog

from worker.accounts.erasure_rows import ErasureRows, Theirs
from worker.accounts.keyed import Keyed
from worker.accounts.leases import ChangeLease, ChangeLeases
from worker.accounts.opening import Opening
from worker.accounts.refusals import is_missing, meant
from worker.domain.account_changes import ChangeRefused, Step
from worker.domain.checkouts import CheckoutState
from worker.domain.erasure import STRIPPED, to_end, to_strip
from worker.domain.lanes import Lane
from worker.domain.provisioning import user_digest
from worker.domain.stripe_facts import CustomerFact
from worker.errors import SubkeeperError, TryLater
from worker.stripe_api.errors import CustomerGone, Refused, SharedRefusal
from worker.stripe_api.gateway import StripeGateway

Request = Mapping[str, object]
Send = Callable[[Request, str], None]


class Erasing:
    """`opening` closes pages."""

    def __init__(
        self, leases: ChangeLeases, rows: ErasureRows, gateway: StripeGateway, opening: Opening, *, namespace: str
    ) -> None:
        self._leases = leases
        self._rows = rows
        self._gateway = gateway
        self._calls = gateway.accounts
        self._opening = opening
        self._namespace = namespace
        self._keyed = Keyed(leases, namespace)
        self._log = structlog.get_logger(__name__)

    def take(self, lease: ChangeLease) -> None:
        """The present step. Raises `TryLater` for what Stripe refuses."""
        steps = {
            Step.SETTLED: self._settle,
            Step.CLOSE: self._close_pages,
            Step.END: self._end_subscriptions,
            Step.FORGET: self._forget_customers,
            Step.ERASE: self._erase,
        }
        assert lease.change.step is not None, "there is one left"
        try:
            steps[lease.change.step](lease)
        except SubkeeperError as error:
            refused = meant(lease.change, error)
            if not isinstance(refused, ChangeRefused):
                raise
            raise TryLater(": ".join([refused.code, *(each.code for each in refused.errors)])) from error

    def _settle(self, lease: ChangeLease) -> None:
        """Of somebody who was erased before the rest is gone through again: a customer that others owned may be nobody
        else's by now, and Search may have been behind."""
        self._rows.settle(lease.change.user_id)
        self._leases.advance(lease, lease.change)

    def _close_pages(self, lease: ChangeLease) -> None:
        """One that is complete by then has begun a subscription, or collected a card: both go with the rest."""
        while True:
            standing = self._leases.pages.standing(lease.change)
            page = next((each for each in standing if each.state is CheckoutState.OPEN), None)
            if page is None:
                break
            self._opening.close(lease, page)
            lease.change = lease.change.renewed()
        self._leases.advance(lease, lease.change)

    # At Stripe: each object is asked for under a key of its own, a generation of the step

    def _end_subscriptions(self, lease: ChangeLease) -> None:
        theirs = self._rows.of(lease.change.user_id)
        found = sorted({*theirs.customers, *self._searched(lease)})
        canceled: set[str] = set()
        while (identifier := self._living(lease, found, theirs)) is not None:
            if identifier in canceled:
                raise TryLater("subscription_canceled_and_there")
            self._ask(lease, {"subscription": identifier}, self._cancel(lease))
            canceled.add(identifier)
        self._leases.advance(lease, replace(lease.change, wanted={"customers": " ".join(found)}))

    def _living(self, lease: ChangeLease, customer_ids: list[str], theirs: Theirs) -> str | None:
        if lease.change.request is not None:  # of before
            return str(lease.change.request["subscription"])
        for each in customer_ids:
            with suppress(CustomerGone):
                found = self._gateway.subscriptions_of(each, lane=Lane.LIVE, deadline=lease.deadline).value
                rows = theirs.rows if each in theirs.shared else None
                if left := to_end(found, self._digest(lease), rows):
                    return left[0]
        return None

    def _cancel(self, lease: ChangeLease) -> Send:
        def send(request: Request, key: str) -> None:
            try:
                self._calls.cancel_subscription(str(request["subscription"]), key=key, deadline=lease.deadline)
            except SubkeeperError as error:
                if not is_missing(error):
                    raise

        return send

    def _searched(self, lease: ChangeLease) -> list[str]:
        """Customers that name the user and that our tables don't know: of a database that was lost, for one. Search may
        be behind, and isn't there for everybody."""
        try:
            found = self._gateway.customers_by_digest_search(
                [self._digest(lease)], lane=Lane.LIVE, deadline=lease.deadline
            )
        except (Refused, SharedRefusal) as refusal:
            self._log.warning("search.refused", reason=str(refusal))
            return []
        return [each.id for each in found if each.user_digest == self._digest(lease)]

    def _forget_customers(self, lease: ChangeLease) -> None:
        self._forget_all(lease)
        self._leases.advance(lease, lease.change)

    def _forget_all(self, lease: ChangeLease) -> None:
        asked: list[Request] = []
        while (request := self._to_forget(lease)) is not None:
            if request in asked:
                raise TryLater("customer_deleted_and_there")
            self._ask(lease, request, self._forget(lease))
            asked.append(request)

    def _to_forget(self, lease: ChangeLease) -> Request | None:
        if lease.change.request is not None:  # of before
            return lease.change.request
        for each in _customers(lease):
            known, is_theirs = self._at_stripe(lease, each), self._rows.claim(each, lease.change.user_id)
            if known is None:
                continue
            if is_theirs:
                return {"customer": each}
            if known.user_digest == self._digest(lease):
                return {"customer": each, **STRIPPED}
            with suppress(CustomerGone):
                if left := self._to_strip(lease, each):
                    return {"subscription": left, **STRIPPED}
        return None

    def _at_stripe(self, lease: ChangeLease, customer_id: str) -> CustomerFact | None:
        """None: it is deleted, or Stripe never had it."""
        try:
            return self._gateway.customer(customer_id, lane=Lane.LIVE, deadline=lease.deadline).value
        except CustomerGone:
            return None

    def _to_strip(self, lease: ChangeLease, customer_id: str) -> str | None:
        found = self._gateway.subscriptions_of(customer_id, lane=Lane.LIVE, deadline=lease.deadline).value
        return next(iter(to_strip(found, self._digest(lease))), None)

    def _forget(self, lease: ChangeLease) -> Send:
        def send(request: Request, key: str) -> None:
            stripped = {name: value for name, value in request.items() if name == "metadata"}
            if "subscription" in request:
                identifier = str(request["subscription"])
                self._calls.update_subscription(identifier, stripped, key=key, deadline=lease.deadline)
            elif stripped:
                self._calls.update_customer(str(request["customer"]), stripped, key=key, deadline=lease.deadline)
            else:
                with suppress(CustomerGone):
                    self._calls.delete_customer(str(request["customer"]), key=key, deadline=lease.deadline)

        return send

    def _ask(self, lease: ChangeLease, request: Request, send: Send) -> None:
        self._keyed.ask(lease, lambda _: request, send)
        lease.change = lease.change.renewed()

    # Here

    def _erase(self, lease: ChangeLease) -> None:
        """After another look at Stripe: what others owned, too, may be nobody else's by now."""
        self._forget_all(lease)
        self._rows.forget_messages(lease.change.user_id)
        self._rows.forget_pages(lease.change.user_id)
        lease.change, lease.told = self._rows.erase(lease.change, _customers(lease))

    def _digest(self, lease: ChangeLease) -> str:
        return user_digest(self._namespace, lease.change.user_id)


def _customers(lease: ChangeLease) -> list[str]:
    return str(lease.change.wanted["customers"]).split()
