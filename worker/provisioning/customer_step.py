"""The first half of settling: the profile's Stripe customer."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from typing import Any

from worker.domain.provisioning import idempotency_key, must_look
from worker.domain.stripe_facts import Answer, CustomerFact
from worker.domain.terms import Terms
from worker.errors import Rejected, TryLater
from worker.provisioning.customer_look import CustomerLook
from worker.provisioning.customer_walk import CustomerWalk
from worker.provisioning.leases import Lease, Leases
from worker.sealing import CannotOpen, Sealer
from worker.stripe_api.errors import FieldRefused, KeyBurnt
from worker.stripe_api.gateway import StripeGateway

MOST_GENERATIONS = 3
"""A lease. A key that is burnt again and again is somebody else's doing; the row waits before it tries the next."""


class CustomerStep:
    """`pending → customer_created`: reuses, finds or creates the customer, and freezes the subscription's request."""

    def __init__(self, gateway: StripeGateway, leases: Leases, sealer: Sealer, terms: Terms) -> None:
        self._gateway = gateway
        self._leases = leases
        self._sealer = sealer
        self._terms = terms
        self._look = CustomerLook(gateway, leases, terms.namespace, CustomerWalk(gateway, clock=leases.clock))

    def ensure(self, lease: Lease) -> None:
        """Returns with the customer committed; raises what the gateway raises for anything that must wait or stop."""
        self._terms.price_id(lease.row.plan)  # else nobody needs a customer yet
        if lease.row.known_customer_id is not None:
            self._commit(lease, lease.row.known_customer_id)
            return
        burnt = lease.row.requested_before is not None and self._look.is_burnt(lease)
        look = burnt or must_look(lease.row, self._leases.now())
        for _ in range(MOST_GENERATIONS):
            if look and (found := self._look.find(lease, self._request(lease).get("email"), burnt=burnt)) is not None:
                self._commit(lease, found.id)
                return
            if burnt:
                self._leases.next_generation(lease, replace(lease.row, look_first=True), "key_burnt")
            try:
                answer = self._create(lease)
            except KeyBurnt:
                look = burnt = True
            except FieldRefused as refusal:
                burnt = False
                self._drop(lease, refusal.field)
            else:
                made = None if answer.replayed else (answer.seen_from, answer.seen_to)
                self._commit(lease, answer.value.id, made)
                return
        raise TryLater("generations_exhausted")

    def _create(self, lease: Lease) -> Answer[CustomerFact]:
        row = lease.row
        request = self._request(lease)
        with lease.sending():
            return self._gateway.create_customer(
                request,
                key=idempotency_key(self._terms.namespace, row),
                lane=row.lane,
                deadline=lease.deadline,
            )

    def _commit(self, lease: Lease, customer_id: str, made: tuple[datetime, datetime] | None = None) -> None:
        ahead = self._gateway.test_clock_ahead(lane=lease.row.lane, deadline=lease.deadline)
        frozen = self._terms.freeze(lease.row, customer_id, self._leases.now(), ahead)
        self._leases.record_customer(lease, frozen, made=made)

    def _drop(self, lease: Lease, field: str) -> None:
        """The next generation, without a field that Stripe refused."""
        request = {name: value for name, value in self._request(lease).items() if name != field}
        sealed = self._sealer.seal(json.dumps(request, separators=(",", ":")).encode(), lease.row.user_id.encode())
        self._leases.next_generation(lease, replace(lease.row, customer_request=sealed), f"{field}_refused")

    def _request(self, lease: Lease) -> dict[str, Any]:
        sealed = lease.row.customer_request
        assert sealed is not None, "absorbing sealed it, completing erases it"
        try:
            request: dict[str, Any] = json.loads(self._sealer.open(sealed, lease.row.user_id.encode()))
        except CannotOpen as error:
            if error.reason == "unknown_key":  # our keys changed since it was leased: a process that has it goes on
                raise TryLater("sealed_under_another_key") from error
            raise Rejected("profile_sealed", f"{error}; publish the profile again") from error
        return request
