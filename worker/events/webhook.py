"""What Stripe delivers to our endpoint: verified, cut to what we keep, signed to be published."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from worker.domain.webhook import WebhookRefused, signed_by
from worker.errors import Rejected
from worker.events.envelope import Envelopes
from worker.events.reading import Heard, heard

CONNECT, TYPE_UNKNOWN = "connect", "type_unknown"
"""Why a delivery is dropped for good."""


class Webhook:
    """`secrets` are in force as they stand there at each delivery; `matched` hears which one signed. `now` is Unix
    time: Stripe's signature is by its clock, and ours is what we have."""

    def __init__(
        self,
        envelopes: Envelopes,
        *,
        secrets: Callable[[], Mapping[str, bytes]],
        matched: Callable[[str], None],
        livemode: bool,
        tolerance: float,
        now: Callable[[], float],
    ) -> None:
        self._envelopes = envelopes
        self._secrets = secrets
        self._matched = matched
        self._livemode = livemode
        self._tolerance = tolerance
        self._now = now

    def envelope(self, body: bytes, signature: bytes | None) -> bytes | str:
        """The message that a delivery comes to, or why it is dropped for good (`CONNECT`, `TYPE_UNKNOWN`). Raises
        `WebhookRefused`."""
        self._matched(signed_by(signature, body, self._secrets(), now=self._now(), tolerance=self._tolerance))
        account, livemode, event = _heard(body)
        if account is not None:  # a connected account's: none of our customers
            return CONNECT
        if livemode is not self._livemode:
            raise _wrong_mode(livemode=self._livemode)
        if isinstance(event, Rejected):
            if event.reason == "event_type_unknown":
                return TYPE_UNKNOWN
            raise WebhookRefused("malformed", event.detail)
        return self._envelopes.seal(event)


def _wrong_mode(*, livemode: bool) -> WebhookRefused:
    """Refused and not dropped: it is our setting or our secret that is wrong. So Stripe's dashboard and our alert show
    it, and Stripe, which goes on sending for three days, delivers all of it once that is mended."""
    said = "live" if livemode else "test"
    return WebhookRefused("wrong_mode", f"only events of {said} mode are taken here (stripe.livemode)")


def _heard(body: bytes) -> Heard:
    try:
        return heard(body, "webhook")
    except ValueError:
        raise WebhookRefused("malformed", "the body is no JSON object in UTF-8") from None
