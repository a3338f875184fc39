"""`/v1/webhook_endpoints`, one request each (https://docs.stripe.com/api/webhook_endpoints)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import quote

from worker.domain.deadline import Deadline
from worker.domain.lanes import Lane
from worker.domain.stripe_facts import Answer
from worker.stripe_api.errors import SharedRefusal
from worker.stripe_api.parsing import Fields
from worker.stripe_api.requestor import Call, Requestor

PAGE = 100
"""An account has 16 at most in each mode."""

PATH = "/v1/webhook_endpoints"


@dataclass(frozen=True, slots=True)
class EndpointFact:
    """A webhook endpoint. `api_version` None: its events are rendered at the account's version. `secret` is there in
    the answer to its creation alone."""

    id: str
    url: str
    api_version: str | None
    enabled_events: frozenset[str]
    enabled: bool
    created: datetime
    metadata: Mapping[str, object]
    secret: str | None = field(default=None, repr=False)


class WebhookEndpoints:
    """Reads and changes the account's webhook endpoints, those of others too."""

    def __init__(self, requestor: Requestor) -> None:
        self._requestor = requestor

    def all(self, *, deadline: Deadline) -> list[EndpointFact]:
        """Newest first."""
        call = Call("webhook_endpoints.list", "get", PATH, {"limit": PAGE}, Lane.LIVE, deadline)
        objects: list[object] = Fields("list", self._requestor.send(call).data).get("data", list)
        return [endpoint_fact(each) for each in objects]

    def create(self, params: Mapping[str, object], *, key: str, deadline: Deadline) -> Answer[EndpointFact]:
        """The endpoint with its secret; from memory too, as long as Stripe remembers the key (a day at least)."""
        call = Call("webhook_endpoints.create", "post", PATH, params, Lane.LIVE, deadline, key)
        return self._requestor.send(call).answer(endpoint_fact)

    def update(
        self, endpoint_id: str, params: Mapping[str, object], *, key: str, deadline: Deadline
    ) -> Answer[EndpointFact]:
        """Everything but its version can be changed; metadata is added to."""
        call = Call("webhook_endpoints.update", "post", _path(endpoint_id), params, Lane.LIVE, deadline, key)
        return self._requestor.send(call).answer(endpoint_fact)

    def delete(self, endpoint_id: str, *, deadline: Deadline) -> bool:
        """Whether it was there: one that is gone already is as good."""
        call = Call("webhook_endpoints.delete", "delete", _path(endpoint_id), {}, Lane.LIVE, deadline)
        try:
            self._requestor.send(call)
        except SharedRefusal as refusal:
            if refusal.failure.status != 404:
                raise
            return False
        return True


def endpoint_fact(data: object) -> EndpointFact:
    fields = Fields("webhook endpoint", data)
    secret = data.get("secret") if isinstance(data, Mapping) else None
    return EndpointFact(
        id=fields.get("id", str),
        url=fields.get("url", str),
        api_version=fields.maybe("api_version", str),
        enabled_events=frozenset(map(str, fields.get("enabled_events", list))),
        enabled=fields.get("status", str) == "enabled",
        created=fields.time("created"),
        metadata=fields.get("metadata", dict),
        secret=secret if isinstance(secret, str) else None,
    )


def _path(endpoint_id: str) -> str:
    return f"{PATH}/{quote(endpoint_id, safe='')}"
