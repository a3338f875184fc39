"""Our webhook endpoint at Stripe: made, kept as it should be, and replaced by one beside it.

Found by its metadata, never by its URL, which may change. Stripe can't change an endpoint's version and shows its
secret at its creation only, so another version and a lost secret both mean a second endpoint. Both deliver for a while,
which is safe: an event is taken in once, whichever way it came.
"""

from __future__ import annotations

import hashlib
import json
import math
import secrets
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from worker.domain.deadline import Deadline
from worker.domain.event import TYPES
from worker.domain.lanes import Lane
from worker.errors import Misconfigured
from worker.stripe_api.catalogue import CALL_SECONDS
from worker.stripe_api.credentials import API_VERSION
from worker.stripe_api.errors import AnswerIncomplete, KeyBurnt, SharedRefusal
from worker.stripe_api.event_list import EventWindow
from worker.stripe_api.gateway import StripeGateway
from worker.stripe_api.parsing import Fields
from worker.stripe_api.webhook_endpoints import EndpointFact

NAMESPACE, DATABASE = "subkeeper_namespace", "subkeeper_database"
"""Whose endpoint it is, as the plans' products say it of the users."""

SECRET = "subkeeper_secret"  # noqa: S105 - a word of the metadata: whether the secret reached a person
SHOWN = "shown"
SINCE = "subkeeper_since"
"""Unix seconds from which on what was delivered proves that it works as it is now."""

GENERATIONS = 20
"""Idempotency keys that are tried: of endpoints that were made and deleted within a day Stripe still remembers."""

Show = Callable[[EndpointFact], str]
"""Gives a new endpoint's secret to a person; returns what to tell of that."""


class NotDelivered(Misconfigured):
    """Nothing shows that the endpoint which is to stay delivers; the others stay too."""


