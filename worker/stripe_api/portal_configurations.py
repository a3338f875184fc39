"""`/v1/billing_portal/configurations`, one request each (https://docs.stripe.com/api/customer_portal/configurations)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from worker.domain.deadline import Deadline
from worker.domain.lanes import Lane
from worker.domain.stripe_facts import Answer
from worker.stripe_api.parsing import Fields
from worker.stripe_api.requestor import Call, Requestor

PATH = "/v1/billing_portal/configurations"
_PRODUCTS = "features.subscription_update.products"
"""Told only if that is asked for."""


@dataclass(frozen=True, slots=True)
class PortalFact:
    """A configuration. `created`: Unix time."""

    id: str
    active: bool
    features: Mapping[str, Any]
    metadata: Mapping[str, object]
    created: int


class PortalConfigurations:
    """Reads and changes the account's configurations of the customer portal, those of others too."""

    def __init__(self, requestor: Requestor) -> None:
        self._requestor = requestor

    def all(self, *, deadline: Deadline) -> list[PortalFact]:
        """Those that were made inactive, too: none is ever deleted. An account has a handful."""
        params = {"limit": 100, "expand": [f"data.{_PRODUCTS}"]}
        call = Call("billing_portal.configurations.list", "get", PATH, params, Lane.LIVE, deadline)
        objects: list[object] = Fields("list", self._requestor.send(call).data).get("data", list)
        return [portal_fact(each) for each in objects]

    def create(self, params: Mapping[str, object], *, key: str, deadline: Deadline) -> PortalFact:
        sent = {**params, "expand": [_PRODUCTS]}
        call = Call("billing_portal.configurations.create", "post", PATH, sent, Lane.LIVE, deadline, key)
        return portal_fact(self._requestor.send(call).data)

    def update(
        self, identifier: str, params: Mapping[str, object], *, key: str, deadline: Deadline
    ) -> Answer[PortalFact]:
        path, sent = f"{PATH}/{quote(identifier, safe='')}", {**params, "expand": [_PRODUCTS]}
        call = Call("billing_portal.configurations.update", "post", path, sent, Lane.LIVE, deadline, key)
        return self._requestor.send(call).answer(portal_fact)


def portal_fact(data: object) -> PortalFact:
    fields = Fields("portal configuration", data)
    metadata = data.get("metadata") if isinstance(data, Mapping) else None  # which Stripe need not tell
    return PortalFact(
        id=fields.get("id", str),
        active=fields.get("active", bool),
        features=fields.get("features", dict),
        metadata=metadata if isinstance(metadata, Mapping) else {},
        created=fields.get("created", int),
    )
