"""`POST /stripe/webhook`: what comes of a delivery, in HTTP's words.

200 says that the event is ours now. A 4xx is refused for what it is, a 503 for what we are: Stripe sends both again
(https://docs.stripe.com/webhooks#automatic-retries), and shows the problem's detail in its dashboard.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Protocol

from worker.domain.webhook import WebhookRefused
from worker.errors import Rejected, SubkeeperError, Unavailable
from worker.web.app import LATER, Answer, InHand, Problem, Request, Routes

PATH = "/stripe/webhook"
_OK = Answer(HTTPStatus.OK, "application/json", b'{"received":true}')
_REFUSED = {
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "too_large",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "compressed",
    HTTPStatus.SERVICE_UNAVAILABLE: "crowded",
}


class Observer(Protocol):
    def delivery(self, outcome: str) -> None: ...
    def published(self, seconds: float) -> None: ...


class StripeWebhook:
    """`accept` takes the raw body and the Stripe-Signature; None while the webhook is disabled. `refused` hears why a
    delivery wasn't taken. Of all that is read before it is known to be Stripe's, `max_bytes_in_hand` are kept at
    once."""

    def __init__(
        self,
        accept: Callable[[bytes, bytes | None], Awaitable[str]] | None,
        *,
        max_body_bytes: int,
        max_bytes_in_hand: int,
        observe: Observer,
        refused: Callable[[str, str], None],
    ) -> None:
        self._accept = accept
        self._limit = max_body_bytes
        self._in_hand = InHand(max_bytes_in_hand)
        self._observe = observe
        self._refused = refused

    @property
    def routes(self) -> Routes:
        return {PATH: {"POST": self.handle}}

    async def handle(self, request: Request) -> Answer:
        if self._accept is None:
            raise self._problem(HTTPStatus.SERVICE_UNAVAILABLE, "disabled", "STRIPE_WEBHOOK_SECRETS is not set here")
        with self._in_hand.hold() as hold:
            return await self._taken(request, await self._body(request, hold))

    async def _taken(self, request: Request, body: bytes) -> Answer:
        assert self._accept is not None, "looked at before"
        began = time.perf_counter()
        try:
            outcome = await self._accept(body, request.header(b"stripe-signature"))
        except WebhookRefused as refused:
            raise self._problem(HTTPStatus.BAD_REQUEST, refused.reason, refused.detail) from None
        except (Unavailable, Rejected) as away:
            raise self._unavailable(away) from None
        self._observe.delivery(outcome)
        self._observe.published(time.perf_counter() - began)
        return _OK

    async def _body(self, request: Request, hold: Callable[[int], None]) -> bytes:
        try:
            return await request.body(self._limit, hold)
        except Problem as problem:
            outcome = _REFUSED[problem.answer.status]
            self._observe.delivery(outcome)
            self._refused(outcome, str(problem))
            raise

    def _unavailable(self, away: SubkeeperError) -> Problem:
        """What it is that is away is for our log, not for who asks."""
        self._observe.delivery("unavailable")
        self._refused("unavailable", str(away))
        detail = "the event could not be stored now"
        return Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, "unavailable", headers=LATER)

    def _problem(self, status: HTTPStatus, reason: str, detail: str) -> Problem:
        self._observe.delivery(reason)
        self._refused(reason, detail)
        return Problem(status, detail, reason)