class OwnEndpoints:
    """The webhook endpoints of a namespace's database. Raises what the gateway raises."""

    def __init__(self, gateway: StripeGateway, namespace: str, database_id: str) -> None:
        self._gateway = gateway
        self._endpoints = gateway.webhook_endpoints
        self._namespace = namespace
        self._database_id = database_id

    def ensure(self, url: str, show: Show, *, secret_lost: bool, take_over: bool) -> Iterator[str]:
        """Makes what is missing and corrects what differs; yields what was done or found, a line each.

        `secret_lost`: of the endpoint that is there, so that another one is made, and it is disabled: nobody can verify
        what it delivers. Safe to run twice at once, and again after it was killed: until the secret was shown, the same
        idempotency key brings it back. Raises `Misconfigured` where an endpoint of ours names another database, unless
        that is to be taken over.
        """
        ours = self._ours()
        self._require_own(ours, take_over=take_over)
        known = [each for each in ours if _is_shown(each)]
        current = next((each for each in known if each.api_version == API_VERSION), None)
        if current is None or secret_lost:
            if unverified := [each for each in known if secret_lost and each.enabled]:
                yield f"webhook endpoint: {_listed(unverified)} to be replaced"
            current = self._create(url, known)
            yield f"webhook endpoint {current.id}: created, at {API_VERSION}"
            yield show(current)
            for each in unverified:
                self._change(each, {"disabled": True})
                yield f"webhook endpoint {each.id}: disabled, its secret is lost"
            lost = {each.id for each in known} if secret_lost else set()
            self._change(current, {"metadata": {SECRET: SHOWN}})
            known = [each for each in known if each.id not in lost]
        for each in known:
            yield self._correct(each, url, is_current=each is current)
        yield from self._others(current)

    def retire(self) -> Iterator[str]:
        """Deletes all of ours but the newest whose version is right and whose secret was shown.

        After `ensure`, which looks whose they are. First go those whose secret nobody was shown. The others go only
        once Stripe has an event, made since the newest is as it is now, that no endpoint is still to take
        (`pending_webhooks` 0): so the newest has taken it, which it does only if its URL leads to us and its secret is
        configured. `processed_stripe_events` can't tell that: while both deliver, what is recorded there may have come
        by the old one. Raises `NotDelivered`.
        """
        ours = self._ours()
        stays = next((each for each in ours if _is_shown(each) and each.api_version == API_VERSION), None)
        others = [each for each in ours if stays is not None and each.id != stays.id]
        if stays is None or not others:
            yield "webhook endpoint: none to retire"
            return
        for each in others:
            if not _is_shown(each):
                yield self._delete(each)
        if proven := [each for each in others if _is_shown(each)]:
            self._require_delivery(stays, proven)
            for each in proven:
                yield self._delete(each)

    def _ours(self) -> list[EndpointFact]:
        found = self._endpoints.all(deadline=Deadline.after(CALL_SECONDS))
        return [each for each in found if each.metadata.get(NAMESPACE) == self._namespace]

    def _require_own(self, ours: Sequence[EndpointFact], *, take_over: bool) -> None:
        for each in ours:
            named = each.metadata.get(DATABASE)
            if named != self._database_id and not take_over:
                raise Misconfigured(
                    "database.url",
                    f"at Stripe, the webhook endpoint {each.id} says that it delivers for another database ({named};"
                    f" this one is {self._database_id})",
                    "Use that database, or another namespace. Only if that database is lost or out of use for good:"
                    " `subkeeper setup --take-over`",
                )

    def _create(self, url: str, beside: Sequence[EndpointFact]) -> EndpointFact:
        """The answer to the creation, from memory too: it alone has the secret."""
        params = {
            "url": url,
            "enabled_events": list(TYPES),
            "api_version": API_VERSION,
            "description": f"Subkeeper ({self._namespace})",
            "metadata": {NAMESPACE: self._namespace, DATABASE: self._database_id},
        }
        content = [params, sorted(each.id for each in beside)]
        for generation in range(GENERATIONS):
            text = json.dumps([*content, generation], sort_keys=True)
            key = "subkeeper-setup-" + hashlib.sha256(text.encode()).hexdigest()
            try:
                answer = self._endpoints.create(params, key=key, deadline=Deadline.after(CALL_SECONDS))
            except KeyBurnt:
                continue  # a refusal from memory, which may be mended by now
            except SharedRefusal as refusal:
                fix = "Give a public https URL; of 16 endpoints at most, one may have to be deleted first"
                raise Misconfigured("--webhook", f"Stripe refuses the endpoint ({refusal.failure})", fix) from refusal
            if answer.value.secret is None:
                raise AnswerIncomplete(f"webhook endpoint {answer.value.id} lacks secret")
            if not answer.replayed or self._is_there(answer.value):
                return answer.value
        raise Misconfigured("--webhook", "Stripe answers from memory only", "Run this again in a day")

    def _is_there(self, endpoint: EndpointFact) -> bool:
        return any(each.id == endpoint.id for each in self._ours())

    def _correct(self, endpoint: EndpointFact, url: str, *, is_current: bool) -> str:
        """One that is disabled is enabled again if it is the one in use."""
        changes: dict[str, object] = {}
        if endpoint.url != url:
            changes["url"] = url
        if endpoint.enabled_events != frozenset(TYPES):
            changes["enabled_events"] = list(TYPES)
        if is_current and not endpoint.enabled:
            changes["disabled"] = False
        told = ", ".join({"disabled": "enabled"}.get(name, name) for name in changes)
        metadata = {DATABASE: self._database_id} if endpoint.metadata.get(DATABASE) != self._database_id else {}
        if changes:
            metadata[SINCE] = str(math.ceil(self._gateway.clock.now().timestamp() + CALL_SECONDS))
        if metadata:
            changes["metadata"] = metadata
        if not changes:
            state = "is as it should be" if is_current else "unchanged"
            return f"webhook endpoint {endpoint.id}: {state}, at {endpoint.api_version}"
        self._change(endpoint, changes)
        return f"webhook endpoint {endpoint.id}: changed ({told or 'database'})"

    def _others(self, current: EndpointFact) -> Iterator[str]:
        for each in self._ours():
            if each.id != current.id:
                why = f"at {each.api_version}" if each.enabled else "disabled"
                why = why if _is_shown(each) else "its secret was never shown"
                yield f"webhook endpoint {each.id}: beside it ({why}), until `subkeeper setup --webhook URL --retire`"

    def _change(self, endpoint: EndpointFact, changes: dict[str, object]) -> None:
        # A key of its own for each time: what was changed back since must not be answered from memory.
        key = f"subkeeper-setup-{secrets.token_hex(16)}"
        self._endpoints.update(endpoint.id, changes, key=key, deadline=Deadline.after(CALL_SECONDS))

    def _delete(self, endpoint: EndpointFact) -> str:
        self._endpoints.delete(endpoint.id, deadline=Deadline.after(CALL_SECONDS))
        return f"webhook endpoint {endpoint.id}: deleted"

    def _require_delivery(self, stays: EndpointFact, others: Sequence[EndpointFact]) -> None:
        since = max(stays.created, _since(stays)) + timedelta(seconds=1)
        window, deadline = EventWindow(since), Deadline.after(CALL_SECONDS)
        page = self._gateway.events_page(window, None, lane=Lane.LIVE, deadline=deadline)
        if not stays.enabled or not any(
            Fields("event", each).get("pending_webhooks", int) == 0 for each in page.events
        ):
            raise NotDelivered(
                "--retire",
                f"{_listed(others)} stays: since {since:%Y-%m-%d %H:%M:%SZ} no event was taken by {stays.id} and every"
                " other endpoint",
                "Configure its secret (STRIPE_WEBHOOK_SECRETS), let something happen at Stripe, and run this again",
            )


def _is_shown(endpoint: EndpointFact) -> bool:
    return endpoint.metadata.get(SECRET) == SHOWN


def _since(endpoint: EndpointFact) -> datetime:
    told = endpoint.metadata.get(SINCE)
    return datetime.fromtimestamp(int(told) if isinstance(told, str) and told.isdecimal() else 0, UTC)


def _listed(endpoints: Sequence[EndpointFact]) -> str:
    return ", ".join(each.id for each in endpoints)
