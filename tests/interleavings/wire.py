"""The way to the sandbox's Stripe, on which a request begins, takes effect and is answered when the test says so.

Its client may be gone by then: a server goes on with what it has received.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import stripe

from sandbox.stripe.call import Answer, Call
from sandbox.stripe.faults import Fault
from sandbox.stripe.service import Service
from worker.stripe_api.http_client import TIMEOUT_HEADER, HttpClient


@dataclass(eq=False, slots=True)
class Flight:
    """A request under way since `sent_at` (the test's time). `begun`: it has reached Stripe and holds its key."""

    call: Call
    sent_at: float
    fault: Fault | None = None
    begun: bool = False
    answer: Answer | None = None

    @property
    def is_write(self) -> bool:
        return self.call.method == "POST"


class Wire:
    """All requests that are under way to `service`."""

    def __init__(self, service: Service, now: Callable[[], float]) -> None:
        self._service = service
        self._now = now
        self.under_way: list[Flight] = []

    def send(self, method: str, url: str, headers: Mapping[str, str], body: str | None) -> Flight:
        path, _, query = url.partition("?")
        form = (body or "") if method == "POST" else query
        flight = Flight(self._service.open(method, path, form.encode(), headers), self._now())
        self.under_way.append(flight)
        return flight

    def begin(self, flight: Flight) -> None:
        """It reaches Stripe, which takes its key, or answers without executing it."""
        if flight.begun:
            return
        flight.begun = True
        flight.answer = self._service.begin(flight.call, flight.fault)
        if flight.answer is not None:
            self.under_way.remove(flight)

    def land(self, flight: Flight) -> Answer:
        """It has its effect, and an answer."""
        self.begin(flight)
        if flight.answer is None:
            flight.answer = self._service.execute(flight.call, flight.fault)
            self._service.abandon(flight.call)
            self.under_way.remove(flight)
        return flight.answer

    def vanish(self, flight: Flight) -> None:
        """It never arrives, or Stripe loses it."""
        self._service.abandon(flight.call)
        self.under_way.remove(flight)

    def land_those_sent_before(self, time: float) -> None:
        for flight in [flight for flight in self.under_way if flight.sent_at <= time]:
            self.land(flight)


class WireClient(HttpClient):
    """In the place of HTTP: sends on the wire and waits there (`wait` raises for an answer that is lost)."""

    def __init__(self, origin: str, wire: Wire, wait: Callable[[Flight], None]) -> None:
        super().__init__(origin, 1)
        self._wire = wire
        self._wait = wait

    def request(  # type: ignore[override]  # as HttpClient
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        post_data: str | None = None,
        *,
        _usage: list[str] | None = None,
    ) -> tuple[bytes, int, dict[str, str]]:
        path = url.removeprefix(self._origin)
        sent = {name: value for name, value in (headers or {}).items() if name != TIMEOUT_HEADER}
        flight = self._wire.send(method.upper(), path, sent, post_data)
        self._wait(flight)
        answer = self._wire.land(flight)
        return answer.body, answer.status, {name.lower(): value for name, value in answer.headers.items()}


def lost(*, at_once: bool) -> stripe.APIConnectionError:
    """No answer: the connection broke, or nothing came in time."""
    code = "stripe_connection" if at_once else "stripe_timeout"
    return stripe.APIConnectionError(code, code=code, should_retry=at_once)  # type: ignore[no-untyped-call]  # stripe's
