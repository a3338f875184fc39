"""`POST /stripe/webhook`: what comes of a delivery, in HTTP's words.

200 says that the event is ours now. A 4xx is refused for what it is, a 503 for what we are: Stripe sends both again
(https://docs.stripe.com/webhooks#automatic-retries), and shows the problem's detail in its dashboard.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Protocol

from worker.domain.webhook import WebhookRefused
from worker.errors import Rejected, SubkeeperError, Unavailable
from worker.web.app import LATER, Answer, Problem
from worker.web.exchange import InHand

PUBLISHED = "published"
_OK = Answer(HTTPStatus.OK, "application/json", b'{"received":true}')
_UNREAD = {
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "too_large",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "compressed",
    HTTPStatus.SERVICE_UNAVAILABLE: "crowded",
}


class Observer(Protocol):
    def delivery(self, outcome: str) -> None: ...
    def published(self, seconds: float) -> None: ...


class Publisher(Protocol):
    def publish(self, body: bytes, then: Callable[[SubkeeperError | None], None]) -> None: ...


class StripeWebhook:
    """An `Endpoint`. `envelope` takes the raw body and the Stripe-Signature, and gives the message to publish, or why
    there is none; None while the webhook is disabled. `refused` hears why a delivery wasn't taken. Of all that is read
    before it is known to be Stripe's, `max_bytes_in_hand` are kept at once."""

    def __init__(
        self,
        envelope: Callable[[bytes, bytes | None], bytes | str] | None,
        publisher: Publisher,
        *,
        max_body_bytes: int,
        max_bytes_in_hand: int,
        observe: Observer,
        refused: Callable[[str, str], None],
    ) -> None:
        self._envelope = envelope
        self._publisher = publisher
        self.path = "/stripe/webhook"
        self.max_body_bytes = max_body_bytes
        self.in_hand = InHand(max_bytes_in_hand)
        self._observe = observe
        self._refused = refused

    def take(self, body: bytes, headers: Mapping[bytes, bytes], answer: Callable[[Answer], None]) -> None:
        """Answers once it is at nsqd, or dropped for good. Raises `Problem`."""
        if self._envelope is None:
            raise self._problem(HTTPStatus.SERVICE_UNAVAILABLE, "disabled", "STRIPE_WEBHOOK_SECRETS is not set here")
        began = time.perf_counter()
        try:
            message = self._envelope(body, headers.get(b"stripe-signature"))
            if isinstance(message, str):
                self._observe.delivery(message)
                answer(_OK)
            else:
                self._publisher.publish(message, partial(self._published, answer, began))
        except WebhookRefused as refused:
            raise self._problem(HTTPStatus.BAD_REQUEST, refused.reason, refused.detail) from None
        except (Unavailable, Rejected) as away:
            raise self._unavailable(away) from None

    def unread(self, problem: Problem) -> None:
        outcome = _UNREAD[problem.answer.status]
        self._observe.delivery(outcome)
        self._refused(outcome, str(problem))

    def _published(self, answer: Callable[[Answer], None], began: float, away: SubkeeperError | None) -> None:
        if away is not None:
            answer(self._unavailable(away).answer)
            return
        self._observe.delivery(PUBLISHED)
        self._observe.published(time.perf_counter() - began)
        answer(_OK)

    def _unavailable(self, away: SubkeeperError) -> Problem:
        """What it is that is away is for our log, not for who asks. It may have come to nsqd all the same, and comes
        again, which the dedupe of events is for."""
        self._observe.delivery("unavailable")
        self._refused("unavailable", str(away))
        detail = "the event could not be stored now"
        return Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, "unavailable", headers=LATER)

    def _problem(self, status: HTTPStatus, reason: str, detail: str) -> Problem:
        self._observe.delivery(reason)
        self._refused(reason, detail)
        return Problem(status, detail, reason)
