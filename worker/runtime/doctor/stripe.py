"""Stripe: does it take the key, what may the key read, and are the plans' prices what the settings say?"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta

from worker.domain.deadline import Deadline
from worker.domain.lanes import Lane
from worker.domain.stripe_facts import AccountFact, PriceFact
from worker.errors import SubkeeperError, TryLater
from worker.runtime.doctor.findings import Finding, Findings, ok, problem, refused, skipped
from worker.runtime.pages import own_portal
from worker.runtime.resources import StripeSide, stripe_side
from worker.settings.model import Settings
from worker.settings.sections import PlanSettings
from worker.stripe_api.errors import Unauthorized, refusal_of
from worker.telemetry import Metrics
from worker.version import VERSION

KEY, PERMISSIONS, PRICES = "stripe", "stripe.permissions", "stripe.prices"
PORTAL, CHARGING, CLOCK = "stripe.portal", "stripe.charging", "stripe.test_clock"

READ = {
    "customers": "/v1/customers",
    "events": "/v1/events",
    "subscriptions": "/v1/subscriptions",
    "products": "/v1/products",
    "prices": "/v1/prices",
}
"""What a worker and `setup` read, and where one can try it."""

RESTRICTED = "rk_"


class StripeCheck:
    """`findings` fills in what other checks need: the account, and how far Stripe's clock is ahead of ours."""

    def __init__(self, settings: Settings, rng: random.Random, now: Callable[[], datetime]) -> None:
        self._settings = settings
        self._rng = rng
        self._now = now
        self.account: AccountFact | None = None
        self.ahead: timedelta | None = None

    def findings(self) -> Findings:
        if self._settings.stripe_secret_key() is None:
            for check in (KEY, PERMISSIONS, PRICES):
                yield skipped(check, "billing is disabled")
            return
        stripe = stripe_side(self._settings, Metrics(VERSION), self._rng)
        try:
            yield from self._examine(stripe)
        finally:
            stripe.gateway.close()

    def _examine(self, stripe: StripeSide) -> Findings:
        try:
            self.account = stripe.gateway.account(self._deadline())
        except SubkeeperError as error:
            yield self._unknown(error)
            yield skipped(PERMISSIONS, "Stripe doesn't tell the key's account")
            yield skipped(PRICES, "Stripe doesn't tell the key's account")
            return
        self.ahead = stripe.gateway.clock.now() - self._now()
        mode = "live" if self.account.livemode else "test"
        yield ok(KEY, f"{self._settings.stripe.api_base} takes the key: account {self.account.id}, {mode} mode")
        yield self._permissions(stripe)
        for name, plan in self._settings.plans.items():
            yield self._price(stripe, name, plan)
        if self._settings.api.opens_pages:
            yield self._portal(stripe)
        if self._settings.charging.in_order:
            yield self._charging(stripe)
        if self._settings.stripe.test_clock is not None:
            yield self._test_clock(stripe)

    def _portal(self, stripe: StripeSide) -> Finding:
        try:
            found = own_portal(self._settings, stripe.gateway).require(self._deadline())
        except SubkeeperError as error:
            return refused(PORTAL, error, "Try again")
        return ok(PORTAL, f"{found} lets users do what the API does")

    def _charging(self, stripe: StripeSide) -> Finding:
        """By an invoice that isn't there: Stripe says so to whoever may read them."""
        try:
            stripe.gateway.charges.invoice("in_subkeeper_doctor", deadline=self._deadline())
        except Unauthorized:
            fix = "Grant it at Stripe: write on invoices, read on payment intents"
            return problem(CHARGING, "charging.in_order is on, and the key may not read invoices", fix)
        except SubkeeperError as error:
            failure = refusal_of(error)
            if failure is None or failure.code != "resource_missing":
                return refused(CHARGING, error, "Try again")
        return ok(CHARGING, "the key may read invoices; whether it may have them paid can't be told without that")

    def _deadline(self) -> Deadline:
        return Deadline.after(self._settings.stripe.request_timeout)

    def _unknown(self, error: SubkeeperError) -> Finding:
        if isinstance(error, TryLater):
            fix = "Check stripe.api_base, the network (proxy, firewall, DNS), and status.stripe.com"
            return problem(KEY, f"{self._settings.stripe.api_base} gives no answer ({error})", fix)
        return refused(KEY, error, "Check STRIPE_SECRET_KEY and stripe.api_base")

    def _permissions(self, stripe: StripeSide) -> Finding:
        missing, unclear = [], []
        for resource, path in READ.items():
            try:
                stripe.gateway.try_reading(path, deadline=self._deadline())
            except Unauthorized:
                missing.append(resource)
            except SubkeeperError:
                unclear.append(resource)
        if missing:
            fix = "Grant it at Stripe: write on customers and subscriptions, read on products, prices, invoices, events"
            return problem(PERMISSIONS, f"the key may not read {', '.join(missing)}", fix)
        if unclear:
            return problem(
                PERMISSIONS, f"Stripe doesn't say whether the key may read {', '.join(unclear)}", "Try again."
            )
        if (self._settings.stripe_secret_key() or "").startswith(RESTRICTED):
            return ok(PERMISSIONS, "the key may read all it must; whether it may write can't be told without writing")
        return ok(PERMISSIONS, "a secret key, which may do everything")

    def _test_clock(self, stripe: StripeSide) -> Finding:
        try:
            ahead = stripe.gateway.test_clock_ahead(lane=Lane.LIVE, deadline=self._deadline())
        except SubkeeperError as error:
            fix = "Make one at Stripe, which keeps it for a week, and name it in stripe.test_clock, or leave that out"
            return refused(CLOCK, error, fix)
        return ok(CLOCK, f"{self._settings.stripe.test_clock} is {ahead.total_seconds() / 86400:.1f} days ahead")

    def _price(self, stripe: StripeSide, name: str, plan: PlanSettings) -> Finding:
        try:
            price = stripe.gateway.prices([plan.lookup_key], deadline=self._deadline()).get(plan.lookup_key)
            if price is None:
                detail = f"plan {name}: Stripe has no price with the lookup key {plan.lookup_key}"
                return problem(PRICES, detail, "Run `subkeeper setup`")
            product = stripe.gateway.products.find(price.product_id, deadline=self._deadline())
        except SubkeeperError as error:
            return refused(PRICES, error, "Try again")
        if product is None or not product.active:
            return problem(
                PRICES, f"plan {name}: the product {price.product_id} is archived", "Unarchive it at Stripe."
            )
        return check_price(name, plan, price)


def check_price(name: str, plan: PlanSettings, price: PriceFact) -> Finding:
    """A price's amount, currency and interval can never be changed."""
    if not price.active:
        fix = "Activate it at Stripe, or give its lookup key to another price"
        return problem(PRICES, f"plan {name}: the price {price.id} is archived", fix)
    theirs = f"{price.unit_amount} {price.currency} a {price.interval}"
    ours = f"{plan.unit_amount} {plan.currency} a {plan.interval}"
    if theirs != ours:
        fix = f"Correct [plans.{name}], or give the lookup key {plan.lookup_key} to another price at Stripe"
        return problem(PRICES, f"plan {name}: the price {price.id} is {theirs}, not {ours} as configured", fix)
    return ok(PRICES, f"plan {name}: {price.id}, {theirs} (minor units)")
