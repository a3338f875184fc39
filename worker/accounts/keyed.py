"""Requests whose answer isn't the subscription, each under its step's key: committed before it is sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from worker.accounts.leases import ChangeLease, ChangeLeases
from worker.accounts.refusals import meant
from worker.domain.account_changes import AccountChange
from worker.errors import SubkeeperError, TryLater
from worker.stripe_api.errors import KeyBurnt, refusal_of

T = TypeVar("T")

MOST_GENERATIONS = 3
"""Of a step, in a lease: what is burnt again and again waits before the next."""


class Keyed:
    """Asks for the present step of a lease."""

    def __init__(self, leases: ChangeLeases, namespace: str) -> None:
        self._leases = leases
        self._namespace = namespace

    def ask(
        self,
        lease: ChangeLease,
        build: Callable[[AccountChange], Mapping[str, object]],
        send: Callable[[Mapping[str, object], str], T],
    ) -> T:
        """What `send` returns for what `build` says, which is frozen for all attempts under a key. Raises
        `ChangeRefused` for what Stripe refuses, and what the gateway raises for anything that must wait or stop."""
        for _ in range(MOST_GENERATIONS):
            change = lease.change.remembered()
            if change.request is None:
                change = replace(change, request=build(change))
            self._leases.begin(lease, change, watched=False)
            try:
                return send(lease.change.request or {}, self.key(lease))
            except KeyBurnt as burnt:
                if refusal_of(burnt) is not None:
                    raise meant(lease.change, burnt) from burnt
                lease.change = lease.change.renewed()
            except SubkeeperError as error:
                raise meant(lease.change, error) from error
        raise TryLater("generations_exhausted")

    def key(self, lease: ChangeLease) -> str:
        return lease.change.key(self._namespace)
