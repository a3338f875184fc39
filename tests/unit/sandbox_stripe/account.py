"""An account in this process, with a clock that moves on demand: what a test asks it, it asks as a client would."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from sandbox.stripe.service import Service

DAY = 86_400
HOUR = 3_600
START = 1_790_000_000


class Refused(Exception):
    """An answer that is no 200."""

    def __init__(self, status: int, error: dict[str, Any]) -> None:
        super().__init__(f"{status}: {error['message']}")
        self.status = status
        self.code = error.get("code")
        self.error = error


class Account:
    """`price` is free, `paid` costs 20 dollars; both are monthly."""

    def __init__(self, state_file: Path | None = None, *, unlimited_test_clocks: bool = False) -> None:
        self.time = float(START)
        self.service = Service(
            secret_key="sk",
            seed="s",
            state_file=state_file,
            now=lambda: self.time,
            monotonic=lambda: self.time,
            unlimited_test_clocks=unlimited_test_clocks,
        )
        self.price = self.paid = ""

    def open(self) -> Account:
        self.price, self.paid = self.new_price(0), self.new_price(2000)
        return self

    def new_price(self, amount: int, interval: str = "month") -> str:
        product = {"product_data[name]": "P", "currency": "usd", "unit_amount": amount}
        return str(self.post("/v1/prices", {**product, "recurring[interval]": interval})["id"])

    def post(self, path: str, params: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        return self._ask("POST", path, {**(params or {}), **more})

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        return self._ask("GET", path, params)

    def delete(self, path: str) -> dict[str, Any]:
        return self._ask("DELETE", path, {})

    def _ask(self, method: str, path: str, params: dict[str, Any]) -> dict[str, Any]:
        call = self.service.open(method, path, urlencode(params).encode(), {"Authorization": "Bearer sk"})
        answer = self.service.begin(call, None) or self.service.execute(call, None)
        body: dict[str, Any] = json.loads(answer.body)
        if answer.status != 200:
            raise Refused(answer.status, body["error"])
        return body

    def customer(self, card: str | None = None, **params: Any) -> str:
        """With that card (`pm_card_…`) as its default."""
        if card is not None:
            params |= {"payment_method": card, "invoice_settings[default_payment_method]": card}
        return str(self.post("/v1/customers", params)["id"])

    def subscribe(self, customer: str, price: str | None = None, **params: Any) -> dict[str, Any]:
        return self.post("/v1/subscriptions", {"customer": customer, "items[0][price]": price or self.paid, **params})

    def subscription(self, identifier: str) -> dict[str, Any]:
        return self.get(f"/v1/subscriptions/{identifier}")

    def latest(self, identifier: str) -> dict[str, Any]:
        """The subscription's latest invoice."""
        return self.get(f"/v1/invoices/{self.subscription(identifier)['latest_invoice']}")

    def wait(self, seconds: float) -> None:
        self.time += seconds

    def clock(self, frozen_time: int = START) -> str:
        """A new test clock."""
        return str(self.post("/v1/test_helpers/test_clocks", frozen_time=frozen_time)["id"])

    def advance(self, clock: str, to: int) -> None:
        """Advances the clock, and waits until it is ready."""
        path = f"/v1/test_helpers/test_clocks/{clock}"
        status = self.post(f"{path}/advance", frozen_time=to)["status"]
        while status == "advancing":
            self.wait(1)
            status = self.get(path)["status"]

    def events(self, since: int = 0) -> list[dict[str, Any]]:
        """From number `since` on, oldest first."""
        self.get("/v1/account")
        return list(self.service.ledger.tables["event"].rows.values())[since:]

    def told(self, since: int = 0) -> list[str]:
        """The types of what happened."""
        return [event["type"] for event in self.events(since)]

    def mark(self) -> int:
        """How many events there are."""
        return len(self.events())
