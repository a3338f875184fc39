"""What people do at Stripe, without any of our own doing, and how time passes for them: the demo's other side."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode, urlsplit

from sandbox.demo.lives import Act, Life
from worker.domain.event import TYPES

CARDS = {Act.GOOD_CARD: "pm_card_visa", Act.BAD_CARD: "pm_card_chargeCustomerFail"}
AT_ONCE = 16
"""People who act at the same time."""

AGAIN_AFTER, TIMEOUT, PATIENCE = 0.1, 10.0, 60.0
"""Seconds before a request is made once more, for which one is waited, and after which the demo gives up."""

CLOCKS = "/v1/test_helpers/test_clocks"


class Refused(Exception):
    """Stripe says no to what the demo asks for."""


class AtStripe:
    """Requests of people's. One that fails is made again until Stripe answers: repeating any of these changes nothing,
    so what is refused at its repetition has been done."""

    def __init__(self, url: str, key: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._address = (parts.hostname, parts.port)
        self._headers = {"Authorization": f"Bearer {key}"}

    def ask(self, method: str, path: str, **form: str) -> dict[str, Any]:
        """Raises `Refused`, also where Stripe stays away."""
        repeated, until = False, time.monotonic() + PATIENCE
        while time.monotonic() < until:
            status, answer = self._asked(method, path, form)
            if 200 <= status < 300:
                return answer
            if 400 <= status < 500 and status not in (409, 429):
                if repeated:
                    return answer
                raise Refused(f"{method} {path}: {answer['error']['message']}")
            repeated = True
            time.sleep(AGAIN_AFTER)
        raise Refused(f"{method} {path}: no answer within {PATIENCE:g} s")

    def pages(self, path: str, *form: tuple[str, str]) -> Iterator[dict[str, Any]]:
        """All objects of a list."""
        after: list[tuple[str, str]] = []
        while True:
            page = self.ask("GET", f"{path}?{urlencode([('limit', '100'), *form, *after])}")
            yield from page["data"]
            if not page["has_more"]:
                return
            after = [("starting_after", page["data"][-1]["id"])]

    def events(self) -> list[str]:
        """The ids of the events that Subkeeper wants to hear of."""
        return [each["id"] for each in self.pages("/v1/events", *(("types[]", kind) for kind in TYPES))]

    def _asked(self, method: str, path: str, form: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        """(status, answer); 0 without one."""
        connection = http.client.HTTPConnection(*self._address, timeout=TIMEOUT)
        try:
            connection.request(method, path, urlencode(form) if form else None, self._headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        except (OSError, http.client.HTTPException):
            return 0, {}
        finally:
            connection.close()


class TestClock:
    """A Stripe test clock, made at the present (UTC)."""

    def __init__(self, stripe: AtStripe) -> None:
        self.began = datetime.now(UTC).replace(microsecond=0)
        self._stripe = stripe
        self.id = str(stripe.ask("POST", CLOCKS, frozen_time=_seconds(self.began))["id"])

    def advance_to(self, day: int) -> None:
        """Returns once all that happens until then has happened."""
        target = _seconds(self.began + timedelta(days=day))
        self._stripe.ask("POST", f"{CLOCKS}/{self.id}/advance", frozen_time=target)
        while self._stripe.ask("GET", f"{CLOCKS}/{self.id}")["status"] != "ready":
            time.sleep(0.02)


def paid_price(stripe: AtStripe) -> str:
    """The price of the plan `pro`, which `setup` has made."""
    (price,) = stripe.pages("/v1/prices", ("lookup_keys[]", "pro"))
    return str(price["id"])


class People:
    """Everybody who signed up, by the lives that they lead."""

    def __init__(self, stripe: AtStripe, clock: TestClock, price: str, lives: Mapping[str, Life]) -> None:
        """`price`: of the plan that comes with a card."""
        self._stripe = stripe
        self._price = price
        self._lives = lives
        listed = stripe.pages("/v1/subscriptions", ("test_clock", clock.id))
        self._subscriptions = {each["metadata"]["user_id"]: each for each in listed}

    def act(self, day: int) -> None:
        """Everybody does what they do on that day."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda user: self._acts(user, day), sorted(self._subscriptions.keys() & self._lives)))

    def _acts(self, user: str, day: int) -> None:
        subscription = self._subscriptions[user]
        path = f"/v1/subscriptions/{subscription['id']}"
        for act in self._lives[user].get(day, ()):
            if act in CARDS:
                card = f"/v1/payment_methods/{CARDS[act]}/attach"
                method = self._stripe.ask("POST", card, customer=subscription["customer"])["id"]
                item = {"items[0][id]": subscription["items"]["data"][0]["id"], "items[0][price]": self._price}
                self._stripe.ask("POST", path, default_payment_method=method, **item)
            elif act is Act.CANCEL:
                self._stripe.ask("POST", path, cancel_at_period_end="true")
            elif act is Act.LEAVE:
                self._stripe.ask("DELETE", path)
            else:
                self._stripe.ask("POST", f"{path}/resume")


def _seconds(moment: datetime) -> str:
    return str(int(moment.timestamp()))
