"""Stripe, as the use cases speak with it: facts in, facts out, errors of ours.

Every write carries our own idempotency key. Every request, each page of a list too, passes the limiter and is sent only
if the deadline leaves time for it. Errors: `worker.stripe_api.errors`; `AnswerIncomplete` where
Stripe's answer lacks a field that we need; `TryLater` near a deadline.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from worker.domain.clocks import StripeClock
from worker.domain.deadline import Clock, Deadline, boot_time
from worker.domain.lanes import Lane
from worker.domain.stripe_facts import (
    AccountFact,
    Answer,
    CustomerFact,
    CustomerPage,
    EventPage,
    FetchedSubscription,
    PriceFact,
    SubscriptionFact,
)
from worker.settings.sections import StripeSettings
from worker.stripe_api.account_calls import AccountCalls
from worker.stripe_api.charge_calls import ChargeCalls
from worker.stripe_api.checkout_calls import CheckoutCalls
from worker.stripe_api.credentials import Credentials
from worker.stripe_api.errors import AnswerIncomplete
from worker.stripe_api.event_list import EventWindow, events_page
from worker.stripe_api.http_client import HttpClient
from worker.stripe_api.limiter.limiter import Limiter
from worker.stripe_api.parsing import (
    Fields,
    customer_fact,
    customer_unless_deleted,
    fetched_subscription,
    price_fact,
    subscription_fact,
)
from worker.stripe_api.portal_configurations import PortalConfigurations
from worker.stripe_api.products import Products
from worker.stripe_api.reads import Reads
from worker.stripe_api.requestor import Call, Reply, Requestor, segment
from worker.stripe_api.showing import Showing
from worker.stripe_api.subscription_list import SubscriptionPage, subscriptions_page
from worker.stripe_api.test_clock import frozen_time
from worker.stripe_api.webhook_endpoints import WebhookEndpoints
from worker.telemetry import Metrics

PAGE = 100
"""Objects per page of a list: the most that Stripe gives."""

MOST_LOOKUP_KEYS = 10
"""For which one request may ask (https://docs.stripe.com/api/prices/list)."""


class StripeGateway:
    """All that Subkeeper asks of Stripe. Any number of threads may share one. `clock`: Stripe's time. `test_clock`: the
    one on which our customers live, if they do: lists that don't name it leave them out."""

    def __init__(
        self,
        settings: StripeSettings,
        secret_key: Callable[[], str],
        limiter: Limiter,
        *,
        rng: random.Random,
        observe: Metrics,
        http: Callable[[str, int], HttpClient] = HttpClient,
        connections: int = 32,
        clock: Clock = boot_time,
        stripe_time: StripeClock | None = None,
        reads: Reads | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`secret_key` reads the key from where it is configured. `connections`: kept open, one per settling thread;
        `http` makes them, for an origin. `reads` counts what is read.

        Raises `Misconfigured` where the key's mode isn't `settings.livemode`.
        """
        self._http = http(settings.api_base.rstrip("/"), connections)
        self._credentials = Credentials(settings, secret_key, self._http)
        self.clock = stripe_time or StripeClock(clock)
        self.test_clock = settings.test_clock
        self._requestor = Requestor(
            self._credentials,
            limiter,
            self.clock,
            peer=settings.api_base,
            timeout=settings.request_timeout,
            rng=rng,
            observe=observe,
            reads=reads,
            clock=clock,
            sleep=sleep,
        )
        self.accounts = AccountCalls(self._requestor)
        self.charges = ChargeCalls(self._requestor)
        self.checkouts = CheckoutCalls(self._requestor)
        self.portal_configurations = PortalConfigurations(self._requestor)
        self.products = Products(self._requestor)
        self.webhook_endpoints = WebhookEndpoints(self._requestor)
        self.showing = Showing(self._requestor)

    def configured_key(self) -> str | None:
        """The secret key as it is configured now, be it in force or not; None where it can't be read."""
        return self._credentials.configured()

    def reload(self) -> None:
        """Read the secret key anew (it may have been rotated). Raises `Misconfigured` if it can't replace the old."""
        self._requestor.reload()

    def close(self) -> None:
        """Close the idle connections."""
        self._http.close()

    def account(self, deadline: Deadline) -> AccountFact:
        """The account behind the key."""
        return self._requestor.account(deadline)

    def opened_on(self, account: AccountFact) -> None:
        """From now on, a new key of another account is refused."""
        self._credentials.opened_on(account)

    def create_customer(
        self, params: Mapping[str, object], *, key: str, lane: Lane, deadline: Deadline
    ) -> Answer[CustomerFact]:
        call = Call("customers.create", "post", "/v1/customers", params, lane, deadline, key)
        return self._requestor.send(call).answer(customer_fact)

    def create_subscription(
        self, params: Mapping[str, object], *, key: str, lane: Lane, deadline: Deadline
    ) -> Answer[SubscriptionFact]:
        call = Call("subscriptions.create", "post", "/v1/subscriptions", params, lane, deadline, key)
        return self._requestor.send(call).answer(subscription_fact)

    def customer(self, customer_id: str, *, lane: Lane, deadline: Deadline) -> Answer[CustomerFact | None]:
        """The customer; None once it is deleted. Raises `CustomerGone` where it never was."""
        call = Call("customers.retrieve", "get", f"/v1/customers/{segment(customer_id)}", {}, lane, deadline)
        return self._requestor.send(call).answer(customer_unless_deleted)

    def customers_page(
        self,
        *,
        lane: Lane,
        deadline: Deadline,
        email: str | None = None,
        until: datetime | None = None,
        after: str | None = None,
    ) -> CustomerPage:
        """A page of the customers, newest first (consistent, unlike Search): those with exactly this `email`, created
        by `until` (widened to the whole second), following the one with the id `after`; on our test clock, where there
        is one. Raises `CursorGone`."""
        params: dict[str, object] = {"limit": PAGE}
        if self.test_clock is not None:
            params["test_clock"] = self.test_clock
        if email is not None:
            params["email"] = email
        if until is not None:
            params["created"] = {"lte": math.ceil(until.timestamp())}
        if after is not None:
            params["starting_after"] = after
        page = self._requestor.send(Call("customers.list", "get", "/v1/customers", params, lane, deadline))
        more = _next_list_page(page) is not None
        return CustomerPage([customer_fact(each) for each in _objects(page)], more, page.seen_from)

    def customers_by_digest_search(
        self, digests: Sequence[str], *, lane: Lane, deadline: Deadline
    ) -> list[CustomerFact]:
        """Customers whose `metadata.subkeeper` is one of up to ten `digests`. Search can lag by an hour."""
        query = " OR ".join(f"metadata['subkeeper']:'{digest}'" for digest in digests)
        call = Call("customers.search", "get", "/v1/customers/search", {"query": query, "limit": PAGE}, lane, deadline)
        return [customer_fact(each) for each in _objects(self._requestor.send(call))]

    def events_page(self, window: EventWindow, after: str | None, *, lane: Lane, deadline: Deadline) -> EventPage:
        """A page of the window's events, newest first, following the one with the id `after`. One request, so that it
        can be counted. Raises `CursorGone`."""
        return events_page(self._requestor, window, after, lane=lane, deadline=deadline)

    def subscriptions_of(self, customer_id: str, *, lane: Lane, deadline: Deadline) -> Answer[list[SubscriptionFact]]:
        """All subscriptions of a customer, ended ones too, each with its customer. Raises `CustomerGone`."""
        params = {"customer": customer_id, "status": "all", "limit": PAGE, "expand": ["data.customer"]}
        call = Call("subscriptions.list", "get", "/v1/subscriptions", params, lane, deadline)
        pages = list(self._pages(call, _next_list_page))
        return Answer(
            value=[subscription_fact(each) for page in pages for each in _objects(page)],
            seen_from=min(page.seen_from for page in pages),
            seen_to=max(page.seen_to for page in pages),
            replayed=False,
            request_id=pages[-1].request_id,
        )

    def subscription(self, subscription_id: str, *, lane: Lane, deadline: Deadline) -> Answer[FetchedSubscription]:
        """The subscription with its latest invoice and customer. Raises `Refused` where there is none (one that has
        ended is)."""
        path = f"/v1/subscriptions/{segment(subscription_id)}"
        params = {"expand": ["latest_invoice", "customer"]}
        call = Call("subscriptions.retrieve", "get", path, params, lane, deadline)
        return self._requestor.send(call).answer(fetched_subscription)

    def subscriptions_page(
        self,
        after: str | None = None,
        *,
        customer_id: str | None = None,
        test_clock: str | None = None,
        lane: Lane,
        deadline: Deadline,
    ) -> SubscriptionPage:
        """A page of a customer's subscriptions, a test clock's, or else of all that are on none, with their latest
        invoices and customers. Raises `CustomerGone`."""
        whose = {"customer": customer_id, "test_clock": test_clock}
        return subscriptions_page(self._requestor, after, whose, lane=lane, deadline=deadline)

    def test_clock_ahead(self, *, lane: Lane, deadline: Deadline) -> timedelta:
        """How far our test clock is ahead of Stripe's time (whole seconds); nothing where there is none."""
        if self.test_clock is None:
            return timedelta(0)
        frozen = frozen_time(self._requestor, self.test_clock, lane=lane, deadline=deadline)
        return frozen - self.clock.now().replace(microsecond=0)

    def event(self, event_id: str, *, lane: Lane, deadline: Deadline) -> Mapping[str, object]:
        """An event as Stripe has it, personal data and all. Raises `Refused` where it has none (after 30 days)."""
        call = Call("events.retrieve", "get", f"/v1/events/{segment(event_id)}", {}, lane, deadline)
        return self._requestor.send(call).data

    def prices(self, lookup_keys: Sequence[str], *, deadline: Deadline) -> dict[str, PriceFact]:
        """The prices that have these lookup keys, active or not, by them. Stripe lets one price at a time have one."""
        found: dict[str, PriceFact] = {}
        for at in range(0, len(lookup_keys), MOST_LOOKUP_KEYS):
            params = {"lookup_keys": list(lookup_keys[at : at + MOST_LOOKUP_KEYS]), "limit": MOST_LOOKUP_KEYS}
            reply = self._requestor.send(Call("prices.list", "get", "/v1/prices", params, Lane.LIVE, deadline))
            found |= {fact.lookup_key: fact for fact in map(price_fact, _objects(reply)) if fact.lookup_key}
        return found

    def try_reading(self, path: str, *, deadline: Deadline) -> None:
        """Read one object of a list (`"/v1/customers"`) and forget it: `Unauthorized` where the key may not."""
        operation = path.removeprefix("/v1/").replace("/", ".")
        self._requestor.send(Call(f"{operation}.list", "get", path, {"limit": 1}, Lane.LIVE, deadline))

    def _pages(self, first: Call, following: Callable[[Reply], Mapping[str, object] | None]) -> Iterator[Reply]:
        more: Mapping[str, object] | None = {}
        while more is not None:
            params = {**first.params, **more}
            page = self._requestor.send(
                Call(first.operation, first.method, first.path, params, first.lane, first.deadline)
            )
            yield page
            more = following(page)


def _objects(page: Reply) -> list[object]:
    objects: list[object] = Fields("list", page.data).get("data", list)
    return objects


def _next_list_page(page: Reply) -> Mapping[str, object] | None:
    if not Fields("list", page.data).get("has_more", bool):
        return None
    objects = _objects(page)
    if not objects:
        raise AnswerIncomplete("list has more, but its page is empty")
    return {"starting_after": Fields("list", objects[-1]).get("id", str)}
