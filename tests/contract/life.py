"""What tests make at Stripe, each with its end: whatever is made is gone or archived when the test is over."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from tests.contract.account import Account, Answer

HOUR, DAY = 3600, 86_400
MARK = "subkeeper_contract"
"""The metadata key of all that is made: what a run that was killed leaves behind is found by it."""


class Makes:
    """Makes objects that end with `ending`. `run`: a word of this run's own, in names and metadata."""

    def __init__(self, account: Account, ending: ExitStack, run: str) -> None:
        self.account = account
        self._ending = ending
        self._run = run
        self._numbers = itertools.count(1)

    def word(self) -> str:
        """A word that nothing else at this account has."""
        return f"{self._run}-{next(self._numbers)}"

    def customer(self, **params: Any) -> dict[str, Any]:
        """A customer on no test clock, unless one is named (whose end is this one's)."""
        metadata = {MARK: self._run, **params.pop("metadata", {})}
        made = self.account.post("/v1/customers", {**params, "metadata": metadata})
        if "test_clock" not in params:
            self.gone("/v1/customers", made)
        return made

    def customers_of_two_seconds(self, **params: Any) -> list[dict[str, Any]]:
        """Two customers, the older one first, so that their order shows."""
        older = self.customer(**params)
        self.account.eventually("it is a later second at Stripe", lambda: self.account.now() > older["created"] + 1)
        return [older, self.customer(**params)]

    def product(self, **params: Any) -> dict[str, Any]:
        """A product. One that has prices can't be deleted, so it is archived."""
        named = {"name": "Subkeeper contract", "metadata": {MARK: self._run}}
        made = self.account.post("/v1/products", {**named, **params})
        self._ending.callback(self.account.forget, "post", f"/v1/products/{made['id']}", {"active": False})
        return made

    def price(self, product: str, amount: int, **params: Any) -> dict[str, Any]:
        """A monthly price in US dollars' cents. Prices can't be deleted, so it is archived."""
        terms = {"currency": "usd", "unit_amount": amount, "recurring": {"interval": "month"}, "product": product}
        made = self.account.post("/v1/prices", {**terms, **params})
        self._ending.callback(self.account.forget, "post", f"/v1/prices/{made['id']}", {"active": False})
        return made

    def payer(self, card: str = "pm_card_visa", **params: Any) -> dict[str, Any]:
        """A customer on no test clock, with that card as its default."""
        return self.customer(payment_method=card, invoice_settings={"default_payment_method": card}, **params)

    def checkout(self, mode: str, **params: Any) -> dict[str, Any]:
        """An open Checkout session, which is expired in the end. (Stripe deletes none: one that is complete stays.)"""
        address = {"success_url": "https://example.com/done?session={CHECKOUT_SESSION_ID}"}
        made = self.account.post("/v1/checkout/sessions", {"mode": mode, **address, **params})
        self._ending.callback(self._expired, made["id"])
        return made

    def _expired(self, session: str) -> None:
        if self.account.get(f"/v1/checkout/sessions/{session}")["status"] == "open":
            self.account.forget("post", f"/v1/checkout/sessions/{session}/expire")

    def portal(self, features: Mapping[str, Any]) -> dict[str, Any]:
        """A configuration of the customer portal. It can't be deleted, so it is made inactive."""
        terms = {"features": features, "metadata": {MARK: self._run}}
        made = self.account.post("/v1/billing_portal/configurations", terms)
        path = f"/v1/billing_portal/configurations/{made['id']}"
        self._ending.callback(self.account.forget, "post", path, {"active": False})
        return made

    def endpoint(self, **params: Any) -> dict[str, Any]:
        """A webhook endpoint that never takes a delivery."""
        terms = {"url": self.account.terms.deaf_url, "enabled_events": ["customer.created"]}
        made = self.account.post("/v1/webhook_endpoints", {**terms, "metadata": {MARK: self._run}, **params})
        self.gone("/v1/webhook_endpoints", made)
        return made

    def clock(self, *, ahead_days: int = 0) -> Clock:
        """A test clock that stands at the present, or so far ahead; its end is that of whatever is on it."""
        start = self.account.now() + ahead_days * DAY
        made = self.account.post("/v1/test_helpers/test_clocks", {"frozen_time": start, "name": self.word()})
        self.gone("/v1/test_helpers/test_clocks", made)
        return Clock(self, made["id"], start)

    def gone(self, path: str, made: Mapping[str, Any]) -> None:
        self._ending.callback(self.account.forget, "delete", f"{path}/{made['id']}")


class Clock:
    """A test clock and what is made on it."""

    def __init__(self, makes: Makes, clock_id: str, start: int) -> None:
        self.id = clock_id
        self.start = start
        self._makes = makes
        self._account = makes.account

    def customer(self, **params: Any) -> dict[str, Any]:
        return self._makes.customer(test_clock=self.id, **params)

    def card(self, customer: Mapping[str, Any], name: str = "pm_card_visa") -> str:
        """The id of one of Stripe's test cards, attached to a customer and no default of anything."""
        path = f"/v1/payment_methods/{name}/attach"
        attached: str = self._account.post(path, {"customer": customer["id"]})["id"]
        return attached

    def trial(self, customer: Mapping[str, Any], price: str, days: int, **params: Any) -> dict[str, Any]:
        """A subscription that begins with a trial."""
        return subscribe(self._account, customer, price, trial_end=self.start + days * DAY, **params)

    def advance(self, *, days: int, hours: int = 0) -> None:
        """To so long after its start; returns once all that falls due until then has happened."""
        path = f"/v1/test_helpers/test_clocks/{self.id}"
        self._account.post(f"{path}/advance", {"frozen_time": self.start + days * DAY + hours * HOUR})
        self._account.eventually("the clock is ready", lambda: self._account.get(path)["status"] == "ready")


def subscribe(account: Account, customer: Mapping[str, Any], price: str, **params: Any) -> dict[str, Any]:
    """A subscription as the worker makes it: `billing_mode` is said."""
    terms = {"customer": customer["id"], "items": [{"price": price}], "billing_mode": {"type": "flexible"}}
    return account.post("/v1/subscriptions", {**terms, **params})


def complete(account: Account, session: Mapping[str, Any], card: str = "tok_visa") -> Answer:
    """What Checkout's page does with a card (`tok_…` or `pm_card_…`), without the page.

    As Stripe's own `stripe trigger` does; the request is none that is documented.
    """
    if card.startswith("tok_"):
        sent = {"type": "card", "card": {"token": card}, "billing_details": {"email": "contract@example.com"}}
        card = account.post("/v1/payment_methods", sent)["id"]
    amount = {} if session["amount_total"] is None else {"expected_amount": session["amount_total"]}
    return account.ask("post", f"/v1/payment_pages/{session['id']}/confirm", {"payment_method": card, **amount})


def reread(account: Account, subscription: Mapping[str, Any], *expand: str) -> dict[str, Any]:
    """The subscription as it is now."""
    params = {"expand": list(expand)} if expand else {}
    return account.get(f"/v1/subscriptions/{subscription['id']}", params)
